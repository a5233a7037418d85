package endpoint

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/scope"
)

// TestCreateWaitsForAPredecessorThatIsBeingDeleted meets an endpoint of the same name on its way out, with the same spec and with another:
// neither is taken for ours, and neither is in the way for good.
func TestCreateWaitsForAPredecessorThatIsBeingDeleted(t *testing.T) {
	for name, version := range map[string]string{"of the same spec": "m:v1", "of another spec": "m:v2"} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			leaving := serving()
			leaving.Spec.Variants = map[string]gen.VariantSpec{"v1": {ModelVersion: version}}
			leaving.Status.Phase, leaving.Status.Ready = "Deleting", false
			made := serving()
			made.Metadata.UID = "uid-2"
			resource := resourceOf(t, func(w http.ResponseWriter, req *http.Request) {
				waits := req.URL.Query().Get("wait_for")
				asked = append(asked, req.Method+waits)
				switch {
				case req.Method == http.MethodPut && len(asked) == 1:
					refuse(w, http.StatusPreconditionFailed, "stale")
				case req.Method == http.MethodPut:
					answer(w, http.StatusCreated, made)
				case waits != "":
					refuse(w, http.StatusNotFound, "not-found")
				default:
					answer(w, http.StatusOK, leaving)
				}
			})
			plan := resourceModel{specModel: specFromAPI(smallSpec())}
			plan.Project, plan.Name = types.StringValue("acme"), types.StringValue("chat")
			endpoint, diags := resource.create(t.Context(), plan, time.Minute, nil)
			if diags.HasError() {
				t.Fatal(diags)
			}
			if endpoint.Metadata.UID != "uid-2" || asked[len(asked)-2] != "GETdeleted" || asked[len(asked)-1] != http.MethodPut {
				t.Errorf("made %s after %v", endpoint.Metadata.UID, asked)
			}
		})
	}
}

func resourceOf(t *testing.T, handle http.HandlerFunc) *Resource {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	api, err := client.New(client.Config{BaseURL: server.URL, Token: "cd-test", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return &Resource{scope: &scope.Scope{Client: api}}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, kind string) {
	answer(w, status, gen.Problem{Type: "urn:fleetform:problems/" + kind, Title: kind, Detail: kind, Status: int64(status)})
}
