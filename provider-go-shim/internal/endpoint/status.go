package endpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// observation is one look at an endpoint: the endpoint, and the model version among its variants that was refused for good, if any.
type observation struct {
	endpoint *gen.Endpoint
	refused  string
}

// failure is why a generation will not become ready.
type failure struct {
	summary string
	detail  string
}

// judge says how generation stands. Nothing that the status says counts before the server has observed that generation: until then the
// conditions are about an earlier one.
func judge(seen observation, generation int64) wait.Verdict {
	endpoint := seen.endpoint
	switch {
	case endpoint.Metadata.Generation > generation, isDeleting(endpoint):
		return wait.Failed
	case endpoint.Status.ObservedGeneration < generation:
		return wait.Waiting
	case isRejected(endpoint), isStalled(endpoint), seen.refused != "":
		return wait.Failed
	case endpoint.Status.Ready && isLive(endpoint):
		return wait.Done
	default:
		return wait.Waiting
	}
}

// explain says why a generation that judge calls failed did fail.
func explain(seen observation, generation int64) failure {
	endpoint := seen.endpoint
	switch {
	case endpoint.Metadata.Generation > generation:
		return failure{
			summary: fmt.Sprintf("generation %d was replaced by generation %d", generation, endpoint.Metadata.Generation),
			detail:  "Somebody else changed the endpoint while this apply was waiting. Plan again to see the difference.",
		}
	case isDeleting(endpoint):
		return failure{
			summary: "it is being deleted",
			detail:  "Somebody deleted the endpoint while this apply was waiting. The next apply makes it anew, once it is gone.",
		}
	case isRejected(endpoint):
		return failure{summary: rejection(endpoint), detail: evidence(endpoint) + "\n\n" + remedy(endpoint)}
	case seen.refused != "":
		return failure{summary: "a model version was refused", detail: seen.refused}
	default:
		return failure{
			summary: fmt.Sprintf("generation %d cannot start", generation),
			detail:  evidence(endpoint) + "\n\nIt is tried again when the spec changes, rollout.retry included.",
		}
	}
}

// rejection is the summary of a rollback: which generation was turned back, and why.
func rejection(endpoint *gen.Endpoint) string {
	reason := condition.RolledBack
	if rejected := endpoint.Status.Rejected; rejected != nil {
		reason = rejected.Reason
		if len(rejected.Versions) > 0 {
			reason += " (" + strings.Join(rejected.Versions, ", ") + ")"
		}
	}
	return fmt.Sprintf("generation %d was rolled back: %s", endpoint.Metadata.Generation, reason)
}

// remedy is what serves instead of a rejected generation and what can be done.
func remedy(endpoint *gen.Endpoint) string {
	retry := "The same spec is refused at once; change it, or change rollout.retry to try it again."
	live := endpoint.Status.Live
	if live == nil {
		return "Nothing serves. " + retry
	}
	split := make([]string, 0, len(live.Variants))
	for _, name := range slices.Sorted(maps.Keys(live.Variants)) {
		variant := live.Variants[name]
		split = append(split, fmt.Sprintf("%s (%s) %d %%", name, variant.ModelVersion, variant.Weight))
	}
	return fmt.Sprintf("Generation %d goes on serving: %s on %s. %s", live.Generation, strings.Join(split, ", "), live.InstanceType, retry)
}

// evidence is all that the server says about a failure: the rejection's own lines, then the conditions that are amiss.
func evidence(endpoint *gen.Endpoint) string {
	var lines []string
	if rejected := endpoint.Status.Rejected; rejected != nil && isRejected(endpoint) {
		for _, line := range rejected.Evidence {
			lines = append(lines, "  "+line)
		}
	}
	return strings.Join(append(lines, condition.Lines(condition.Amiss(endpoint.Status.Conditions))), "\n")
}

// pending says what an endpoint is still waiting for.
func pending(endpoint *gen.Endpoint) string {
	if endpoint == nil {
		return "There has been no news of it since."
	}
	replicas := endpoint.Status.Replicas
	return fmt.Sprintf("Phase %s, replicas: %d wanted, %d ready, %d starting.\n%s", endpoint.Status.Phase, replicas.Wanted, replicas.Ready,
		replicas.Starting, condition.Lines(condition.All(endpoint.Status.Conditions)))
}

// isRejected is true when the current spec was tried and turned back.
func isRejected(endpoint *gen.Endpoint) bool {
	if rejected := endpoint.Status.Rejected; rejected != nil {
		return rejected.Generation == endpoint.Metadata.Generation
	}
	return endpoint.Status.ObservedGeneration >= endpoint.Metadata.Generation &&
		condition.Is(endpoint.Status.Conditions, condition.Ready, false, condition.RolledBack)
}

// isDeleting is true while the endpoint is torn down. It may serve for a moment more, and will not come back.
func isDeleting(endpoint *gen.Endpoint) bool {
	return endpoint.Status.Phase == "Deleting"
}

func isStalled(endpoint *gen.Endpoint) bool {
	return condition.Is(endpoint.Status.Conditions, condition.Progressing, false, condition.Stalled)
}
