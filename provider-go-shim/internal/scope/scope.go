// Package scope is what the provider's configuration gives to every resource: the client, the default project, and the project attribute
// that comes from it.
package scope

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
)

// Scope is the provider, configured. Client is nil while base_url or token are not known, which can only be during a plan.
type Scope struct {
	Client  *client.Client
	Project types.String
	Tokens  PlannedTokens
}

// From is the scope in what the framework hands to Configure; nil before the provider is configured.
func From(providerData any, diags *diag.Diagnostics) *Scope {
	if providerData == nil {
		return nil
	}
	scope, ok := providerData.(*Scope)
	if !ok {
		diags.AddError("Unexpected provider data", fmt.Sprintf("Got %T. This is a bug in the provider; please report it.", providerData))
	}
	return scope
}

// Ready is true when calls can be made; if not, it says so as an error.
func (s *Scope) Ready(diags *diag.Diagnostics) bool {
	if s != nil && s.Client != nil {
		return true
	}
	diags.AddError("Provider not configured", "The provider's base_url or token is not known yet, so the control API cannot be asked. "+
		"Create what they depend on first, with -target.")
	return false
}

// ProjectOf is the project that configured means: itself, or the provider's when it is null.
func (s *Scope) ProjectOf(configured types.String, diags *diag.Diagnostics) types.String {
	if !configured.IsNull() {
		return configured
	}
	if s == nil {
		return types.StringUnknown()
	}
	if s.Project.IsNull() {
		diags.AddAttributeError(path.Root("project"), "No project",
			"Set project here or on the provider, or set the environment variable FLEETFORM_PROJECT.")
	}
	return s.Project
}

// ProjectAttribute is `project` of a resource.
func ProjectAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Optional:            true,
		Computed:            true,
		MarkdownDescription: "Project. Defaults to the provider's. Changing it replaces the resource.",
		Validators:          Name(),
	}
}

// PlanProject fills `project` from the provider where it is left out, and plans a replacement when the outcome differs from the state.
// It does nothing to a plan that destroys.
func (s *Scope) PlanProject(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) types.String {
	at := path.Root("project")
	var configured, current types.String
	if req.Plan.Raw.IsNull() {
		return current
	}
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, at, &configured)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, at, &current)...)
	}
	project := s.ProjectOf(configured, &resp.Diagnostics)
	if project.IsUnknown() && !current.IsNull() {
		project = current
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, at, project)...)
	if !current.IsNull() && !project.Equal(current) {
		resp.RequiresReplace = append(resp.RequiresReplace, at)
	}
	return project
}

var name = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)

// Name validates the name of a resource. Names become parts of URLs, so one that breaks the rule is refused before any call.
func Name() []validator.String {
	return []validator.String{
		stringvalidator.LengthAtMost(63),
		stringvalidator.RegexMatches(name, "must be lower-case letters and digits in words joined by '.' or '-'"),
	}
}

// IsName is true when text obeys the rule for names.
func IsName(text string) bool {
	return len(text) <= 63 && name.MatchString(text)
}

// ImportID splits the id of an import into as many names as form has parts; nil, with an error, when it is not of that form.
func ImportID(id, form string, diags *diag.Diagnostics) []string {
	parts := strings.Split(id, "/")
	good := len(parts) == len(strings.Split(form, "/"))
	for _, part := range parts {
		good = good && IsName(part)
	}
	if !good {
		diags.AddError("Wrong import id", fmt.Sprintf("%q is not of the form %q, each part a name.", id, form))
		return nil
	}
	return parts
}

// PlannedTokens are the tokens that this run of Terraform plans to create and has not created.
//
// Terraform opens ephemeral resources during a plan already. A credential whose token is only planned then has no value yet, which is
// not the mistake that a missing token is otherwise.
type PlannedTokens struct {
	mu   sync.Mutex
	keys map[client.Key]bool
}

// Plan notes that the token will be created.
func (p *PlannedTokens) Plan(token client.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = make(map[client.Key]bool)
	}
	p.keys[token] = true
}

// Made notes that the token is there.
func (p *PlannedTokens) Made(token client.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, token)
}

// Holds is true when the token is planned and not made.
func (p *PlannedTokens) Holds(token client.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[token]
}
