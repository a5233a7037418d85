// Package project is fleetform_project.
package project

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// Resource is fleetform_project.
type Resource struct {
	scope *scope.Scope
}

var (
	_ resource.ResourceWithConfigure   = (*Resource)(nil)
	_ resource.ResourceWithImportState = (*Resource)(nil)
)

// NewResource makes the resource.
func NewResource() resource.Resource { return &Resource{} }

// Metadata names the resource.
func (r *Resource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_project"
}

// Schema is every attribute of a project.
func (r *Resource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A project: the room that model versions, endpoints, quotas and tokens live in. Region administrators make projects.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name. Changing it replaces the project.",
				Validators:          scope.Name(),
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"display_name": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name for people.",
			},
			"artifact_prefixes": schema.SetAttribute{
				Optional:    true,
				ElementType: types.StringType,
				Validators:  []validator.Set{setvalidator.NoNullValues()},
				MarkdownDescription: "Where the artifacts of this project's model versions may lie: `s3://bucket/path/` or `file:///path/`. " +
					"Without any, no model version can be registered.",
			},
			"labels": schema.MapAttribute{
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.Map{mapvalidator.NoNullValues()},
				MarkdownDescription: "Labels, at most 32.",
			},
		},
	}
}

// Configure takes the provider's client.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// Create makes the project.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	project, err := r.scope.Client.Projects.Create(ctx, plan.Name.ValueString(), plan.toSpec())
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot create project "+plan.Name.ValueString(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(project))...)
}

// Read takes what the API holds; a project that is gone leaves the state.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || r.scope.Client == nil {
		return
	}
	project, err := r.scope.Client.Projects.Get(ctx, state.Name.ValueString())
	switch {
	case apierror.IsNotFound(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read project "+state.Name.ValueString(), err, req.State.Schema)...)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(project))...)
	}
}

// Update sends the whole spec.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	project, err := r.scope.Client.Projects.Replace(ctx, plan.Name.ValueString(), plan.toSpec(), 0)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot update project "+plan.Name.ValueString(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(project))...)
}

// Delete ends the project; the API refuses while anything lives in it, and says what.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	if _, err := r.scope.Client.Projects.Delete(ctx, state.Name.ValueString()); err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot delete project "+state.Name.ValueString(), err, req.State.Schema)...)
	}
}

// ImportState takes the name of the project.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if parts := scope.ImportID(req.ID, "name", &resp.Diagnostics); parts != nil {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), parts[0])...)
	}
}
