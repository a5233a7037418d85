package acceptance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
)

// TestAnEndpointThatIsBeingDeletedIsMadeAnew plans and applies while somebody else's deletion is under way: the endpoint still answers, as
// wanted, and will not for long. A teardown takes seconds here, so a proxy says of the endpoint that it is under way, until the provider
// asks for the end of it.
func TestAnEndpointThatIsBeingDeletedIsMadeAnew(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set")
	}
	var leaving atomic.Bool
	proxy := proxied(t, "/endpoints/chat", &leaving)
	config := strings.Replace(endpointConfig("deleting-test", "leaving", serves("v1"), "v1"),
		"provider \"fleetform\" {", fmt.Sprintf("provider \"fleetform\" {\nbase_url = %q\n", proxy), 1)
	config = strings.Replace(config, "project = \"deleting-test\" }", "project = \"deleting-test\"\n}", 1)
	other := statecheck.CompareValue(compare.ValuesDiffer())
	uid := func() []statecheck.StateCheck {
		return []statecheck.StateCheck{other.AddStateValue(address, at("uid"))}
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config, ConfigStateChecks: uid()},
			{
				PreConfig:        func() { leaving.Store(true) },
				Config:           config,
				ConfigPlanChecks: action(address, plancheck.ResourceActionReplace), ConfigStateChecks: uid(),
			},
			unchanged(config),
		},
	})
}

// proxied is the address of the server behind a proxy, by which what lies at the path is being deleted while leaving is true. DELETE ends
// that.
func proxied(t *testing.T, path string, leaving *atomic.Bool) string {
	t.Helper()
	target, err := url.Parse(server.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(req *httputil.ProxyRequest) {
			req.SetURL(target)
			if req.In.Method == http.MethodDelete && strings.HasSuffix(req.In.URL.Path, path) {
				leaving.Store(false)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			if !leaving.Load() || !strings.HasSuffix(resp.Request.URL.Path, path) {
				return nil
			}
			var found map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
				return err
			}
			status, known := found["status"].(map[string]any)
			if known {
				status["phase"], status["ready"] = "Deleting", false
			}
			text, err := json.Marshal(found)
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
			resp.Header.Set("Content-Length", fmt.Sprint(len(text)))
			return err
		},
	}
	made := httptest.NewServer(proxy)
	t.Cleanup(made.Close)
	return made.URL
}
