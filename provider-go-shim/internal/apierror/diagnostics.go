package apierror

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Schema is what Diagnostics needs of a resource's schema: the types of its attributes.
type Schema interface {
	Type() attr.Type
}

// Diagnostics says err in Terraform's form. summary names what was tried ("Cannot create endpoint acme/chat"). Each field that the API
// found wrong becomes a diagnostic of its own at its attribute; whatever has no attribute is said for the resource as a whole.
func Diagnostics(summary string, err error, schema Schema) diag.Diagnostics {
	var diags diag.Diagnostics
	var exists *ExistsError
	if errors.As(err, &exists) {
		diags.AddError(summary, capitalize(err.Error()))
		return diags
	}
	var failure *Error
	if !errors.As(err, &failure) {
		diags.AddError(summary, "The control API could not be reached: "+err.Error())
		return diags
	}
	fields := orNone(failure.Problem.Errors)
	for _, field := range fields {
		text := strings.TrimSuffix(field.Detail, ".") + "." + trailer(failure, field.Code)
		at, found := AttributePath(schema, field.Pointer)
		switch {
		case !found:
			diags.AddError(summary, field.Pointer+": "+text)
		case len(at.Steps()) > 1:
			// Terraform shows the line of a whole resource for what is nested in it, so the words must name the attribute.
			diags.AddAttributeError(at, summary, at.String()+": "+text)
		default:
			diags.AddAttributeError(at, summary, capitalize(text))
		}
	}
	if len(fields) == 0 {
		diags.AddError(summary, capitalize(failure.Problem.Detail)+extensions(failure)+trailer(failure, failure.Kind()))
	}
	return diags
}

// AttributePath is the attribute that a JSON pointer into the request's body means: "/spec/variants/v1/weight" is variants["v1"].weight.
// A pointer that leads below an attribute, or into a set, means the attribute; false when it means none.
func AttributePath(schema Schema, pointer string) (path.Path, bool) {
	words := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	if words[0] == "spec" || words[0] == "metadata" {
		words = words[1:]
	}
	at := path.Empty()
	current := schema.Type()
	for _, word := range words {
		word = strings.NewReplacer("~1", "/", "~0", "~").Replace(word)
		next, step := descend(current, at, word)
		if next == nil {
			break
		}
		current, at = next, step
	}
	return at, len(at.Steps()) > 0
}

func descend(current attr.Type, at path.Path, word string) (attr.Type, path.Path) {
	switch kind := current.(type) {
	case types.ObjectType:
		return kind.AttrTypes[word], at.AtName(word)
	case types.MapType:
		return kind.ElemType, at.AtMapKey(word)
	case types.ListType:
		var index int
		if _, err := fmt.Sscanf(word, "%d", &index); err != nil {
			return nil, at
		}
		return kind.ElemType, at.AtListIndex(index)
	default:
		return nil, at
	}
}

// extensions are the facts that a conflict carries beside its sentence: what blocks a delete, who holds a quota and what is free.
func extensions(failure *Error) string {
	var text strings.Builder
	for _, name := range orNone(failure.Problem.References) {
		text.WriteString("\n  - blocked by " + name)
	}
	for _, holder := range orNone(failure.Problem.Holders) {
		fmt.Fprintf(&text, "\n  - endpoint %s holds %d", holder.Endpoint, holder.Replicas)
	}
	if free := failure.Problem.Free; free != nil {
		fmt.Fprintf(&text, "\n  - %d free", *free)
	}
	return text.String()
}

func orNone[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

func trailer(failure *Error, code string) string {
	parts := []string{fmt.Sprintf("HTTP status %d", failure.Status)}
	if code != "" {
		parts = append(parts, code)
	}
	if failure.RequestID != "" {
		parts = append(parts, "request id "+failure.RequestID)
	}
	return "\n\n(" + strings.Join(parts, ", ") + ")"
}

func capitalize(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
