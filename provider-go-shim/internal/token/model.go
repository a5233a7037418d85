package token

import (
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/tfvalue"
)

type model struct {
	Project   types.String `tfsdk:"project"`
	Name      types.String `tfsdk:"name"`
	Roles     types.Set    `tfsdk:"roles"`
	Endpoints types.Set    `tfsdk:"endpoints"`
	TTLDays   types.Int64  `tfsdk:"ttl_days"`
	Labels    types.Map    `tfsdk:"labels"`
	UID       types.String `tfsdk:"uid"`
}

func (m model) key() client.Key {
	return client.Key{Project: m.Project.ValueString(), Name: m.Name.ValueString()}
}

// toSpec is the whole desired spec; what the configuration leaves out is absent.
func (m model) toSpec() gen.TokenSpec {
	spec := gen.TokenSpec{
		Endpoints: tfvalue.Sorted(m.Endpoints),
		TTLDays:   m.TTLDays.ValueInt64Pointer(),
		Labels:    tfvalue.Strings(m.Labels),
	}
	for _, role := range *tfvalue.Sorted(m.Roles) {
		spec.Roles = append(spec.Roles, gen.Role(role))
	}
	return spec
}

func fromAPI(key client.Key, token *gen.Token) model {
	return model{
		Project:   types.StringValue(key.Project),
		Name:      types.StringValue(key.Name),
		Roles:     tfvalue.Set(&token.Spec.Roles),
		Endpoints: tfvalue.Set(token.Spec.Endpoints),
		TTLDays:   types.Int64PointerValue(token.Spec.TTLDays),
		Labels:    tfvalue.Map(token.Spec.Labels),
		UID:       types.StringValue(token.Metadata.UID),
	}
}
