package project

import (
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/tfvalue"
)

type model struct {
	Name             types.String `tfsdk:"name"`
	DisplayName      types.String `tfsdk:"display_name"`
	ArtifactPrefixes types.Set    `tfsdk:"artifact_prefixes"`
	Labels           types.Map    `tfsdk:"labels"`
}

// toSpec is the whole desired spec; what the configuration leaves out is absent.
func (m model) toSpec() gen.ProjectSpec {
	return gen.ProjectSpec{
		DisplayName:      m.DisplayName.ValueStringPointer(),
		ArtifactPrefixes: tfvalue.Sorted(m.ArtifactPrefixes),
		Labels:           tfvalue.Strings(m.Labels),
	}
}

func fromAPI(project *gen.Project) model {
	return model{
		Name:             types.StringValue(project.Metadata.Name),
		DisplayName:      types.StringPointerValue(project.Spec.DisplayName),
		ArtifactPrefixes: tfvalue.Set(project.Spec.ArtifactPrefixes),
		Labels:           tfvalue.Map(project.Spec.Labels),
	}
}
