package endpoint

import (
	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
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
