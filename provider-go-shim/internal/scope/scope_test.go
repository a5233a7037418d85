package scope_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

func TestIsName(t *testing.T) {
	for _, name := range []string{"a", "v1.4", "acme-summarize-prod", "a.b-c", strings.Repeat("a", 63)} {
		if !scope.IsName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "A", "-a", "a-", "a..b", "..", "../a", "a/b", "a b", "a_b", strings.Repeat("a", 64), "a\n"} {
		if scope.IsName(name) {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestImportID(t *testing.T) {
	var diags diag.Diagnostics
	if parts := scope.ImportID("acme/chat/v1", "project/model/version", &diags); !slices.Equal(parts, []string{"acme", "chat", "v1"}) {
		t.Errorf("got %v, %v", parts, diags)
	}
	for _, id := range []string{"", "chat", "acme/chat/v1", "acme/", "acme/..", "/chat"} {
		var diags diag.Diagnostics
		if parts := scope.ImportID(id, "project/name", &diags); parts != nil || !strings.Contains(diags[0].Detail(), "project/name") {
			t.Errorf("%q gave %v, %v", id, parts, diags)
		}
	}
}

func TestProjectOf(t *testing.T) {
	tests := map[string]struct {
		scope      *scope.Scope
		configured types.String
		want       types.String
		refused    bool
	}{
		"its own":         {&scope.Scope{Project: types.StringValue("b")}, types.StringValue("a"), types.StringValue("a"), false},
		"the provider's":  {&scope.Scope{Project: types.StringValue("b")}, types.StringNull(), types.StringValue("b"), false},
		"not known yet":   {&scope.Scope{Project: types.StringUnknown()}, types.StringNull(), types.StringUnknown(), false},
		"none":            {&scope.Scope{Project: types.StringNull()}, types.StringNull(), types.StringNull(), true},
		"no provider yet": {nil, types.StringNull(), types.StringUnknown(), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var diags diag.Diagnostics
			got := test.scope.ProjectOf(test.configured, &diags)
			if !got.Equal(test.want) || diags.HasError() != test.refused {
				t.Errorf("got %s, %v; want %s", got, diags, test.want)
			}
		})
	}
}

func TestFromRefusesWhatIsNoScope(t *testing.T) {
	var diags diag.Diagnostics
	if scope.From(nil, &diags) != nil || diags.HasError() {
		t.Errorf("nothing gave %v", diags)
	}
	scope.From("something else", &diags)
	if !diags.HasError() {
		t.Error("something else was taken")
	}
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	var diags diag.Diagnostics
	if (&scope.Scope{}).Ready(&diags) || !diags.HasError() {
		t.Error("a scope without a client is ready")
	}
	diags = nil
	if !(&scope.Scope{Client: &client.Client{}}).Ready(&diags) || diags.HasError() {
		t.Error("a scope with a client is not")
	}
}

func TestPlannedTokens(t *testing.T) {
	var planned scope.PlannedTokens
	token := client.Key{Project: "acme", Name: "rag"}
	if planned.Holds(token) {
		t.Error("holds what was never planned")
	}
	planned.Plan(token)
	if !planned.Holds(token) || planned.Holds(client.Key{Project: "other", Name: "rag"}) {
		t.Error("does not hold exactly what was planned")
	}
	planned.Made(token)
	if planned.Holds(token) {
		t.Error("holds what was made")
	}
}
