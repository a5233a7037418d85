package endpoint

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// look is one question of the wait for generation: the endpoint, held back by the server until there is news, and whether one of its
// model versions was refused while the endpoint waits for it.
func (r *Resource) look(key client.Key, generation int64) func(ctx context.Context, hold time.Duration) (observation, error) {
	return func(ctx context.Context, hold time.Duration) (observation, error) {
		endpoint, err := r.scope.Client.Endpoints.Await(ctx, key, client.Hold{Until: client.HoldReady, Generation: generation, For: hold})
		if err != nil {
			return observation{}, err
		}
		seen := observation{endpoint: endpoint}
		if condition.Is(endpoint.Status.Conditions, condition.Admitted, false, condition.VersionNotVerified) {
			seen.refused, err = r.refusedVersion(ctx, key.Project, endpoint.Spec)
		}
		return seen, err
	}
}

// refusedVersion is a sentence about the first variant whose model version will never be verified; empty when there is none.
func (r *Resource) refusedVersion(ctx context.Context, project string, spec gen.EndpointSpec) (string, error) {
	for name, variant := range spec.Variants {
		model, version, _ := strings.Cut(variant.ModelVersion, ":")
		if !scope.IsName(model) || !scope.IsName(version) {
			continue // a catalogue entry is verified before it is offered
		}
		found, err := r.scope.Client.ModelVersions.Get(ctx, client.ModelKey{Project: project, Model: model, Version: version})
		if err != nil {
			return "", err
		}
		verified, known := condition.Find(found.Status.Conditions, condition.Verified)
		if known && !verified.Status && verified.Reason != condition.Verifying {
			return fmt.Sprintf("Variant %s names %s, which was refused: %s.", name, variant.ModelVersion, verified), nil
		}
	}
	return "", nil
}
