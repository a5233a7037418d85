package quota

import (
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

type model struct {
	Project      types.String `tfsdk:"project"`
	InstanceType types.String `tfsdk:"instance_type"`
	MaxReplicas  types.Int64  `tfsdk:"max_replicas"`
}

func (m model) key() client.Key {
	return client.Key{Project: m.Project.ValueString(), Name: m.InstanceType.ValueString()}
}

func (m model) toSpec() gen.QuotaSpec {
	return gen.QuotaSpec{MaxReplicas: m.MaxReplicas.ValueInt64()}
}

func fromAPI(key client.Key, quota *gen.Quota) model {
	return model{
		Project:      types.StringValue(key.Project),
		InstanceType: types.StringValue(key.Name),
		MaxReplicas:  types.Int64Value(quota.Spec.MaxReplicas),
	}
}
