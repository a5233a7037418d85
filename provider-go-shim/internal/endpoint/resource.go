// Package endpoint is fleetform_endpoint, the resource and the data source.
package endpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

const (
	createLimit = 30 * time.Minute
	updateLimit = 30 * time.Minute
	deleteLimit = 20 * time.Minute
)

// Resource is fleetform_endpoint.
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
	resp.TypeName = req.ProviderTypeName + "_endpoint"
}

// Configure takes the provider's client and project.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.scope = scope.From(req.ProviderData, &resp.Diagnostics)
}

// ModifyPlan fills the project in. An endpoint whose last change is not done is planned for an update even if its spec is what is wanted:
// the next apply sends it again and waits, where it would otherwise call it done. One that is being deleted is planned to be made anew.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.scope.PlanProject(ctx, req, resp)
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	var ready types.Bool
	var waitFor types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("ready"), &ready)...)
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("wait_for"), &waitFor)...)
	noted, diags := req.Private.GetKey(ctx, unfinished)
	resp.Diagnostics.Append(diags...)
	if string(noted) == leftDeleting {
		resp.Diagnostics.AddWarning("An endpoint is being deleted", "It still answers, and will not for long. It is made anew, once it is gone.")
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("uid"), types.StringUnknown())...)
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("uid"))
	}
	waits := string(noted) == leftWaiting && !ready.ValueBool() && waitFor.ValueString() != waitAccepted
	if waits || string(noted) == leftRejected {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("ready"), types.BoolUnknown())...)
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("generation"), types.Int64Unknown())...)
	}
}

// Create makes the endpoint and waits for it. The state is written before the wait, so that an endpoint which does not become ready is
// still Terraform's own.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan resourceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	limit, diags := plan.Timeouts.Create(ctx, createLimit)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	endpoint, diags := r.create(ctx, plan, limit, req.Plan.Schema)
	resp.Diagnostics.Append(diags...)
	if endpoint == nil {
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan.withAPI(endpoint))...)
	endpoint, diags = r.settle(ctx, plan, endpoint, limit)
	resp.Diagnostics.Append(diags...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan.withAPI(endpoint))...)
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, unfinished, left(endpoint, diags.HasError()))...)
}

// create makes the endpoint; nil with errors. One of that name that is being deleted is waited for: it is neither ours nor in the way.
func (r *Resource) create(ctx context.Context, plan resourceModel, limit time.Duration, schema apierror.Schema) (*gen.Endpoint, diag.Diagnostics) {
	endpoints, key := r.scope.Client.Endpoints, plan.key()
	summary := "Cannot create endpoint " + key.String()
	endpoint, err := endpoints.Create(ctx, key, plan.toSpec())
	found := endpoint
	if apierror.IsExists(err) {
		// Whatever went wrong with this question, there was an answer to the one before.
		found, _ = endpoints.Get(ctx, key)
	}
	if found != nil && isDeleting(found) {
		if last, err := endpoints.AwaitGone(ctx, wait.System{}, key, limit); err != nil {
			return nil, diag.Diagnostics{diag.NewErrorDiagnostic(summary,
				fmt.Sprintf("One of that name is still being torn down: %s\n\n%s", err, pending(last)))}
		}
		endpoint, err = endpoints.Create(ctx, key, plan.toSpec())
	}
	if err != nil {
		return nil, apierror.Diagnostics(summary, err, schema)
	}
	return endpoint, nil
}

// Read takes what the API holds; an endpoint that is gone leaves the state. After a rejected change the state gets what serves.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state resourceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || r.scope.Client == nil {
		return
	}
	key := state.key()
	endpoint, err := r.scope.Client.Endpoints.Get(ctx, key)
	if apierror.IsNotFound(err) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot read endpoint "+key.String(), err, req.State.Schema)...)
		return
	}
	if isRejected(endpoint) {
		resp.Diagnostics.AddWarning(fmt.Sprintf("Endpoint %s: %s", key, rejection(endpoint)), evidence(endpoint)+"\n\n"+remedy(endpoint))
	}
	noted, diags := req.Private.GetKey(ctx, unfinished)
	resp.Diagnostics.Append(diags...)
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, unfinished, left(endpoint, string(noted) == leftWaiting && !endpoint.Status.Ready))...)
	resp.Diagnostics.Append(resp.State.Set(ctx, state.withAPI(endpoint))...)
}

