package modelversion

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

var key = client.ModelKey{Project: "acme", Model: "m", Version: "v1"}

func point[T any](v T) *T { return &v }

func TestASpecComesBackAsItWasSent(t *testing.T) {
	full := gen.ModelVersionSpec{
		Artifact: "s3://acme/m/", Framework: "pytorch2.5", Runtime: "cuda12.6", Format: point(gen.ModelFormat("gguf")), Task: point(gen.Task("embed")),
		Engine: point("triton"), EngineVersion: point("2.60"), Quantization: point("awq"), Parent: point("m:v0"), Sha256: point("ab"),
		AllowRemoteCode: point(false),
	}
	small := gen.ModelVersionSpec{Artifact: "file:///m/", Framework: "pytorch", Runtime: "cpu"}
	for _, spec := range []gen.ModelVersionSpec{full, small} {
		if got := fromAPI(key, &gen.ModelVersion{Spec: spec}).toSpec(); !reflect.DeepEqual(got, spec) {
			t.Errorf("came back as %+v", got)
		}
	}
}

func TestDigestIsNullUntilItIsKnown(t *testing.T) {
	if state := fromAPI(key, &gen.ModelVersion{}); !state.Digest.IsNull() || !state.SizeBytes.IsNull() {
		t.Errorf("got %s, %s", state.Digest, state.SizeBytes)
	}
	verified := &gen.ModelVersion{Status: gen.ModelVersionStatus{Ref: "m:v1", Digest: "abc", SizeBytes: 7}}
	if state := fromAPI(key, verified); state.Digest.ValueString() != "abc" || state.SizeBytes.ValueInt64() != 7 || state.Ref.ValueString() != "m:v1" {
		t.Errorf("got %s, %s, %s", state.Digest, state.SizeBytes, state.Ref)
	}
}

func verified(status bool, reason string) *gen.ModelVersion {
	said := gen.Condition{Type: "Verified", Status: status, Reason: gen.Reason(reason), Message: "because"}
	return &gen.ModelVersion{Status: gen.ModelVersionStatus{Conditions: []gen.Condition{said}}}
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		version *gen.ModelVersion
		want    wait.Verdict
	}{
		"nothing said yet": {&gen.ModelVersion{}, wait.Waiting},
		"verifying":        {verified(false, "Verifying"), wait.Waiting},
		"verified":         {verified(true, "Verified"), wait.Done},
		"refused":          {verified(false, "PickleRefused"), wait.Failed},
	}
	for name, test := range tests {
		if got := judge(test.version); got != test.want {
			t.Errorf("%s: verdict %d; want %d", name, got, test.want)
		}
	}
}

func TestARefusalIsSaidAtTheAttributeItIsAbout(t *testing.T) {
	for reason, attribute := range map[string]string{
		"PickleRefused": "artifact", "ArtifactMissing": "artifact", "CodeRefused": "allow_remote_code", "RuntimeMismatch": "runtime",
	} {
		said, ok := refused(key, verified(false, reason)).(diag.DiagnosticWithPath)
		if !ok || !said.Path().Equal(path.Root(attribute)) || !strings.Contains(said.Summary(), reason) || !strings.Contains(said.Detail(), "because") {
			t.Errorf("%s is said as %v", reason, said)
		}
	}
}

func TestChangedFields(t *testing.T) {
	registered := map[string]tftypes.Value{
		"artifact": tftypes.NewValue(tftypes.String, "s3://a/"), "engine": tftypes.NewValue(tftypes.String, nil),
		"version": tftypes.NewValue(tftypes.String, "v1"), "digest": tftypes.NewValue(tftypes.String, "abc"),
	}
	kind := tftypes.Object{AttributeTypes: map[string]tftypes.Type{
		"artifact": tftypes.String, "engine": tftypes.String, "version": tftypes.String, "digest": tftypes.String,
	}}
	tests := map[string]struct {
		change map[string]any
		want   []string
	}{
		"nothing":                   {map[string]any{}, nil},
		"two fields, in order":      {map[string]any{"version": "v2", "artifact": "s3://b/"}, []string{"artifact", "version"}},
		"a field that was left out": {map[string]any{"engine": "vllm"}, []string{"engine"}},
		"not known yet":             {map[string]any{"artifact": tftypes.UnknownValue}, nil},
		"what the API computes":     {map[string]any{"digest": "def"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			planned := map[string]tftypes.Value{}
			for field, value := range registered {
				planned[field] = value
			}
			for field, value := range test.change {
				planned[field] = tftypes.NewValue(tftypes.String, value)
			}
			got, err := changedFields(tftypes.NewValue(kind, registered), tftypes.NewValue(kind, planned))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}
