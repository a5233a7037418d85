// Package wait asks until an answer satisfies, an answer settles the matter the other way, or time is up.
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
)

// Verdict is what an answer means for the one who waits.
type Verdict int

const (
	// Waiting means that the answer may still change for the better.
	Waiting Verdict = iota
	// Done means that what was waited for holds.
	Done
	// Failed means that it will not come true by itself.
	Failed
)

// LongPoll is how long the server is asked to hold one answer back.
const LongPoll = 30 * time.Second

// pause separates two questions when the first was answered at once, or failed.
const pause = time.Second

// Clock is the time that Until lives in.
type Clock interface {
	Now() time.Time
	// Sleep returns early, with the context's error, when the context ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// TimeoutError says that the deadline passed first. Err is the last failed question, if the last one failed.
type TimeoutError struct {
	After time.Duration
	Err   error
}

func (e *TimeoutError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("not settled after %s; the last question failed: %v", e.After.Round(time.Second), e.Err)
	}
	return fmt.Sprintf("not settled after %s", e.After.Round(time.Second))
}

func (e *TimeoutError) Unwrap() error { return e.Err }

// Until asks, and judges each answer, for at most limit. It returns the last answer with its verdict.
//
// ask gets the time that it may hold the question open. Temporary failures are asked again, since a server that restarts changes nothing
// about what is being waited for; any other failure is returned as it is. The error is a TimeoutError when limit passed, and the
// context's own when that ended.
func Until[T any](
	ctx context.Context, clock Clock, limit time.Duration, ask func(ctx context.Context, hold time.Duration) (T, error), judge func(T) Verdict,
) (T, Verdict, error) {
	var last T
	start := clock.Now()
	for {
		left := limit - clock.Now().Sub(start)
		asked := clock.Now()
		answer, err := ask(ctx, min(LongPoll, max(left, time.Second)))
		switch {
		case ctx.Err() != nil:
			return last, Waiting, ctx.Err()
		case err != nil && !apierror.IsTemporary(err):
			return last, Waiting, err
		case err == nil:
			last = answer
			if verdict := judge(answer); verdict != Waiting {
				return answer, verdict, nil
			}
		}
		if clock.Now().Sub(start) >= limit {
			return last, Waiting, &TimeoutError{After: limit, Err: err}
		}
		if clock.Now().Sub(asked) < pause {
			if err := clock.Sleep(ctx, pause); err != nil {
				return last, Waiting, err
			}
		}
	}
}

// IsTimeout is true for the error of a wait whose limit passed.
func IsTimeout(err error) bool {
	var timeout *TimeoutError
	return errors.As(err, &timeout)
}

// System is the clock of the machine.
type System struct{}

// Now is the time of day, with its monotonic part.
func (System) Now() time.Time { return time.Now() }

// Sleep waits for d or for the end of ctx.
func (System) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
