package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
)

// Kind is one kind of resource: K names one, S is its spec, T what the API answers.
type Kind[K comparable, S, T any] struct {
	name    string
	get     func(ctx context.Context, key K, hold *Hold) (*http.Response, error)
	put     func(ctx context.Context, key K, spec S, when Precondition) (*http.Response, error)
	del     func(ctx context.Context, key K) (*http.Response, error)
	specOf  func(*T) S
	imports func(K) string
	made    *sync.Map
}

// Precondition is what must hold for a PUT to be obeyed; nil parts are not sent.
type Precondition struct {
	IfMatch     *string
	IfNoneMatch *string
}

// Hold asks the server to hold an answer back until it is Ready (or Deleted), for at most For.
type Hold struct {
	Until      HoldUntil
	Generation int64
	For        time.Duration
}

// HoldUntil is what a held answer waits for.
type HoldUntil string

const (
	// HoldReady waits for the generation to be ready, or to fail for good.
	HoldReady HoldUntil = "ready"
	// HoldDeleted waits for 404.
	HoldDeleted HoldUntil = "deleted"
)

// Get reads one resource.
func (k Kind[K, S, T]) Get(ctx context.Context, key K) (*T, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return decode[T](k.get(ctx, key, nil))
}

// Await reads one resource, held back by the server as hold says. A server that hangs is given up soon after the time to hold.
func (k Kind[K, S, T]) Await(ctx context.Context, key K, hold Hold) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, hold.For+attemptLimit)
	defer cancel()
	return decode[T](k.get(ctx, key, &hold))
}

// Create makes a resource that is not there. One that is there with the same spec is taken for ours: an earlier call made it, whose
// answer was lost. One with another spec is an apierror.ExistsError, and stays as it is.
func (k Kind[K, S, T]) Create(ctx context.Context, key K, spec S) (*T, error) {
	nothing := "*"
	made, err := k.putUnless(ctx, key, spec, Precondition{IfNoneMatch: &nothing})
	if apierror.IsStale(err) {
		return nil, &apierror.ExistsError{Kind: k.name, ImportID: k.imports(key)}
	}
	if err == nil {
		k.made.Store(key, true)
	}
	return made, err
}

// Replace sends the whole desired spec. With a generation above 0 the server obeys only if that is still the current one.
func (k Kind[K, S, T]) Replace(ctx context.Context, key K, spec S, generation int64) (*T, error) {
	var when Precondition
	if generation > 0 {
		tag := fmt.Sprintf(`"%d-0"`, generation) // the server compares the generation alone: status may move under a writer
		when.IfMatch = &tag
	}
	return k.putUnless(ctx, key, spec, when)
}

// putUnless puts, and takes a refused precondition for success when the resource already is as wanted.
func (k Kind[K, S, T]) putUnless(ctx context.Context, key K, spec S, when Precondition) (*T, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	made, err := decode[T](k.put(ctx, key, spec, when))
	if !apierror.IsStale(err) {
		return made, err
	}
	current, getErr := decode[T](k.get(ctx, key, nil))
	if getErr == nil && sameJSON(k.specOf(current), spec) {
		return current, nil
	}
	return nil, err
}

// Delete asks for the end of a resource. True when it is gone already, false while it is being torn down.
//
// What this client has created stays: Terraform deletes it when a resource is created before its predecessor of the same name is
// destroyed, or has moved to another address. The predecessor is the new resource then. Withdraw deletes it all the same.
func (k Kind[K, S, T]) Delete(ctx context.Context, key K) (bool, error) {
	if _, ours := k.made.Load(key); ours {
		return true, nil
	}
	return k.Withdraw(ctx, key)
}

// Withdraw is Delete, of what this client has created too.
func (k Kind[K, S, T]) Withdraw(ctx context.Context, key K) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	resp, err := k.del(ctx, key)
	_, err = read(resp, err)
	if apierror.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return resp.StatusCode != http.StatusAccepted, nil
}

func sameJSON(a, b any) bool {
	left, leftErr := json.Marshal(a)
	right, rightErr := json.Marshal(b)
	return leftErr == nil && rightErr == nil && bytes.Equal(left, right)
}
