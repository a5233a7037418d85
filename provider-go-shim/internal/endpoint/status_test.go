package endpoint

import (
	"strings"
	"testing"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		endpoint   *gen.Endpoint
		change     func(*gen.Endpoint)
		refused    string
		generation int64
		want       wait.Verdict
		says       string
	}{
		"serves":                 {endpoint: serving(), generation: 4, want: wait.Done},
		"not observed yet":       {endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.ObservedGeneration = 3 }, generation: 4, want: wait.Waiting},
		"not ready yet":          {endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.Ready = false }, generation: 4, want: wait.Waiting},
		"replaced by another":    {endpoint: serving(), generation: 3, want: wait.Failed, says: "replaced by generation 4"},
		"rolled back":            {endpoint: rolledBack(), generation: 5, want: wait.Failed, says: "generation 5 was rolled back: CrashLoop (m:v2)"},
		"rolled back, not noted": {endpoint: rolledBack(), change: func(e *gen.Endpoint) { e.Status.Rejected = nil }, generation: 5, want: wait.Failed, says: "RolledBack"},
		"an earlier rejection is not ours": {
			endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.Rejected = &gen.Rejected{Generation: 3} }, generation: 4, want: wait.Done,
		},
		"what an earlier generation says is not ours": {
			endpoint: rolledBack(),
			change: func(e *gen.Endpoint) {
				e.Metadata.Generation = 6
				e.Status.Rejected.Generation = 5
			},
			generation: 6, want: wait.Waiting,
		},
		"stalled": {
			endpoint: serving(),
			change: func(e *gen.Endpoint) {
				e.Status.Conditions = []gen.Condition{says("Progressing", false, "Stalled"), says("Degraded", true, "OOMKilled")}
				e.Status.Ready = false
			},
			generation: 4, want: wait.Failed, says: "OOMKilled",
		},
		"its model version was refused": {
			endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.Ready = false }, refused: "PickleRefused", generation: 4, want: wait.Failed,
			says: "PickleRefused",
		},
		"it is being deleted": {
			endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.Phase, e.Status.Ready = "Deleting", false }, generation: 4,
			want: wait.Failed, says: "being deleted",
		},
		"the quota is full": {
			endpoint: serving(),
			change: func(e *gen.Endpoint) {
				e.Status.Ready = false
				e.Status.Conditions = []gen.Condition{says("Admitted", false, "QuotaExhausted")}
			},
			generation: 4, want: wait.Waiting,
		},
		"ready, and something else serves": {
			endpoint: serving(),
			change:   func(e *gen.Endpoint) { e.Spec.Variants["v1"] = gen.VariantSpec{ModelVersion: "m:v2"} }, generation: 4, want: wait.Waiting,
		},
		"ready, on other machines": {
			endpoint: serving(), change: func(e *gen.Endpoint) { e.Spec.InstanceType = "gpu-a10-1x" }, generation: 4, want: wait.Waiting,
		},
		"ready, with other arguments": {
			endpoint: serving(),
			change: func(e *gen.Endpoint) {
				e.Spec.Variants["v1"] = gen.VariantSpec{ModelVersion: "m:v1", EngineArgs: &map[string]string{"x": "1"}}
			},
			generation: 4, want: wait.Waiting,
		},
		"ready, and one variant too many serves": {
			endpoint: serving(),
			change: func(e *gen.Endpoint) {
				e.Status.Live.Variants["v0"] = gen.EffectiveVariant{ModelVersion: "m:v0", Weight: 10}
			},
			generation: 4, want: wait.Waiting,
		},
		"variants without traffic need not serve": {
			endpoint: serving(),
			change: func(e *gen.Endpoint) {
				e.Spec.Variants["v1"] = gen.VariantSpec{ModelVersion: "m:v1", Weight: point(int64(100))}
				e.Spec.Variants["v0"] = gen.VariantSpec{ModelVersion: "m:v0", Weight: point(int64(0))}
			},
			generation: 4, want: wait.Done,
		},
		"nothing serves": {endpoint: serving(), change: func(e *gen.Endpoint) { e.Status.Live = nil }, generation: 4, want: wait.Waiting},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.change != nil {
				test.change(test.endpoint)
			}
			seen := observation{endpoint: test.endpoint, refused: test.refused}
			if got := judge(seen, test.generation); got != test.want {
				t.Fatalf("verdict %d; want %d", got, test.want)
			}
			if test.want == wait.Failed {
				why := explain(seen, test.generation)
				if text := why.summary + why.detail; !strings.Contains(text, test.says) {
					t.Errorf("explained as %q; want %q in it", text, test.says)
				}
			}
		})
	}
}

func TestARollbackIsExplainedWithItsEvidenceAndWhatServes(t *testing.T) {
	why := explain(observation{endpoint: rolledBack()}, 5)
	for _, word := range []string{"RuntimeError: no weights", "Degraded=true (CrashLoop)", "Generation 4 goes on serving", "m:v1", "rollout.retry"} {
		if !strings.Contains(why.detail, word) {
			t.Errorf("it does not say %q: %s", word, why.detail)
		}
	}
}

func TestPendingSaysWhatIsWaitedFor(t *testing.T) {
	endpoint := serving()
	endpoint.Status.Phase = "Pending"
	endpoint.Status.Replicas = gen.ReplicaCounts{Wanted: 2, Starting: 1}
	endpoint.Status.Conditions = []gen.Condition{{Type: "Admitted", Reason: "QuotaExhausted", Message: "0 of 2 are free"}}
	text := pending(endpoint)
	for _, word := range []string{"Pending", "2 wanted", "1 starting", "Admitted=false (QuotaExhausted): 0 of 2 are free"} {
		if !strings.Contains(text, word) {
			t.Errorf("it does not say %q: %s", word, text)
		}
	}
	if pending(nil) == "" {
		t.Error("nothing is said of a server that was not heard of")
	}
}
