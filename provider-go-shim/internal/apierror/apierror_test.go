package apierror_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

var endpoint = schema.Schema{Attributes: map[string]schema.Attribute{
	"name": schema.StringAttribute{Required: true},
	"variants": schema.MapNestedAttribute{
		Required: true,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"weight":      schema.Int64Attribute{Optional: true},
			"engine_args": schema.MapAttribute{Optional: true, ElementType: types.StringType},
		}},
	},
	"scaling": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
		"max_replicas": schema.Int64Attribute{Optional: true},
	}},
	"rollout": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
		"steps": schema.ListAttribute{Optional: true, ElementType: types.Int64Type},
	}},
	"roles": schema.SetAttribute{Optional: true, ElementType: types.StringType},
}}

func TestAttributePath(t *testing.T) {
	variants := path.Root("variants")
	tests := map[string]path.Path{
		"/name":                           path.Root("name"),
		"/metadata/name":                  path.Root("name"),
		"/spec/variants":                  variants,
		"/spec/variants/v1/weight":        variants.AtMapKey("v1").AtName("weight"),
		"/spec/variants/a~1b~0c":          variants.AtMapKey("a/b~c"),
		"/spec/variants/v1/engine_args/x": variants.AtMapKey("v1").AtName("engine_args").AtMapKey("x"),
		"/spec/variants/v1/unheard_of":    variants.AtMapKey("v1"),
		"/spec/scaling/max_replicas":      path.Root("scaling").AtName("max_replicas"),
		"/spec/rollout/steps/2":           path.Root("rollout").AtName("steps").AtListIndex(2),
		"/spec/rollout/steps/last":        path.Root("rollout").AtName("steps"),
		"/spec/roles/0":                   path.Root("roles"),
	}
	for pointer, want := range tests {
		got, found := apierror.AttributePath(endpoint, pointer)
		if !found || !got.Equal(want) {
			t.Errorf("%s is %s, %t; want %s", pointer, got, found, want)
		}
	}
	for _, pointer := range []string{"", "/", "/spec", "/spec/unheard_of", "/elsewhere"} {
		if got, found := apierror.AttributePath(endpoint, pointer); found {
			t.Errorf("%q is %s; want none", pointer, got)
		}
	}
}

func response(status int, header http.Header) *http.Response {
	at := &url.URL{Scheme: "https", Host: "api.example.com", Path: "/v1/projects/acme/endpoints/chat"}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: header, Request: &http.Request{Method: http.MethodPut, URL: at},
	}
}

func TestEveryWrongFieldIsADiagnosticAtItsAttribute(t *testing.T) {
	err := apierror.FromResponse(response(422, http.Header{"X-Request-Id": {"req-1"}}), []byte(`{
		"type": "urn:fleetform:problems/invalid-spec", "title": "wrong", "status": 422, "detail": "two fields", "instance": "req-1",
		"errors": [{"pointer": "/spec/variants/v1/weight", "detail": "must be at most 100", "code": "bounds"},
			{"pointer": "/spec/unheard_of", "detail": "unknown field", "code": "unknown_field"}]}`))
	diags := apierror.Diagnostics("Cannot create endpoint acme/chat", err, endpoint)
	if len(diags) != 2 {
		t.Fatalf("%d diagnostics; want 2: %v", len(diags), diags)
	}
	at, ok := diags[0].(diag.DiagnosticWithPath)
	if !ok || !at.Path().Equal(path.Root("variants").AtMapKey("v1").AtName("weight")) {
		t.Errorf("the first is not at the weight: %v", diags[0])
	}
	for index, words := range [][]string{{`variants["v1"].weight: must be at most 100`, "bounds", "422", "req-1"}, {"/spec/unheard_of", "unknown field", "req-1"}} {
		for _, word := range words {
			if !strings.Contains(diags[index].Detail(), word) {
				t.Errorf("diagnostic %d does not say %q: %s", index, word, diags[index].Detail())
			}
		}
	}
}

func TestAConflictNamesWhatIsInTheWay(t *testing.T) {
	err := apierror.FromResponse(response(409, http.Header{}), []byte(`{
		"type": "urn:fleetform:problems/quota-exceeded", "title": "full", "status": 409, "detail": "the quota has no room", "instance": "req-2",
		"references": ["endpoint chat"], "free": 1, "holders": [{"endpoint": "search", "replicas": 3}]}`))
	diags := apierror.Diagnostics("Cannot update endpoint acme/chat", err, endpoint)
	if len(diags) != 1 {
		t.Fatalf("%d diagnostics; want 1", len(diags))
	}
	for _, word := range []string{"The quota has no room", "endpoint chat", "endpoint search holds 3", "1 free", "quota-exceeded", "req-2"} {
		if !strings.Contains(diags[0].Detail(), word) {
			t.Errorf("it does not say %q: %s", word, diags[0].Detail())
		}
	}
}

func TestAnAnswerThatIsNotFleetformsIsSaidToBeNone(t *testing.T) {
	err := apierror.FromResponse(response(502, http.Header{}), []byte("<html>bad gateway</html>"))
	if text := err.Error(); !strings.Contains(text, "api.example.com") || !strings.Contains(text, "base_url") {
		t.Errorf("it names neither the host nor the setting: %s", text)
	}
}

func TestA404OfSomebodyElseIsNoEndOfAResource(t *testing.T) {
	for _, body := range []string{"<html>no such page</html>", `{"detail": "default backend - 404"}`, `{"type": "about:blank", "detail": "no route"}`} {
		if err := apierror.FromResponse(response(404, http.Header{}), []byte(body)); apierror.IsNotFound(err) {
			t.Errorf("%s is taken for the end of a resource", body)
		}
	}
}

func TestAnUnreachableServerIsNotAnAnswer(t *testing.T) {
	diags := apierror.Diagnostics("Cannot read endpoint acme/chat", errors.New("connection refused"), endpoint)
	if len(diags) != 1 || !strings.Contains(diags[0].Detail(), "could not be reached: connection refused") {
		t.Errorf("got %v", diags)
	}
}

func TestWhatIsThereAlreadyCanBeImported(t *testing.T) {
	diags := apierror.Diagnostics("Cannot create quota acme/a10", &apierror.ExistsError{Kind: "quota", ImportID: "acme/a10"}, endpoint)
	if len(diags) != 1 || !strings.Contains(diags[0].Detail(), `import it with the id "acme/a10"`) {
		t.Errorf("got %v", diags)
	}
}

func TestKinds(t *testing.T) {
	tests := map[int]struct{ notFound, conflict, stale, temporary bool }{
		400: {}, 403: {}, 409: {conflict: true}, 422: {}, 501: {},
		404: {notFound: true}, 412: {stale: true},
		408: {temporary: true}, 429: {temporary: true}, 500: {temporary: true}, 502: {temporary: true}, 503: {temporary: true}, 504: {temporary: true},
	}
	for status, want := range tests {
		err := error(&apierror.Error{Status: status, Problem: gen.Problem{Type: "urn:fleetform:problems/not-found"}})
		if apierror.IsNotFound(err) != want.notFound || apierror.IsConflict(err) != want.conflict || apierror.IsStale(err) != want.stale || apierror.IsTemporary(err) != want.temporary {
			t.Errorf("status %d is told wrong", status)
		}
	}
	if !apierror.IsTemporary(errors.New("connection refused")) || apierror.IsNotFound(nil) {
		t.Error("what is no answer is told wrong")
	}
}
