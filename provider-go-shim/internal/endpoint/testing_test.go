package endpoint

import (
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// point is the address of a value.
func point[T any](v T) *T { return &v }

// fullSpec has every field set, so that none can get lost on its way.
func fullSpec() gen.EndpointSpec {
	return gen.EndpointSpec{
		Type:         point("realtime"),
		Mode:         point("dedicated"),
		InstanceType: "gpu-a10-1x",
		Variants: map[string]gen.VariantSpec{
			"v1": {ModelVersion: "m:v1", Weight: point(int64(90)), EngineArgs: &map[string]string{"gpu_memory_utilization": "0.9"}},
			"v2": {ModelVersion: "m:v2", Weight: point(int64(10)), EngineArgs: &map[string]string{}},
		},
		Scaling: &gen.ScalingSpec{
			MinReplicas: point(int64(2)), MaxReplicas: point(int64(20)), TargetConcurrency: point(int64(8)), IdleS: point(int64(300)),
			Schedule: &map[string]gen.ScheduleSpec{"night": {
				Cron: "0 22 * * *", DurationS: 28800, Timezone: point("Asia/Dhaka"), MinReplicas: point(int64(1)), MaxReplicas: point(int64(2)),
			}},
		},
		RequestTimeoutS:       point(int64(30)),
		MaxRequestsPerReplica: point(int64(10000)),
		Rollout: &gen.RolloutSpec{
			Strategy: point("surge"), Steps: &[]int64{1, 50, 100}, StepHoldS: point(int64(60)), BakeS: point(int64(600)), Retry: point("again"),
		},
		Slo:                &gen.SloSpec{TtftP95Ms: point(int64(2000)), LatencyP95Ms: point(int64(9000)), ErrorRate: point(0.01)},
		Logging:            &gen.LoggingSpec{Content: point("full"), RetentionDays: point(int64(7))},
		Async:              &gen.AsyncSpec{CallbackUrls: &[]string{"https://a.example.com/", "https://b.example.com/"}},
		DeletionProtection: point(true),
		Labels:             &map[string]string{"team": "search"},
	}
}

// smallSpec has nothing but what is required.
func smallSpec() gen.EndpointSpec {
	return gen.EndpointSpec{InstanceType: "cpu-small", Variants: map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v1"}}}
}

// serving is an endpoint whose generation 4 serves.
func serving() *gen.Endpoint {
	endpoint := &gen.Endpoint{
		Metadata: gen.Metadata{Name: "chat", UID: "uid-1", Generation: 4, CreatedAt: "2026-11-24T23:00:00Z"},
		Spec:     smallSpec(),
	}
	endpoint.Status = gen.EndpointStatus{
		ObservedGeneration: 4,
		Phase:              "Ready",
		Conditions:         []gen.Condition{says("Ready", true, "Serving"), says("Progressing", false, "Settled")},
		Live: &gen.LiveState{
			Generation: 4, InstanceType: "cpu-small",
			Variants: map[string]gen.EffectiveVariant{"v1": {ModelVersion: "m:v1", Weight: 100, EngineArgs: map[string]string{}}},
		},
		URL: "http://127.0.0.1:7080/v1", Model: "chat", Ready: true,
	}
	return endpoint
}

// rolledBack is an endpoint whose generation 5, which asked for m:v2, was turned back: generation 4 goes on serving.
func rolledBack() *gen.Endpoint {
	endpoint := serving()
	endpoint.Metadata.Generation, endpoint.Status.ObservedGeneration = 5, 5
	endpoint.Spec.Variants = map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v2"}}
	endpoint.Status.Ready = false
	endpoint.Status.Conditions = []gen.Condition{says("Ready", false, "RolledBack"), says("Degraded", true, "CrashLoop")}
	endpoint.Status.Rejected = &gen.Rejected{Generation: 5, Reason: "CrashLoop", Versions: []string{"m:v2"}, Evidence: []string{"RuntimeError: no weights"}}
	return endpoint
}

func says(kind string, status bool, reason string) gen.Condition {
	return gen.Condition{Type: gen.ConditionType(kind), Status: status, Reason: gen.Reason(reason)}
}
