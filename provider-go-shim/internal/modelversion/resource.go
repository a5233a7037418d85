// Package modelversion is fleetform_model_version: immutable once registered.
package modelversion

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

const (
	// verifyLimit bounds the wait for an artifact to be fetched and hashed.
	verifyLimit = time.Hour
	deleteLimit = 20 * time.Minute
)

// Resource is fleetform_model_version.
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
	resp.TypeName = req.ProviderTypeName + "_model_version"
}

// Configure takes the provider's client and project.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// ModifyPlan fills the project in and refuses every change of what is registered.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.scope.PlanProject(ctx, req, resp)
	resp.RequiresReplace = nil
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	changed, err := changedFields(req.State.Raw, resp.Plan.Raw)
	if err != nil {
		resp.Diagnostics.AddError("Cannot compare plan and state", err.Error())
		return
	}
	for _, field := range changed {
		resp.Diagnostics.AddAttributeError(path.Root(field), "A model version is immutable",
			fmt.Sprintf("%s differs from what is registered. Register a new version: leave this resource as it is, declare another one with "+
				"another version, and let the endpoint's variants name that.", field))
	}
}

// Create registers the version and waits until its artifact is verified. A version that is refused is withdrawn: it would stand in the
// way of its own correction, since it is immutable.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	key := plan.key()
	version, err := r.scope.Client.ModelVersions.Create(ctx, key, plan.toSpec())
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot register model version "+key.String(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(key, version))...)
	version, diags := r.awaitVerified(ctx, key)
	resp.Diagnostics.Append(diags...)
	if version == nil {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(key, version))...)
	if judge(version) != wait.Failed {
		return
	}
	if gone, err := r.scope.Client.ModelVersions.Withdraw(ctx, key); err == nil && gone {
		resp.State.RemoveResource(ctx)
	}
}

// awaitVerified is the version when its artifact is verified or refused, or the time is up; nil when it was never seen.
func (r *Resource) awaitVerified(ctx context.Context, key client.ModelKey) (*gen.ModelVersion, diag.Diagnostics) {
	var diags diag.Diagnostics
	ask := func(ctx context.Context, hold time.Duration) (*gen.ModelVersion, error) {
		return r.scope.Client.ModelVersions.Await(ctx, key, client.Hold{Until: client.HoldReady, For: hold})
	}
	version, verdict, err := wait.Until(ctx, wait.System{}, verifyLimit, ask, judge)
	switch {
	case err != nil:
		detail := err.Error()
		if version != nil {
			detail += "\n\n" + condition.Lines(condition.All(version.Status.Conditions))
		}
		diags.AddError("Model version "+key.String()+" is registered, its artifact is not verified", detail)
	case verdict == wait.Failed:
		diags.Append(refused(key, version))
	}
	return version, diags
}

// refused says why, at the attribute that the reason is about.
func refused(key client.ModelKey, version *gen.ModelVersion) diag.Diagnostic {
	verified, _ := condition.Find(version.Status.Conditions, condition.Verified)
	at := path.Root("artifact")
	switch verified.Reason {
	case "CodeRefused":
		at = path.Root("allow_remote_code")
	case "RuntimeMismatch":
		at = path.Root("runtime")
	}
	return diag.NewAttributeErrorDiagnostic(at, fmt.Sprintf("Model version %s was refused: %s", key, verified.Reason),
		fmt.Sprintf("%s\n\nNo endpoint can use it. The next apply registers it again.", verified.Message))
}

// Read takes what the API holds; a version that is gone leaves the state.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || r.scope.Client == nil {
		return
	}
	version, err := r.scope.Client.ModelVersions.Get(ctx, state.key())
	switch {
	case apierror.IsNotFound(err):
		resp.State.RemoveResource(ctx)
	case err != nil:
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read model version "+state.key().String(), err, req.State.Schema)...)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(state.key(), version))...)
	}
}

// Update is reached only by a value that was not known during the plan. The API accepts it when it is the registered one.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	version, err := r.scope.Client.ModelVersions.Replace(ctx, plan.key(), plan.toSpec(), 0)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("A model version is immutable; register a new one", err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, fromAPI(plan.key(), version))...)
}

// Delete ends the version; the API refuses while an endpoint names it, and says which.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state model
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	summary := "Cannot delete model version " + state.key().String()
	gone, err := r.scope.Client.ModelVersions.Delete(ctx, state.key())
	if err == nil && !gone {
		_, err = r.scope.Client.ModelVersions.AwaitGone(ctx, wait.System{}, state.key(), deleteLimit)
	}
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics(summary, err, req.State.Schema)...)
	}
	if apierror.IsConflict(err) {
		resp.Diagnostics.AddWarning("Terraform may have tried this too early", orderOfDeletion)
	}
}

// orderOfDeletion is what no provider can change about Terraform.
const orderOfDeletion = "Terraform deletes a version that left the configuration before it updates the endpoint that used it. With " +
	"lifecycle { create_before_destroy = true } on the version, applied before it leaves, Terraform updates the endpoint first."

// ImportState takes project/model/version.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if parts := scope.ImportID(req.ID, "project/model/version", &resp.Diagnostics); parts != nil {
		for index, attribute := range []string{"project", "model", "version"} {
			resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(attribute), parts[index])...)
		}
	}
}
