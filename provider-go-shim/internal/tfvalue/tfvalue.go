// Package tfvalue turns the collections of a plan into those of the API and back. Null is nil in both directions, and empty stays empty:
// a field that the configuration leaves out is left out of the request.
package tfvalue

import (
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Strings is a map of known strings; nil for null.
func Strings(value types.Map) *map[string]string {
	if value.IsNull() || value.IsUnknown() {
		return nil
	}
	known := make(map[string]string, len(value.Elements()))
	for key, element := range value.Elements() {
		if text, ok := element.(types.String); ok {
			known[key] = text.ValueString()
		}
	}
	return &known
}

// Map is the value of a map of strings.
func Map(known *map[string]string) types.Map {
	if known == nil {
		return types.MapNull(types.StringType)
	}
	elements := make(map[string]attr.Value, len(*known))
	for key, text := range *known {
		elements[key] = types.StringValue(text)
	}
	return types.MapValueMust(types.StringType, elements)
}

// Sorted is a set of known strings in order, so that the same set is always the same request; nil for null.
func Sorted(value types.Set) *[]string {
	if value.IsNull() || value.IsUnknown() {
		return nil
	}
	known := make(map[string]bool, len(value.Elements()))
	for _, element := range value.Elements() {
		if text, ok := element.(types.String); ok {
			known[text.ValueString()] = true
		}
	}
	sorted := slices.AppendSeq(make([]string, 0, len(known)), maps.Keys(known))
	slices.Sort(sorted)
	return &sorted
}

// Set is the value of a set of strings.
func Set[T ~string](known *[]T) types.Set {
	if known == nil {
		return types.SetNull(types.StringType)
	}
	distinct := make(map[string]bool, len(*known))
	for _, text := range *known {
		distinct[string(text)] = true
	}
	elements := make([]attr.Value, 0, len(distinct))
	for _, text := range slices.Sorted(maps.Keys(distinct)) {
		elements = append(elements, types.StringValue(text))
	}
	return types.SetValueMust(types.StringType, elements)
}

// Integers is a list of known integers; nil for null.
func Integers(value types.List) *[]int64 {
	if value.IsNull() || value.IsUnknown() {
		return nil
	}
	known := make([]int64, 0, len(value.Elements()))
	for _, element := range value.Elements() {
		if number, ok := element.(types.Int64); ok {
			known = append(known, number.ValueInt64())
		}
	}
	return &known
}

// List is the value of a list of integers.
func List(known *[]int64) types.List {
	if known == nil {
		return types.ListNull(types.Int64Type)
	}
	elements := make([]attr.Value, 0, len(*known))
	for _, number := range *known {
		elements = append(elements, types.Int64Value(number))
	}
	return types.ListValueMust(types.Int64Type, elements)
}
