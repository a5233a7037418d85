package condition_test

import (
	"testing"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
)

var listed = []gen.Condition{
	{Type: "Ready", Status: true, Reason: "Serving"},
	{Type: "Progressing", Status: false, Reason: "Stalled", Message: "three starts failed"},
	{Type: "Admitted", Status: false, Reason: "QuotaExhausted"},
	{Type: "Degraded", Status: true, Reason: "CrashLoop"},
}

func TestFindAndIs(t *testing.T) {
	found, there := condition.Find(listed, "Progressing")
	if !there || found.Reason != "Stalled" {
		t.Errorf("found %v, %t", found, there)
	}
	if _, there := condition.Find(listed, "Verified"); there {
		t.Error("found what is not there")
	}
	if !condition.Is(listed, "Ready", true, "Serving") || condition.Is(listed, "Ready", false, "Serving") ||
		condition.Is(listed, "Ready", true, "Starting") || condition.Is(nil, "Ready", true, "Serving") {
		t.Error("a condition is told wrong")
	}
}

func TestLinesOfWhatIsAmiss(t *testing.T) {
	want := "  Progressing=false (Stalled): three starts failed\n  Admitted=false (QuotaExhausted)\n  Degraded=true (CrashLoop)"
	if got := condition.Lines(condition.Amiss(listed)); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	well := []gen.Condition{
		{Type: "Ready", Status: true}, {Type: "Progressing", Reason: "Settled"}, {Type: "Admitted", Status: true}, {Type: "Degraded", Reason: "None"},
	}
	if amiss := condition.Amiss(well); len(amiss) != 0 {
		t.Errorf("amiss: %v", amiss)
	}
}
