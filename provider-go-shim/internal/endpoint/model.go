package endpoint

import (
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/tfvalue"
)

// specModel is the part of an endpoint that its owner writes.
type specModel struct {
	Type                  types.String            `tfsdk:"type"`
	Mode                  types.String            `tfsdk:"mode"`
	InstanceType          types.String            `tfsdk:"instance_type"`
	Variants              map[string]variantModel `tfsdk:"variants"`
	Scaling               *scalingModel           `tfsdk:"scaling"`
	RequestTimeoutS       types.Int64             `tfsdk:"request_timeout_s"`
	MaxRequestsPerReplica types.Int64             `tfsdk:"max_requests_per_replica"`
	Rollout               *rolloutModel           `tfsdk:"rollout"`
	Slo                   *sloModel               `tfsdk:"slo"`
	Logging               *loggingModel           `tfsdk:"logging"`
	Async                 *asyncModel             `tfsdk:"async"`
	DeletionProtection    types.Bool              `tfsdk:"deletion_protection"`
	Labels                types.Map               `tfsdk:"labels"`
}

type variantModel struct {
	ModelVersion types.String `tfsdk:"model_version"`
	Weight       types.Int64  `tfsdk:"weight"`
	EngineArgs   types.Map    `tfsdk:"engine_args"`
}

type scalingModel struct {
	MinReplicas       types.Int64              `tfsdk:"min_replicas"`
	MaxReplicas       types.Int64              `tfsdk:"max_replicas"`
	TargetConcurrency types.Int64              `tfsdk:"target_concurrency"`
	IdleS             types.Int64              `tfsdk:"idle_s"`
	Schedule          map[string]scheduleModel `tfsdk:"schedule"`
}

type scheduleModel struct {
	Cron        types.String `tfsdk:"cron"`
	DurationS   types.Int64  `tfsdk:"duration_s"`
	Timezone    types.String `tfsdk:"timezone"`
	MinReplicas types.Int64  `tfsdk:"min_replicas"`
	MaxReplicas types.Int64  `tfsdk:"max_replicas"`
}

type rolloutModel struct {
	Strategy  types.String `tfsdk:"strategy"`
	Steps     types.List   `tfsdk:"steps"`
	StepHoldS types.Int64  `tfsdk:"step_hold_s"`
	BakeS     types.Int64  `tfsdk:"bake_s"`
	Retry     types.String `tfsdk:"retry"`
}

type sloModel struct {
	TtftP95Ms    types.Int64   `tfsdk:"ttft_p95_ms"`
	LatencyP95Ms types.Int64   `tfsdk:"latency_p95_ms"`
	ErrorRate    types.Float64 `tfsdk:"error_rate"`
}

type loggingModel struct {
	Content       types.String `tfsdk:"content"`
	RetentionDays types.Int64  `tfsdk:"retention_days"`
}

type asyncModel struct {
	CallbackURLs types.Set `tfsdk:"callback_urls"`
}

// identityModel is what an endpoint is called, and what the API says of it that does not move by itself.
type identityModel struct {
	Project    types.String `tfsdk:"project"`
	Name       types.String `tfsdk:"name"`
	UID        types.String `tfsdk:"uid"`
	URL        types.String `tfsdk:"url"`
	Model      types.String `tfsdk:"model"`
	Generation types.Int64  `tfsdk:"generation"`
	Ready      types.Bool   `tfsdk:"ready"`
}

func (m identityModel) key() client.Key {
	return client.Key{Project: m.Project.ValueString(), Name: m.Name.ValueString()}
}

type resourceModel struct {
	identityModel
	specModel
	WaitFor  types.String   `tfsdk:"wait_for"`
	Timeouts timeouts.Value `tfsdk:"timeouts"`
}

// withAPI is m as the API holds it; wait_for and timeouts are the provider's own and stay.
func (m resourceModel) withAPI(endpoint *gen.Endpoint) resourceModel {
	m.identityModel = identityFromAPI(m.key(), endpoint)
	m.specModel = specFromAPI(shown(endpoint))
	return m
}

