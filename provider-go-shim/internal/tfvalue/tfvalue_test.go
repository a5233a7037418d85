package tfvalue_test

import (
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"fleetform.dev/terraform-provider-fleetform/internal/tfvalue"
)

func TestNullIsNilAndEmptyStaysEmpty(t *testing.T) {
	if tfvalue.Strings(types.MapNull(types.StringType)) != nil || tfvalue.Sorted(types.SetNull(types.StringType)) != nil ||
		tfvalue.Integers(types.ListNull(types.Int64Type)) != nil {
		t.Error("null is not nil")
	}
	if !tfvalue.Map(nil).IsNull() || !tfvalue.Set[string](nil).IsNull() || !tfvalue.List(nil).IsNull() {
		t.Error("nil is not null")
	}
	if got := tfvalue.Strings(types.MapValueMust(types.StringType, nil)); got == nil || len(*got) != 0 {
		t.Errorf("an empty map is %v", got)
	}
	if got := tfvalue.Map(&map[string]string{}); got.IsNull() || len(got.Elements()) != 0 {
		t.Errorf("an empty map is %v", got)
	}
	if got := tfvalue.Sorted(types.SetValueMust(types.StringType, nil)); got == nil || len(*got) != 0 {
		t.Errorf("an empty set is %v", got)
	}
	if got := tfvalue.List(&[]int64{}); got.IsNull() || len(got.Elements()) != 0 {
		t.Errorf("an empty list is %v", got)
	}
}

func TestThereAndBack(t *testing.T) {
	labels := map[string]string{"team": "search", "tier": ""}
	if got := tfvalue.Strings(tfvalue.Map(&labels)); !reflect.DeepEqual(*got, labels) {
		t.Errorf("a map came back as %v", *got)
	}
	steps := []int64{1, 10, 100}
	if got := tfvalue.Integers(tfvalue.List(&steps)); !reflect.DeepEqual(*got, steps) {
		t.Errorf("a list came back as %v", *got)
	}
}

func TestASetIsSortedWithoutItsDoubles(t *testing.T) {
	set := types.SetValueMust(types.StringType, []attr.Value{types.StringValue("b"), types.StringValue("a")})
	if got := tfvalue.Sorted(set); !reflect.DeepEqual(*got, []string{"a", "b"}) {
		t.Errorf("got %v", *got)
	}
	if got := tfvalue.Set(&[]string{"b", "a", "b"}); !got.Equal(set) {
		t.Errorf("got %v", got)
	}
}
