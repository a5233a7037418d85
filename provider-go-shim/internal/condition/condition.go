// Package condition reads the conditions of a status: statements such as Ready=False with a reason and a sentence.
package condition

import (
	"fmt"
	"slices"
	"strings"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// The types and reasons that decide something here.
const (
	Ready       = "Ready"
	Progressing = "Progressing"
	Admitted    = "Admitted"
	Degraded    = "Degraded"
	Verified    = "Verified"

	RolledBack         = "RolledBack"
	Stalled            = "Stalled"
	VersionNotVerified = "VersionNotVerified"
	Verifying          = "Verifying"
)

// Condition is one statement.
type Condition struct {
	Type    string
	Status  bool
	Reason  string
	Message string
}

// String is the condition in one line.
func (c Condition) String() string {
	text := fmt.Sprintf("%s=%t (%s)", c.Type, c.Status, c.Reason)
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}

// Holds is true when the condition is as one would wish it.
func (c Condition) Holds() bool {
	switch c.Type {
	case Degraded:
		return !c.Status
	case Progressing:
		return c.Reason != Stalled
	default:
		return c.Status
	}
}

// All are the conditions in the order in which the API lists them.
func All(listed []gen.Condition) []Condition {
	all := make([]Condition, 0, len(listed))
	for _, item := range listed {
		all = append(all, Condition{Type: string(item.Type), Status: item.Status, Reason: string(item.Reason), Message: item.Message})
	}
	return all
}

// Find is the condition of that type.
func Find(listed []gen.Condition, kind string) (Condition, bool) {
	for _, read := range All(listed) {
		if read.Type == kind {
			return read, true
		}
	}
	return Condition{}, false
}

// Is is true when the condition of that type is there with that status and reason.
func Is(listed []gen.Condition, kind string, status bool, reason string) bool {
	read, found := Find(listed, kind)
	return found && read.Status == status && read.Reason == reason
}

// Lines are the conditions for people, one a line.
func Lines(conditions []Condition) string {
	lines := make([]string, 0, len(conditions))
	for _, read := range conditions {
		lines = append(lines, "  "+read.String())
	}
	return strings.Join(lines, "\n")
}

// Amiss are the conditions that are not as one would wish them.
func Amiss(listed []gen.Condition) []Condition {
	return slices.DeleteFunc(All(listed), Condition.Holds)
}
