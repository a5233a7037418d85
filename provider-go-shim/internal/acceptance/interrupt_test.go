package acceptance

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// TestAnInterruptedCreationIsNotForgotten breaks an apply off while it waits for an endpoint: the endpoint is in the state, and destroy
// finds it.
func TestAnInterruptedCreationIsNotForgotten(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set")
	}
	goesWrong(t, func(s script) { s.Engines["endless:v1"] = "hang" })
	key := client.Key{Project: "interrupted-test", Name: "chat"}
	folder := t.TempDir()
	write(t, filepath.Join(folder, "main.tf"),
		"terraform {\n  required_providers { fleetform = { source = \"fleetform/fleetform\" } }\n}\n"+
			endpointConfig(key.Project, "endless", serves("v1"), "v1"))
	terraform := terraformIn(t, folder, built(t))

	apply := terraform.command(t, "apply", "-no-color", "-input=false", "-auto-approve")
	if err := apply.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = apply.Process.Kill() })
	awaitThere(t, key)
	if err := apply.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := apply.Wait(); err == nil {
		t.Error("an interrupted apply succeeded")
	}

	terraform.run(t, "state", "list")
	if said := terraform.said(t); !strings.Contains(said, "fleetform_endpoint.this\n") {
		t.Errorf("the endpoint is not in the state: %s", said)
	}
	terraform.run(t, "destroy", "-no-color", "-input=false", "-auto-approve")
	if err := gone("the endpoint", func(ctx context.Context) (*gen.Endpoint, error) { return server.api.Endpoints.Get(ctx, key) })(nil); err != nil {
		t.Error(err)
	}
}

// awaitThere waits until the endpoint has been accepted.
func awaitThere(t *testing.T, key client.Key) {
	t.Helper()
	ask := func(ctx context.Context, _ time.Duration) (bool, error) {
		_, err := server.api.Endpoints.Get(ctx, key)
		if apierror.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}
	_, _, err := wait.Until(t.Context(), wait.System{}, startLimit, ask, func(there bool) wait.Verdict {
		if there {
			return wait.Done
		}
		return wait.Waiting
	})
	if err != nil {
		t.Fatal(err)
	}
}
