// Package token is fleetform_token: an identity. It never holds a secret; credentials are minted from it by the ephemeral resource
// fleetform_token_credential.
package token

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
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// Resource is fleetform_token.
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
	resp.TypeName = req.ProviderTypeName + "_token"
}

// Schema is every attribute of a token.
func (r *Resource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "An identity that calls the gateway or the control API: its roles, the endpoints it may call, and how long its " +
			"credentials may live. It holds no secret; take one from the ephemeral resource `fleetform_token_credential`. Taking a role or an " +
			"endpoint away revokes the token's live credentials.",
		Attributes: map[string]schema.Attribute{
			"project": scope.ProjectAttribute(),
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name. Changing it replaces the token.",
				Validators:          scope.Name(),
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"roles": schema.SetAttribute{
				Required:    true,
				ElementType: types.StringType,
				Validators:  []validator.Set{setvalidator.NoNullValues()},
				MarkdownDescription: "Roles: `inference.viewer` reads, `inference.invoker` calls the gateway, `inference.deployer` also changes " +
					"endpoints, `inference.admin` does all of it and model versions, quotas and tokens. You can grant only what you hold.",
			},
			"endpoints": schema.SetAttribute{
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.Set{setvalidator.NoNullValues()},
				MarkdownDescription: "Names of the endpoints that may be called. Left out: all of the project.",
			},
			"ttl_days": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Longest life of one credential in days, 1 to 90; 30 when left out. The token itself does not expire.",
			},
			"labels": schema.MapAttribute{
				Optional:            true,
				ElementType:         types.StringType,
				Validators:          []validator.Map{mapvalidator.NoNullValues()},
				MarkdownDescription: "Labels, at most 32.",
			},
			"uid": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Identifier that stays for the life of the token and is never used again.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
		},
	}
}

// Configure takes the provider's client and project.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// ModifyPlan fills the project in, and notes a token that will be created.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	project := r.scope.PlanProject(ctx, req, resp)
	if req.Plan.Raw.IsNull() || !req.State.Raw.IsNull() || resp.Diagnostics.HasError() || r.scope == nil {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("name"), &name)...)
	r.scope.Tokens.Plan(client.Key{Project: project.ValueString(), Name: name.ValueString()})
}

// Create makes the token.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	token, err := r.scope.Client.Tokens.Create(ctx, plan.key(), plan.toSpec())
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot create token "+plan.key().String(), err, req.Plan.Schema)...)
		return
	}
	r.scope.Tokens.Made(plan.key())
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(plan.key(), token))...)
}

// Read takes what the API holds; a token that is gone leaves the state.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || r.scope.Client == nil {
		return
	}
	token, err := r.scope.Client.Tokens.Get(ctx, state.key())
	switch {
	case apierror.IsNotFound(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read token "+state.key().String(), err, req.State.Schema)...)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(state.key(), token))...)
	}
}

// Update sends the whole spec.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	token, err := r.scope.Client.Tokens.Replace(ctx, plan.key(), plan.toSpec(), 0)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot update token "+plan.key().String(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(plan.key(), token))...)
}

// Delete ends the token and every credential of it.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	if _, err := r.scope.Client.Tokens.Delete(ctx, state.key()); err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot delete token "+state.key().String(), err, req.State.Schema)...)
	}
}

// ImportState takes project/name.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if parts := scope.ImportID(req.ID, "project/name", &resp.Diagnostics); parts != nil {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("project"), parts[0])...)
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), parts[1])...)
	}
}