func identityFromAPI(key client.Key, endpoint *gen.Endpoint) identityModel {
	return identityModel{
		Project:    types.StringValue(key.Project),
		Name:       types.StringValue(key.Name),
		UID:        types.StringValue(endpoint.Metadata.UID),
		URL:        types.StringValue(endpoint.Status.URL),
		Model:      types.StringValue(endpoint.Status.Model),
		Generation: types.Int64Value(endpoint.Metadata.Generation),
		Ready:      types.BoolValue(endpoint.Status.Ready),
	}
}

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

// toSpec is the whole desired spec; what the configuration leaves out is absent.
func (m specModel) toSpec() gen.EndpointSpec {
	spec := gen.EndpointSpec{
		Type:                  m.Type.ValueStringPointer(),
		Mode:                  m.Mode.ValueStringPointer(),
		InstanceType:          m.InstanceType.ValueString(),
		Variants:              make(map[string]gen.VariantSpec, len(m.Variants)),
		Scaling:               m.Scaling.toSpec(),
		RequestTimeoutS:       m.RequestTimeoutS.ValueInt64Pointer(),
		MaxRequestsPerReplica: m.MaxRequestsPerReplica.ValueInt64Pointer(),
		Rollout:               m.Rollout.toSpec(),
		Slo:                   m.Slo.toSpec(),
		Logging:               m.Logging.toSpec(),
		Async:                 m.Async.toSpec(),
		DeletionProtection:    m.DeletionProtection.ValueBoolPointer(),
		Labels:                tfvalue.Strings(m.Labels),
	}
	for name, variant := range m.Variants {
		spec.Variants[name] = gen.VariantSpec{
			ModelVersion: variant.ModelVersion.ValueString(),
			Weight:       variant.Weight.ValueInt64Pointer(),
			EngineArgs:   tfvalue.Strings(variant.EngineArgs),
		}
	}
	return spec
}

func (m *scalingModel) toSpec() *gen.ScalingSpec {
	if m == nil {
		return nil
	}
	spec := &gen.ScalingSpec{
		MinReplicas:       m.MinReplicas.ValueInt64Pointer(),
		MaxReplicas:       m.MaxReplicas.ValueInt64Pointer(),
		TargetConcurrency: m.TargetConcurrency.ValueInt64Pointer(),
		IdleS:             m.IdleS.ValueInt64Pointer(),
	}
	if m.Schedule == nil {
		return spec
	}
	schedule := make(map[string]gen.ScheduleSpec, len(m.Schedule))
	for name, window := range m.Schedule {
		schedule[name] = gen.ScheduleSpec{
			Cron:        window.Cron.ValueString(),
			DurationS:   window.DurationS.ValueInt64(),
			Timezone:    window.Timezone.ValueStringPointer(),
			MinReplicas: window.MinReplicas.ValueInt64Pointer(),
			MaxReplicas: window.MaxReplicas.ValueInt64Pointer(),
		}
	}
	spec.Schedule = &schedule
	return spec
}

func (m *rolloutModel) toSpec() *gen.RolloutSpec {
	if m == nil {
		return nil
	}
	return &gen.RolloutSpec{
		Strategy:  m.Strategy.ValueStringPointer(),
		Steps:     tfvalue.Integers(m.Steps),
		StepHoldS: m.StepHoldS.ValueInt64Pointer(),
		BakeS:     m.BakeS.ValueInt64Pointer(),
		Retry:     m.Retry.ValueStringPointer(),
	}
}

func (m *sloModel) toSpec() *gen.SloSpec {
	if m == nil {
		return nil
	}
	return &gen.SloSpec{
		TtftP95Ms:    m.TtftP95Ms.ValueInt64Pointer(),
		LatencyP95Ms: m.LatencyP95Ms.ValueInt64Pointer(),
		ErrorRate:    m.ErrorRate.ValueFloat64Pointer(),
	}
}

