package provider_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/endpoint"
	"fleetform.dev/terraform-provider-fleetform/internal/modelversion"
	"fleetform.dev/terraform-provider-fleetform/internal/project"
	"fleetform.dev/terraform-provider-fleetform/internal/provider"
	"fleetform.dev/terraform-provider-fleetform/internal/quota"
	"fleetform.dev/terraform-provider-fleetform/internal/token"
)

// TestSchemasCoverTheContract holds each resource to the spec that is generated from openapi.yaml: a field that one has and the other has
// not fails, so that the provider cannot fall behind the API.
func TestSchemasCoverTheContract(t *testing.T) {
	for _, test := range []struct {
		resource resource.Resource
		spec     any
		beyond   []string
	}{
		{project.NewResource(), gen.ProjectSpec{}, []string{"name"}},
		{quota.NewResource(), gen.QuotaSpec{}, []string{"project", "instance_type"}},
		{token.NewResource(), gen.TokenSpec{}, []string{"project", "name", "uid"}},
		{modelversion.NewResource(), gen.ModelVersionSpec{}, []string{"project", "model", "version", "ref", "digest", "size_bytes"}},
		{endpoint.NewResource(), gen.EndpointSpec{}, []string{
			"project", "name", "uid", "url", "model", "generation", "ready", "wait_for", "timeouts",
		}},
	} {
		var described resource.SchemaResponse
		test.resource.Schema(t.Context(), resource.SchemaRequest{}, &described)
		spec := reflect.TypeOf(test.spec)
		attributes := described.Schema.Attributes
		for _, name := range test.beyond {
			if _, found := attributes[name]; !found {
				t.Errorf("%s: no attribute %s", spec.Name(), name)
			}
			delete(attributes, name)
		}
		compare(t, spec.Name(), spec, attributes)
	}
}

func compare(t *testing.T, at string, spec reflect.Type, attributes map[string]schema.Attribute) {
	t.Helper()
	fields := map[string]reflect.StructField{}
	for i := range spec.NumField() {
		name, options, _ := strings.Cut(spec.Field(i).Tag.Get("json"), ",")
		fields[name] = spec.Field(i)
		attribute, found := attributes[name]
		if !found {
			t.Errorf("%s: the contract has %s, the schema has not", at, name)
			continue
		}
		if required := !strings.Contains(options, "omitempty"); attribute.IsRequired() != required {
			t.Errorf("%s.%s: required in the contract: %t, in the schema: %t", at, name, required, attribute.IsRequired())
		}
		compareNested(t, at+"."+name, innermost(spec.Field(i).Type), attribute)
	}
	for name := range attributes {
		if _, found := fields[name]; !found {
			t.Errorf("%s: the schema has %s, the contract has not", at, name)
		}
	}
}

func compareNested(t *testing.T, at string, field reflect.Type, attribute schema.Attribute) {
	t.Helper()
	switch kind := attribute.(type) {
	case schema.SingleNestedAttribute:
		compare(t, at, field, kind.Attributes)
	case schema.MapNestedAttribute:
		compare(t, at, innermost(field.Elem()), kind.NestedObject.Attributes)
	case schema.StringAttribute:
		wantKind(t, at, field, reflect.String)
	case schema.BoolAttribute:
		wantKind(t, at, field, reflect.Bool)
	case schema.Int64Attribute:
		wantKind(t, at, field, reflect.Int64)
	case schema.Float64Attribute:
		wantKind(t, at, field, reflect.Float64)
	case schema.MapAttribute:
		wantKind(t, at, field, reflect.Map)
		wantNoNulls(t, at, attribute)
	case schema.ListAttribute, schema.SetAttribute:
		wantKind(t, at, field, reflect.Slice)
		wantNoNulls(t, at, attribute)
	default:
		t.Errorf("%s: %T is not compared", at, attribute)
	}
}

// wantNoNulls: JSON has no null here, so a null would come back as another value, and Terraform would call the provider broken.
func wantNoNulls(t *testing.T, at string, attribute schema.Attribute) {
	t.Helper()
	refused := false
	switch kind := attribute.(type) {
	case schema.MapAttribute:
		null := types.MapValueMust(types.StringType, map[string]attr.Value{"a": types.StringNull()})
		for _, validates := range kind.Validators {
			var resp validator.MapResponse
			validates.ValidateMap(t.Context(), validator.MapRequest{ConfigValue: null}, &resp)
			refused = refused || resp.Diagnostics.HasError()
		}
	case schema.ListAttribute:
		null := types.ListValueMust(types.Int64Type, []attr.Value{types.Int64Null()})
		for _, validates := range kind.Validators {
			var resp validator.ListResponse
			validates.ValidateList(t.Context(), validator.ListRequest{ConfigValue: null}, &resp)
			refused = refused || resp.Diagnostics.HasError()
		}
	case schema.SetAttribute:
		null := types.SetValueMust(types.StringType, []attr.Value{types.StringNull()})
		for _, validates := range kind.Validators {
			var resp validator.SetResponse
			validates.ValidateSet(t.Context(), validator.SetRequest{ConfigValue: null}, &resp)
			refused = refused || resp.Diagnostics.HasError()
		}
	}
	if !refused {
		t.Errorf("%s: takes a null among its values", at)
	}
}

func wantKind(t *testing.T, at string, field reflect.Type, want reflect.Kind) {
	t.Helper()
	if field.Kind() != want {
		t.Errorf("%s: the contract has a %s, the schema a %s", at, field.Kind(), want)
	}
}

func innermost(field reflect.Type) reflect.Type {
	if field.Kind() == reflect.Pointer {
		return field.Elem()
	}
	return field
}

// TestEverythingIsDescribed walks what Terraform is told: it must be valid, and no attribute may be without its sentence.
func TestEverythingIsDescribed(t *testing.T) {
	server, err := providerserver.NewProtocol6WithError(provider.New("test"))()
	if err != nil {
		t.Fatal(err)
	}
	told, err := server.GetProviderSchema(context.Background(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil || len(told.Diagnostics) > 0 {
		t.Fatalf("%v, %v", err, told.Diagnostics)
	}
	var names []string
	for _, schemas := range []map[string]*tfprotov6.Schema{
		{"provider": told.Provider}, told.ResourceSchemas, told.DataSourceSchemas, told.EphemeralResourceSchemas,
	} {
		for name, described := range schemas {
			names = append(names, name)
			if described.Block.Description == "" {
				t.Errorf("%s is not described", name)
			}
			wantDescribed(t, name, described.Block.Attributes)
		}
	}
	slices.Sort(names)
	want := []string{
		"fleetform_endpoint", "fleetform_endpoint", "fleetform_model_version", "fleetform_project", "fleetform_quota", "fleetform_token",
		"fleetform_token_credential", "provider",
	}
	if !slices.Equal(names, want) {
		t.Errorf("offers %v; want %v", names, want)
	}
}

func wantDescribed(t *testing.T, at string, attributes []*tfprotov6.SchemaAttribute) {
	t.Helper()
	for _, attribute := range attributes {
		if attribute.Description == "" {
			t.Errorf("%s.%s is not described", at, attribute.Name)
		}
		if attribute.NestedType != nil {
			wantDescribed(t, at+"."+attribute.Name, attribute.NestedType.Attributes)
		}
	}
}
