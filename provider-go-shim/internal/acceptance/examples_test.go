package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheExamplesOfTheDocumentationApply puts every example into one configuration, as they are meant to be read together.
func TestTheExamplesOfTheDocumentationApply(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set")
	}
	found, err := filepath.Glob("../../examples/*/*/*.tf")
	if err != nil || len(found) < 7 {
		t.Fatalf("found %v, %v; want one for each resource", found, err)
	}
	folder := t.TempDir()
	for _, path := range append(found, "../../examples/provider/provider.tf") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ReplaceAll(strings.TrimPrefix(path, "../../examples/"), "/", "-")
		// The one instance type that every region has.
		write(t, filepath.Join(folder, name), strings.ReplaceAll(string(text), "gpu-a10-1x", "cpu-small"))
	}
	terraform := terraformIn(t, folder, built(t))
	terraform.run(t, "apply", "-no-color", "-input=false", "-auto-approve")
	terraform.run(t, "plan", "-no-color", "-input=false", "-detailed-exitcode")
	terraform.run(t, "destroy", "-no-color", "-input=false", "-auto-approve")
}