func (m *loggingModel) toSpec() *gen.LoggingSpec {
	if m == nil {
		return nil
	}
	return &gen.LoggingSpec{
		Content:       m.Content.ValueStringPointer(),
		RetentionDays: m.RetentionDays.ValueInt64Pointer(),
	}
}

func (m *asyncModel) toSpec() *gen.AsyncSpec {
	if m == nil {
		return nil
	}
	return &gen.AsyncSpec{CallbackUrls: tfvalue.Sorted(m.CallbackURLs)}
}

// specFromAPI is a spec as Terraform sees it: an absent field is null.
func specFromAPI(spec gen.EndpointSpec) specModel {
	model := specModel{
		Type:                  types.StringPointerValue(spec.Type),
		Mode:                  types.StringPointerValue(spec.Mode),
		InstanceType:          types.StringValue(spec.InstanceType),
		Variants:              make(map[string]variantModel, len(spec.Variants)),
		Scaling:               scalingFromAPI(spec.Scaling),
		RequestTimeoutS:       types.Int64PointerValue(spec.RequestTimeoutS),
		MaxRequestsPerReplica: types.Int64PointerValue(spec.MaxRequestsPerReplica),
		DeletionProtection:    types.BoolPointerValue(spec.DeletionProtection),
		Labels:                tfvalue.Map(spec.Labels),
	}
	for name, variant := range spec.Variants {
		model.Variants[name] = variantFromAPI(variant)
	}
	if rollout := spec.Rollout; rollout != nil {
		model.Rollout = &rolloutModel{
			Strategy:  types.StringPointerValue(rollout.Strategy),
			Steps:     tfvalue.List(rollout.Steps),
			StepHoldS: types.Int64PointerValue(rollout.StepHoldS),
			BakeS:     types.Int64PointerValue(rollout.BakeS),
			Retry:     types.StringPointerValue(rollout.Retry),
		}
	}
	if slo := spec.Slo; slo != nil {
		model.Slo = &sloModel{
			TtftP95Ms:    types.Int64PointerValue(slo.TtftP95Ms),
			LatencyP95Ms: types.Int64PointerValue(slo.LatencyP95Ms),
			ErrorRate:    types.Float64PointerValue(slo.ErrorRate),
		}
	}
	if logging := spec.Logging; logging != nil {
		model.Logging = &loggingModel{
			Content:       types.StringPointerValue(logging.Content),
			RetentionDays: types.Int64PointerValue(logging.RetentionDays),
		}
	}
	if async := spec.Async; async != nil {
		model.Async = &asyncModel{CallbackURLs: tfvalue.Set(async.CallbackUrls)}
	}
	return model
}

func variantFromAPI(variant gen.VariantSpec) variantModel {
	return variantModel{
		ModelVersion: types.StringValue(variant.ModelVersion),
		Weight:       types.Int64PointerValue(variant.Weight),
		EngineArgs:   tfvalue.Map(variant.EngineArgs),
	}
}

func scalingFromAPI(scaling *gen.ScalingSpec) *scalingModel {
	if scaling == nil {
		return nil
	}
	model := &scalingModel{
		MinReplicas:       types.Int64PointerValue(scaling.MinReplicas),
		MaxReplicas:       types.Int64PointerValue(scaling.MaxReplicas),
		TargetConcurrency: types.Int64PointerValue(scaling.TargetConcurrency),
		IdleS:             types.Int64PointerValue(scaling.IdleS),
	}
	if scaling.Schedule == nil {
		return model
	}
	model.Schedule = make(map[string]scheduleModel, len(*scaling.Schedule))
	for name, window := range *scaling.Schedule {
		model.Schedule[name] = scheduleModel{
			Cron:        types.StringValue(window.Cron),
			DurationS:   types.Int64Value(window.DurationS),
			Timezone:    types.StringPointerValue(window.Timezone),
			MinReplicas: types.Int64PointerValue(window.MinReplicas),
			MaxReplicas: types.Int64PointerValue(window.MaxReplicas),
		}
	}
	return model
}
