// Package apierror is what the control API says when it refuses: the error, and its way into Terraform's diagnostics.
package apierror

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// Error is an answer of the control API with a status of 400 or more, or one that is not an answer of Fleetform at all.
type Error struct {
	Status    int
	Method    string
	Path      string
	RequestID string
	Problem   gen.Problem
}

// ExistsError says that a resource to be created is there already, and differs.
type ExistsError struct {
	Kind     string
	ImportID string
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s %s exists already and its spec differs from this configuration. To manage it here, import it with the id %q.",
		e.Kind, e.ImportID, e.ImportID)
}

// FromResponse reads the error out of an answer and its body.
func FromResponse(resp *http.Response, body []byte) *Error {
	failure := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	if resp.Request != nil {
		failure.Method, failure.Path = resp.Request.Method, resp.Request.URL.Path
	}
	if err := json.Unmarshal(body, &failure.Problem); err != nil || failure.Problem.Detail == "" {
		failure.Problem.Detail = fmt.Sprintf("%s answered %s without a problem document; is base_url the control API of Fleetform?",
			hostOf(resp), resp.Status)
	}
	if failure.RequestID == "" {
		failure.RequestID = failure.Problem.Instance
	}
	return failure
}

func hostOf(resp *http.Response) string {
	if resp.Request == nil {
		return "the server"
	}
	return resp.Request.URL.Host
}

// Error is one sentence with everything that a reader needs to find the call in the server's log.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %d: %s", e.Method, e.Path, e.Status, e.Problem.Detail)
	if e.RequestID != "" {
		text += " (request id " + e.RequestID + ")"
	}
	return text
}

// Kind is the last word of the problem type: "not-found", "in-use", "stale" and so on; empty when the body named none.
func (e *Error) Kind() string {
	return e.Problem.Type[strings.LastIndexAny(e.Problem.Type, "/:#")+1:]
}

// IsNotFound is true when the API said that the resource is not there. A 404 of somebody else, such as a proxy whose backend is away,
// says nothing about the resource: taken for its end, a plan would make everything anew.
func IsNotFound(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Status == http.StatusNotFound && failure.Kind() == "not-found"
}

// IsConflict is true when something that is there stands in the way.
func IsConflict(err error) bool {
	return hasStatus(err, http.StatusConflict)
}

// IsExists is true when a resource to be created is there already, and differs.
func IsExists(err error) bool {
	var exists *ExistsError
	return errors.As(err, &exists)
}

// IsStale is true when If-Match or If-None-Match did not hold.
func IsStale(err error) bool {
	return hasStatus(err, http.StatusPreconditionFailed)
}

// IsTemporary is true when the same call may succeed a moment later: the server could not be reached, is overloaded, or has lost its
// database. A server that ends, or has failed, may also say 500 to whom it kept waiting. A wish that it understood and refused is not
// temporary.
func IsTemporary(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) {
		return true
	}
	switch failure.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

func hasStatus(err error, status int) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Status == status
}
