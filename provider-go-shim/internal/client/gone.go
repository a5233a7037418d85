package client

import (
	"context"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// AwaitGone waits until the resource is not there any more. With an error it also returns what was last seen of it, if anything.
func (k Kind[K, S, T]) AwaitGone(ctx context.Context, clock wait.Clock, key K, limit time.Duration) (*T, error) {
	ask := func(ctx context.Context, hold time.Duration) (*T, error) {
		found, err := k.Await(ctx, key, Hold{Until: HoldDeleted, For: hold})
		if apierror.IsNotFound(err) {
			return nil, nil //nolint:nilnil // nothing there is the answer that is waited for
		}
		return found, err
	}
	last, _, err := wait.Until(ctx, clock, limit, ask, func(found *T) wait.Verdict {
		if found == nil {
			return wait.Done
		}
		return wait.Waiting
	})
	return last, err
}
