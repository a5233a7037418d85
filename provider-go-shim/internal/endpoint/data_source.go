package endpoint

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// DataSource is fleetform_endpoint, the data source: the endpoint as it is, with all that moves by itself.
type DataSource struct {
	scope *scope.Scope
}

var _ datasource.DataSourceWithConfigure = (*DataSource)(nil)

// NewDataSource makes the data source.
func NewDataSource() datasource.DataSource { return &DataSource{} }

type dataSourceModel struct {
	identityModel
	specModel
	CreatedAt          types.String     `tfsdk:"created_at"`
	ObservedGeneration types.Int64      `tfsdk:"observed_generation"`
	Phase              types.String     `tfsdk:"phase"`
	Conditions         []conditionModel `tfsdk:"conditions"`
	Replicas           replicasModel    `tfsdk:"replicas"`
	Live               *liveModel       `tfsdk:"live"`
	Rejected           *rejectedModel   `tfsdk:"rejected"`
}

type conditionModel struct {
	Type    types.String `tfsdk:"type"`
	Status  types.Bool   `tfsdk:"status"`
	Reason  types.String `tfsdk:"reason"`
	Message types.String `tfsdk:"message"`
}

type replicasModel struct {
	Wanted   types.Int64 `tfsdk:"wanted"`
	Ready    types.Int64 `tfsdk:"ready"`
	Starting types.Int64 `tfsdk:"starting"`
	Draining types.Int64 `tfsdk:"draining"`
}

type liveModel struct {
	Generation   types.Int64             `tfsdk:"generation"`
	InstanceType types.String            `tfsdk:"instance_type"`
	Variants     map[string]variantModel `tfsdk:"variants"`
}

type rejectedModel struct {
	Generation types.Int64    `tfsdk:"generation"`
	Reason     types.String   `tfsdk:"reason"`
	Evidence   []types.String `tfsdk:"evidence"`
}

// Metadata names the data source.
func (d *DataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_endpoint"
}

// Schema is every attribute of the data source: the resource's, all of them read, and the status.
func (d *DataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := allRead(specAttributes())
	for name, attribute := range allRead(identityAttributes()) {
		attributes[name] = attribute
	}
	for name, attribute := range statusAttributes() {
		attributes[name] = attribute
	}
	attributes["name"] = schema.StringAttribute{Required: true, MarkdownDescription: "Name.", Validators: scope.Name()}
	attributes["project"] = schema.StringAttribute{
		Optional: true, Computed: true, MarkdownDescription: "Project. Defaults to the provider's.", Validators: scope.Name(),
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An endpoint as it is now: its spec as its owner sent it, what serves, and how it stands.",
		Attributes:          attributes,
	}
}

// Configure takes the provider's client and project.
func (d *DataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// Read asks the API.
func (d *DataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var project, name types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("project"), &project)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("name"), &name)...)
	project = d.scope.ProjectOf(project, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !d.scope.Ready(&resp.Diagnostics) {
		return
	}
	key := client.Key{Project: project.ValueString(), Name: name.ValueString()}
	endpoint, err := d.scope.Client.Endpoints.Get(ctx, key)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read endpoint "+key.String(), err, req.Config.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, dataFromAPI(key, endpoint))...)
}

func dataFromAPI(key client.Key, endpoint *gen.Endpoint) dataSourceModel {
	status := endpoint.Status
	model := dataSourceModel{
		identityModel:      identityFromAPI(key, endpoint),
		specModel:          specFromAPI(endpoint.Spec),
		CreatedAt:          types.StringValue(endpoint.Metadata.CreatedAt),
		ObservedGeneration: types.Int64Value(status.ObservedGeneration),
		Phase:              types.StringValue(status.Phase),
		Replicas: replicasModel{
			Wanted:   types.Int64Value(status.Replicas.Wanted),
			Ready:    types.Int64Value(status.Replicas.Ready),
			Starting: types.Int64Value(status.Replicas.Starting),
			Draining: types.Int64Value(status.Replicas.Draining),
		},
	}
	for _, read := range condition.All(status.Conditions) {
		model.Conditions = append(model.Conditions, conditionModel{
			Type:    types.StringValue(read.Type),
			Status:  types.BoolValue(read.Status),
			Reason:  types.StringValue(read.Reason),
			Message: types.StringValue(read.Message),
		})
	}
	model.Live, model.Rejected = liveFromAPI(status.Live), rejectedFromAPI(status.Rejected)
	return model
}

func liveFromAPI(live *gen.LiveState) *liveModel {
	if live == nil {
		return nil
	}
	model := &liveModel{
		Generation:   types.Int64Value(live.Generation),
		InstanceType: types.StringValue(live.InstanceType),
		Variants:     make(map[string]variantModel, len(live.Variants)),
	}
	for name, serving := range live.Variants {
		model.Variants[name] = variantFromAPI(gen.VariantSpec{
			ModelVersion: serving.ModelVersion, Weight: &serving.Weight, EngineArgs: &serving.EngineArgs,
		})
	}
	return model
}

func rejectedFromAPI(rejected *gen.Rejected) *rejectedModel {
	if rejected == nil {
		return nil
	}
	model := &rejectedModel{Generation: types.Int64Value(rejected.Generation), Reason: types.StringValue(rejected.Reason)}
	for _, line := range rejected.Evidence {
		model.Evidence = append(model.Evidence, types.StringValue(line))
	}
	return model
}
