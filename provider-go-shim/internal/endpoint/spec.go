package endpoint

import (
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/tfvalue"
)

// toSpec is the whole desired spec; what the configuration leaves out is absent.
func (m specModel) toSpec() gen.EndpointSpec {
	spec := gen.EndpointSpec{
		Type:                  m.Type.ValueStringPointer(),
		Mode:                  m.Mode.ValueStringPointer(),
		InstanceType:          m.InstanceType.ValueString(),
		Variants:              make(map[string]gen.VariantSpec, len(m.Variants)),
		Scaling:               m.Scaling.toSpec(),
		RequestTimeoutS:       m.RequestTimeoutS.ValueInt64Pointer(),
		MaxRequestsPerReplica: m.MaxRequestsPerReplica.ValueInt64Pointer(),
		Rollout:               m.Rollout.toSpec(),
		Slo:                   m.Slo.toSpec(),
		Logging:               m.Logging.toSpec(),
		Async:                 m.Async.toSpec(),
		DeletionProtection:    m.DeletionProtection.ValueBoolPointer(),
		Labels:                tfvalue.Strings(m.Labels),
	}
	for name, variant := range m.Variants {
		spec.Variants[name] = gen.VariantSpec{
			ModelVersion: variant.ModelVersion.ValueString(),
			Weight:       variant.Weight.ValueInt64Pointer(),
			EngineArgs:   tfvalue.Strings(variant.EngineArgs),
		}
	}
	return spec
}

func (m *scalingModel) toSpec() *gen.ScalingSpec {
	if m == nil {
		return nil
	}
	spec := &gen.ScalingSpec{
		MinReplicas:       m.MinReplicas.ValueInt64Pointer(),
		MaxReplicas:       m.MaxReplicas.ValueInt64Pointer(),
		TargetConcurrency: m.TargetConcurrency.ValueInt64Pointer(),
		IdleS:             m.IdleS.ValueInt64Pointer(),
	}
	if m.Schedule == nil {
		return spec
	}
	schedule := make(map[string]gen.ScheduleSpec, len(m.Schedule))
	for name, window := range m.Schedule {
		schedule[name] = gen.ScheduleSpec{
			Cron:        window.Cron.ValueString(),
			DurationS:   window.DurationS.ValueInt64(),
			Timezone:    window.Timezone.ValueStringPointer(),
			MinReplicas: window.MinReplicas.ValueInt64Pointer(),
			MaxReplicas: window.MaxReplicas.ValueInt64Pointer(),
		}
	}
	spec.Schedule = &schedule
	return spec
}

func (m *rolloutModel) toSpec() *gen.RolloutSpec {
	if m == nil {
		return nil
	}
	return &gen.RolloutSpec{
		Strategy:  m.Strategy.ValueStringPointer(),
		Steps:     tfvalue.Integers(m.Steps),
		StepHoldS: m.StepHoldS.ValueInt64Pointer(),
		BakeS:     m.BakeS.ValueInt64Pointer(),
		Retry:     m.Retry.ValueStringPointer(),
	}
}

func (m *sloModel) toSpec() *gen.SloSpec {
	if m == nil {
		return nil
	}
	return &gen.SloSpec{
		TtftP95Ms:    m.TtftP95Ms.ValueInt64Pointer(),
		LatencyP95Ms: m.LatencyP95Ms.ValueInt64Pointer(),
		ErrorRate:    m.ErrorRate.ValueFloat64Pointer(),
	}
}

func (m *loggingModel) toSpec() *gen.LoggingSpec {
	if m == nil {
		return nil
	}
	return &gen.LoggingSpec{
		Content:       m.Content.ValueStringPointer(),
		RetentionDays: m.RetentionDays.ValueInt64Pointer(),
	}
}

func (m *asyncModel) toSpec() *gen.AsyncSpec {
	if m == nil {
		return nil
	}
	return &gen.AsyncSpec{CallbackUrls: tfvalue.Sorted(m.CallbackURLs)}
}

// specFromAPI is a spec as Terraform sees it: an absent field is null.
func specFromAPI(spec gen.EndpointSpec) specModel {
	model := specModel{
		Type:                  types.StringPointerValue(spec.Type),
		Mode:                  types.StringPointerValue(spec.Mode),
		InstanceType:          types.StringValue(spec.InstanceType),
		Variants:              make(map[string]variantModel, len(spec.Variants)),
		Scaling:               scalingFromAPI(spec.Scaling),
		Rollout:               rolloutFromAPI(spec.Rollout),
		Slo:                   sloFromAPI(spec.Slo),
		RequestTimeoutS:       types.Int64PointerValue(spec.RequestTimeoutS),
		MaxRequestsPerReplica: types.Int64PointerValue(spec.MaxRequestsPerReplica),
		DeletionProtection:    types.BoolPointerValue(spec.DeletionProtection),
		Labels:                tfvalue.Map(spec.Labels),
	}
	for name, variant := range spec.Variants {
		model.Variants[name] = variantFromAPI(variant)
	}
	if logging := spec.Logging; logging != nil {
		model.Logging = &loggingModel{
			Content:       types.StringPointerValue(logging.Content),
			RetentionDays: types.Int64PointerValue(logging.RetentionDays),
		}
	}
	if async := spec.Async; async != nil {
		model.Async = &asyncModel{CallbackURLs: tfvalue.Set(async.CallbackUrls)}
	}
	return model
}

func variantFromAPI(variant gen.VariantSpec) variantModel {
	return variantModel{
		ModelVersion: types.StringValue(variant.ModelVersion),
		Weight:       types.Int64PointerValue(variant.Weight),
		EngineArgs:   tfvalue.Map(variant.EngineArgs),
	}
}

func scalingFromAPI(scaling *gen.ScalingSpec) *scalingModel {
	if scaling == nil {
		return nil
	}
	model := &scalingModel{
		MinReplicas:       types.Int64PointerValue(scaling.MinReplicas),
		MaxReplicas:       types.Int64PointerValue(scaling.MaxReplicas),
		TargetConcurrency: types.Int64PointerValue(scaling.TargetConcurrency),
		IdleS:             types.Int64PointerValue(scaling.IdleS),
	}
	if scaling.Schedule == nil {
		return model
	}
	model.Schedule = make(map[string]scheduleModel, len(*scaling.Schedule))
	for name, window := range *scaling.Schedule {
		model.Schedule[name] = scheduleModel{
			Cron:        types.StringValue(window.Cron),
			DurationS:   types.Int64Value(window.DurationS),
			Timezone:    types.StringPointerValue(window.Timezone),
			MinReplicas: types.Int64PointerValue(window.MinReplicas),
			MaxReplicas: types.Int64PointerValue(window.MaxReplicas),
		}
	}
	return model
}

func rolloutFromAPI(rollout *gen.RolloutSpec) *rolloutModel {
	if rollout == nil {
		return nil
	}
	return &rolloutModel{
		Strategy:  types.StringPointerValue(rollout.Strategy),
		Steps:     tfvalue.List(rollout.Steps),
		StepHoldS: types.Int64PointerValue(rollout.StepHoldS),
		BakeS:     types.Int64PointerValue(rollout.BakeS),
		Retry:     types.StringPointerValue(rollout.Retry),
	}
}

func sloFromAPI(slo *gen.SloSpec) *sloModel {
	if slo == nil {
		return nil
	}
	return &sloModel{
		TtftP95Ms:    types.Int64PointerValue(slo.TtftP95Ms),
		LatencyP95Ms: types.Int64PointerValue(slo.LatencyP95Ms),
		ErrorRate:    types.Float64PointerValue(slo.ErrorRate),
	}
}
