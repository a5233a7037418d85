package modelversion

import (
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/condition"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

type model struct {
	Project         types.String `tfsdk:"project"`
	Model           types.String `tfsdk:"model"`
	Version         types.String `tfsdk:"version"`
	Artifact        types.String `tfsdk:"artifact"`
	Framework       types.String `tfsdk:"framework"`
	Runtime         types.String `tfsdk:"runtime"`
	Format          types.String `tfsdk:"format"`
	Task            types.String `tfsdk:"task"`
	Engine          types.String `tfsdk:"engine"`
	EngineVersion   types.String `tfsdk:"engine_version"`
	Quantization    types.String `tfsdk:"quantization"`
	Parent          types.String `tfsdk:"parent"`
	Sha256          types.String `tfsdk:"sha256"`
	AllowRemoteCode types.Bool   `tfsdk:"allow_remote_code"`
	Ref             types.String `tfsdk:"ref"`
	Digest          types.String `tfsdk:"digest"`
	SizeBytes       types.Int64  `tfsdk:"size_bytes"`
}

func (m model) key() client.ModelKey {
	return client.ModelKey{Project: m.Project.ValueString(), Model: m.Model.ValueString(), Version: m.Version.ValueString()}
}

// toSpec is what is registered; what the configuration leaves out is absent.
func (m model) toSpec() gen.ModelVersionSpec {
	return gen.ModelVersionSpec{
		Artifact:        m.Artifact.ValueString(),
		Framework:       m.Framework.ValueString(),
		Runtime:         m.Runtime.ValueString(),
		Format:          (*gen.ModelFormat)(m.Format.ValueStringPointer()),
		Task:            (*gen.Task)(m.Task.ValueStringPointer()),
		Engine:          m.Engine.ValueStringPointer(),
		EngineVersion:   m.EngineVersion.ValueStringPointer(),
		Quantization:    m.Quantization.ValueStringPointer(),
		Parent:          m.Parent.ValueStringPointer(),
		Sha256:          m.Sha256.ValueStringPointer(),
		AllowRemoteCode: m.AllowRemoteCode.ValueBoolPointer(),
	}
}

// fromAPI is the state of a version. digest and size_bytes are null until the artifact has been verified.
func fromAPI(key client.ModelKey, version *gen.ModelVersion) model {
	state := model{
		Project:         types.StringValue(key.Project),
		Model:           types.StringValue(key.Model),
		Version:         types.StringValue(key.Version),
		Artifact:        types.StringValue(version.Spec.Artifact),
		Framework:       types.StringValue(version.Spec.Framework),
		Runtime:         types.StringValue(version.Spec.Runtime),
		Format:          types.StringPointerValue((*string)(version.Spec.Format)),
		Task:            types.StringPointerValue((*string)(version.Spec.Task)),
		Engine:          types.StringPointerValue(version.Spec.Engine),
		EngineVersion:   types.StringPointerValue(version.Spec.EngineVersion),
		Quantization:    types.StringPointerValue(version.Spec.Quantization),
		Parent:          types.StringPointerValue(version.Spec.Parent),
		Sha256:          types.StringPointerValue(version.Spec.Sha256),
		AllowRemoteCode: types.BoolPointerValue(version.Spec.AllowRemoteCode),
		Ref:             types.StringValue(version.Status.Ref),
	}
	if version.Status.Digest != "" {
		state.Digest = types.StringValue(version.Status.Digest)
		state.SizeBytes = types.Int64Value(version.Status.SizeBytes)
	}
	return state
}

// judge says whether the artifact has been verified. A refusal is for good: the version is immutable.
func judge(version *gen.ModelVersion) wait.Verdict {
	verified, found := condition.Find(version.Status.Conditions, condition.Verified)
	switch {
	case found && verified.Status:
		return wait.Done
	case found && verified.Reason != condition.Verifying:
		return wait.Failed
	default:
		return wait.Waiting
	}
}
