package endpoint

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

func TestASpecComesBackAsItWasSent(t *testing.T) {
	for name, spec := range map[string]gen.EndpointSpec{
		"full": fullSpec(), "small": smallSpec(), "empty blocks": {
			InstanceType: "cpu-small", Variants: map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v1"}},
			Scaling: &gen.ScalingSpec{Schedule: &map[string]gen.ScheduleSpec{}}, Rollout: &gen.RolloutSpec{Steps: &[]int64{}}, Slo: &gen.SloSpec{},
			Logging: &gen.LoggingSpec{}, Async: &gen.AsyncSpec{}, Labels: &map[string]string{}, DeletionProtection: point(false),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := specFromAPI(spec).toSpec(); !reflect.DeepEqual(got, spec) {
				t.Errorf("came back as %s", toJSON(t, got))
			}
		})
	}
}

func TestWhatIsLeftOutIsNotSent(t *testing.T) {
	want := `{"instance_type":"cpu-small","variants":{"v1":{"model_version":"m:v1"}}}`
	if got := toJSON(t, specFromAPI(smallSpec()).toSpec()); got != want {
		t.Errorf("sends %s; want %s", got, want)
	}
}

// TestStateTakesEveryField puts a full endpoint through the schema: what the model names otherwise than the schema would fail here.
func TestStateTakesEveryField(t *testing.T) {
	ctx := t.Context()
	var described resource.SchemaResponse
	NewResource().Schema(ctx, resource.SchemaRequest{}, &described)
	state := tfsdk.State{Schema: described.Schema, Raw: tftypes.NewValue(described.Schema.Type().TerraformType(ctx), nil)}
	endpoint := serving()
	endpoint.Spec = fullSpec()
	model := resourceModel{identityModel: identityModel{Project: types.StringValue("acme"), Name: types.StringValue("chat")}}
	model.Timeouts = timeouts.Value{Object: types.ObjectNull(map[string]attr.Type{
		"create": types.StringType, "update": types.StringType, "delete": types.StringType,
	})}
	if diags := state.Set(ctx, model.withAPI(endpoint)); diags.HasError() {
		t.Fatal(diags)
	}
	var read resourceModel
	if diags := state.Get(ctx, &read); diags.HasError() {
		t.Fatal(diags)
	}
	if got := read.toSpec(); !reflect.DeepEqual(got, fullSpec()) {
		t.Errorf("the spec came back as %s", toJSON(t, got))
	}
	if read.UID.ValueString() != "uid-1" || read.URL.ValueString() != "http://127.0.0.1:7080/v1" || read.Model.ValueString() != "chat" ||
		read.Generation.ValueInt64() != 4 || !read.Ready.ValueBool() || read.key() != (client.Key{Project: "acme", Name: "chat"}) {
		t.Errorf("the rest came back as %+v", read.identityModel)
	}
}

func TestShown(t *testing.T) {
	tests := map[string]struct {
		change func(*gen.Endpoint)
		want   map[string]gen.VariantSpec
	}{
		"what was sent, while it serves": {
			func(e *gen.Endpoint) { e.Status.Rejected.Generation = 3 }, map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v2"}},
		},
		"what serves, after a rejection, in the owner's words": {
			func(*gen.Endpoint) {}, map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v1"}},
		},
		"arguments that serve are written out": {
			func(e *gen.Endpoint) {
				e.Status.Live.Variants["v1"] = gen.EffectiveVariant{ModelVersion: "m:v1", Weight: 100, EngineArgs: map[string]string{"x": "1"}}
			},
			map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v1", EngineArgs: &map[string]string{"x": "1"}}},
		},
		"a variant that was added is gone, one that was to go is back": {
			func(e *gen.Endpoint) {
				e.Spec.Variants = map[string]gen.VariantSpec{"v2": {ModelVersion: "m:v2"}}
			},
			map[string]gen.VariantSpec{"v1": {ModelVersion: "m:v1", Weight: point(int64(100))}},
		},
		"a variant without traffic stays, one that bakes is not shown": {
			func(e *gen.Endpoint) {
				e.Spec.Variants = map[string]gen.VariantSpec{
					"v1": {ModelVersion: "m:v2", Weight: point(int64(100))}, "v3": {ModelVersion: "m:v3", Weight: point(int64(0))},
				}
				e.Status.Live.Variants["v0"] = gen.EffectiveVariant{ModelVersion: "m:v0"}
			},
			map[string]gen.VariantSpec{
				"v1": {ModelVersion: "m:v1", Weight: point(int64(100))}, "v3": {ModelVersion: "m:v3", Weight: point(int64(0))},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			endpoint := rolledBack()
			test.change(endpoint)
			if got := shown(endpoint).Variants; !reflect.DeepEqual(got, test.want) {
				t.Errorf("shows %s; want %s", toJSON(t, got), toJSON(t, test.want))
			}
		})
	}
	moved := rolledBack()
	moved.Spec.InstanceType = "gpu-h100-1x"
	if got := shown(moved).InstanceType; got != "cpu-small" {
		t.Errorf("shows %s; want what serves", got)
	}
	nothing := rolledBack()
	nothing.Status.Live = nil
	if got := shown(nothing); !reflect.DeepEqual(got, nothing.Spec) {
		t.Error("with nothing that serves, the spec is what is left")
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