// Update sends the whole spec and waits for it. When it is rolled back, the state gets what serves.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state resourceModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	limit, diags := plan.Timeouts.Update(ctx, updateLimit)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	endpoint, err := r.scope.Client.Endpoints.Replace(ctx, plan.key(), plan.toSpec(), state.Generation.ValueInt64())
	if apierror.IsStale(err) {
		resp.Diagnostics.AddError("Endpoint "+plan.key().String()+" changed since this plan was made", "Plan again. "+err.Error())
		return
	}
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot update endpoint "+plan.key().String(), err, req.Plan.Schema)...)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan.withAPI(endpoint))...)
	endpoint, diags = r.settle(ctx, plan, endpoint, limit)
	resp.Diagnostics.Append(diags...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan.withAPI(endpoint))...)
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, unfinished, left(endpoint, diags.HasError()))...)
}

// Delete ends the endpoint and waits until it is gone, replicas and all.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state resourceModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	limit, diags := state.Timeouts.Delete(ctx, deleteLimit)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() || !r.scope.Ready(&resp.Diagnostics) {
		return
	}
	key := state.key()
	gone, err := r.scope.Client.Endpoints.Delete(ctx, key)
	if err != nil {
		resp.Diagnostics.Append(apierror.Diagnostics("Cannot delete endpoint "+key.String(), err, req.State.Schema)...)
		return
	}
	if gone {
		return
	}
	if last, err := r.scope.Client.Endpoints.AwaitGone(ctx, wait.System{}, key, limit); err != nil {
		resp.Diagnostics.AddError("Endpoint "+key.String()+" is still being torn down",
			fmt.Sprintf("%s\n\n%s\n\nThe teardown goes on; the next apply takes up the wait.", err, pending(last)))
	}
}

// ImportState takes project/name.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if parts := scope.ImportID(req.ID, "project/name", &resp.Diagnostics); parts != nil {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("project"), parts[0])...)
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), parts[1])...)
	}
}

// settle waits until the generation that a PUT answered with serves, and says what went wrong if it does not. It returns the endpoint as
// last seen. With wait_for = "accepted" only a spec that is known to be rejected is an error.
func (r *Resource) settle(ctx context.Context, plan resourceModel, put *gen.Endpoint, limit time.Duration) (*gen.Endpoint, diag.Diagnostics) {
	var diags diag.Diagnostics
	key, generation := plan.key(), put.Metadata.Generation
	fail := func(seen observation) {
		why := explain(seen, generation)
		diags.AddAttributeError(path.Root("variants"), fmt.Sprintf("Endpoint %s: %s", key, why.summary), why.detail)
	}
	if plan.WaitFor.ValueString() == waitAccepted {
		if isRejected(put) {
			fail(observation{endpoint: put})
		}
		return put, diags
	}
	seen, verdict, err := wait.Until(ctx, wait.System{}, limit, r.look(key, generation), func(seen observation) wait.Verdict {
		return judge(seen, generation)
	})
	if verdict == wait.Failed {
		fail(seen)
	}
	if err != nil {
		diags.AddError(fmt.Sprintf("Endpoint %s: generation %d is accepted and not ready", key, generation),
			fmt.Sprintf("%s\n\n%s\n\n%s", err, pending(seen.endpoint), goesOn))
	}
	if seen.endpoint == nil {
		return put, diags
	}
	return seen.endpoint, diags
}

const goesOn = "The server goes on with it. After a change, the next apply takes up the wait. After a creation Terraform holds the resource " +
	"to be tainted and would replace it: `terraform untaint` keeps it. `timeouts` sets how long an apply waits, and wait_for = \"accepted\" " +
	"does without."

// What the private state says under the key unfinished: what the last change has left to do, if anything.
const (
	unfinished   = "unfinished"
	leftWaiting  = `"waiting"`
	leftRejected = `"rejected"`
	leftDeleting = `"deleting"`
)

// left is what there is left to do for an endpoint: a spec that was turned back has to be replaced, one whose wait broke off to be waited
// for, one that is being deleted to be made anew; nil is nothing.
func left(endpoint *gen.Endpoint, brokeOff bool) []byte {
	switch {
	case isDeleting(endpoint):
		return []byte(leftDeleting)
	case isRejected(endpoint):
		return []byte(leftRejected)
	case brokeOff:
		return []byte(leftWaiting)
	default:
		return nil
	}
}
