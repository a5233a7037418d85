package endpoint

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
)

// TestDataSourceTakesEveryField puts a full endpoint through the schema: what the model names otherwise than the schema would fail here.
func TestDataSourceTakesEveryField(t *testing.T) {
	ctx := t.Context()
	var described datasource.SchemaResponse
	NewDataSource().Schema(ctx, datasource.SchemaRequest{}, &described)
	if diags := described.Schema.ValidateImplementation(ctx); diags.HasError() {
		t.Fatal(diags)
	}
	state := tfsdk.State{Schema: described.Schema, Raw: tftypes.NewValue(described.Schema.Type().TerraformType(ctx), nil)}
	endpoint := rolledBack()
	endpoint.Spec = fullSpec()
	if diags := state.Set(ctx, dataFromAPI(client.Key{Project: "acme", Name: "chat"}, endpoint)); diags.HasError() {
		t.Fatal(diags)
	}
	var read dataSourceModel
	if diags := state.Get(ctx, &read); diags.HasError() {
		t.Fatal(diags)
	}
	if read.InstanceType.ValueString() != "gpu-a10-1x" {
		t.Errorf("a data source shows the spec that was sent; it shows %s", read.InstanceType)
	}
	if read.Live.Variants["v1"].Weight.ValueInt64() != 100 || read.Rejected.Evidence[0].ValueString() != "RuntimeError: no weights" ||
		read.Conditions[0].Reason.ValueString() != "RolledBack" || read.ObservedGeneration.ValueInt64() != 5 {
		t.Errorf("the status came back as %+v", read)
	}
}
