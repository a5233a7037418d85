package endpoint

import (
	"maps"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// shown is the spec that Terraform is told: what the owner sent, except that after a rejected change it is what serves instead. The next
// plan then shows the difference, where the spec alone would say that nothing is left to do.
func shown(endpoint *gen.Endpoint) gen.EndpointSpec {
	spec, live := endpoint.Spec, endpoint.Status.Live
	if !isRejected(endpoint) || live == nil {
		return spec
	}
	variants := make(map[string]gen.VariantSpec, len(live.Variants))
	for name, wanted := range spec.Variants {
		if weightOf(wanted) == 0 {
			variants[name] = wanted
		}
	}
	for name, serving := range live.Variants {
		wanted, named := spec.Variants[name]
		if named || serving.Weight > 0 {
			variants[name] = liveVariant(serving, wanted, named)
		}
	}
	spec.InstanceType = live.InstanceType
	spec.Variants = variants
	return spec
}

// liveVariant is what serves in the owner's own words: what the owner leaves to the default is left out where the default serves.
func liveVariant(serving gen.EffectiveVariant, wanted gen.VariantSpec, named bool) gen.VariantSpec {
	if named && serves(serving, wanted) {
		return wanted
	}
	written := gen.VariantSpec{ModelVersion: serving.ModelVersion, Weight: &serving.Weight}
	if len(serving.EngineArgs) > 0 {
		written.EngineArgs = &serving.EngineArgs
	}
	if named && wanted.Weight == nil && serving.Weight == 100 {
		written.Weight = nil
	}
	return written
}

// serves is true when the variant runs as it is wanted.
func serves(serving gen.EffectiveVariant, wanted gen.VariantSpec) bool {
	return serving.ModelVersion == wanted.ModelVersion && serving.Weight == weightOf(wanted) &&
		maps.Equal(serving.EngineArgs, orEmpty(wanted.EngineArgs))
}

// weightOf is the wanted weight; a single variant may leave it out.
func weightOf(variant gen.VariantSpec) int64 {
	if variant.Weight == nil {
		return 100
	}
	return *variant.Weight
}

func orEmpty(args *map[string]string) map[string]string {
	if args == nil {
		return nil
	}
	return *args
}

// isLive is true when what serves is what the spec asks for. Variants without traffic need not serve.
func isLive(endpoint *gen.Endpoint) bool {
	live := endpoint.Status.Live
	if live == nil || live.InstanceType != endpoint.Spec.InstanceType {
		return false
	}
	for name, wanted := range endpoint.Spec.Variants {
		serving, there := live.Variants[name]
		if weightOf(wanted) > 0 && (!there || !serves(serving, wanted)) {
			return false
		}
	}
	for name, serving := range live.Variants {
		wanted, there := endpoint.Spec.Variants[name]
		if serving.Weight > 0 && (!there || weightOf(wanted) == 0) {
			return false
		}
	}
	return true
}
