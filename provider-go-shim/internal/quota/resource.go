// Package quota is fleetform_quota.
package quota

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// Resource is fleetform_quota.
type Resource struct {
	scope *scope.Scope
}

var (
	_ resource.ResourceWithConfigure   = (*Resource)(nil)
	_ resource.ResourceWithImportState = (*Resource)(nil)
	_ resource.ResourceWithModifyPlan  = (*Resource)(nil)
)

// NewResource makes the resource.
func NewResource() resource.Resource { return &Resource{} }

// Metadata names the resource.
func (r *Resource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_quota"
}

// Schema is every attribute of a quota.
func (r *Resource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "How many replicas of one instance type a project may run. Without a quota it may run none.",
		Attributes: map[string]schema.Attribute{
			"project": scope.ProjectAttribute(),
			"instance_type": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "Instance type. Changing it replaces the quota. An endpoint that takes its `instance_type` from here is " +
					"created after the quota and destroyed before it.",
				Validators:    scope.Name(),
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"max_replicas": schema.Int64Attribute{
				Required:            true,
				MarkdownDescription: "Replicas at most. It cannot go below what endpoints have booked.",
			},
		},
	}
}

// Configure takes the provider's client and project.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// ModifyPlan fills the project in.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.scope.PlanProject(ctx, req, resp)
}

// Create makes the quota.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	quota, err := r.scope.Client.Quotas.Create(ctx, plan.key(), plan.toSpec())
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot create quota "+plan.key().String(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(plan.key(), quota))...)
}

// Read takes what the API holds; a quota that is gone leaves the state.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || r.scope.Client == nil {
		return
	}
	quota, err := r.scope.Client.Quotas.Get(ctx, state.key())
	switch {
	case apierror.IsNotFound(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read quota "+state.key().String(), err, req.State.Schema)...)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(state.key(), quota))...)
	}
}

// Update sends the whole spec.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	quota, err := r.scope.Client.Quotas.Replace(ctx, plan.key(), plan.toSpec(), 0)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot update quota "+plan.key().String(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(plan.key(), quota))...)
}

// Delete ends the quota; the API refuses while endpoints hold part of it, and says which.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	if _, err := r.scope.Client.Quotas.Delete(ctx, state.key()); err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot delete quota "+state.key().String(), err, req.State.Schema)...)
	}
}

// ImportState takes project/instance_type.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if parts := scope.ImportID(req.ID, "project/instance_type", &resp.Diagnostics); parts != nil {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("project"), parts[0])...)
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("instance_type"), parts[1])...)
	}
}
