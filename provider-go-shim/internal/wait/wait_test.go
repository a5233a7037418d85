package wait_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// clock is moved by sleeping and by questions.
type clock struct {
	now    time.Time
	sleeps int
}

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.now, c.sleeps = c.now.Add(d), c.sleeps+1
	return ctx.Err()
}

// answer is one answer of the server: what it says, or how it fails, and how long it took.
type answer struct {
	says string
	err  error
	took time.Duration
}

func judge(says string) wait.Verdict {
	switch says {
	case "good":
		return wait.Done
	case "bad":
		return wait.Failed
	default:
		return wait.Waiting
	}
}

func ask(c *clock, answers []answer) func(context.Context, time.Duration) (string, error) {
	asked := 0
	return func(context.Context, time.Duration) (string, error) {
		next := answers[min(asked, len(answers)-1)]
		asked++
		c.now = c.now.Add(next.took)
		return next.says, next.err
	}
}

func TestUntil(t *testing.T) {
	away := &apierror.Error{Status: http.StatusServiceUnavailable}
	forbidden := &apierror.Error{Status: http.StatusForbidden}
	unreachable := errors.New("connection refused")
	tests := map[string]struct {
		answers []answer
		says    string
		verdict wait.Verdict
		err     error
		timeout bool
		sleeps  int
	}{
		"done at once":            {answers: []answer{{says: "good"}}, says: "good", verdict: wait.Done},
		"failed at once":          {answers: []answer{{says: "bad"}}, says: "bad", verdict: wait.Failed},
		"done after held answers": {answers: []answer{{says: "?", took: wait.LongPoll}, {says: "good"}}, says: "good", verdict: wait.Done},
		"an answer at once is not asked again at once": {answers: []answer{{says: "?"}, {says: "good"}}, says: "good", verdict: wait.Done, sleeps: 1},
		"a server that is away is asked again": {
			answers: []answer{{err: unreachable}, {err: away}, {says: "good"}}, says: "good", verdict: wait.Done, sleeps: 2,
		},
		"a refusal ends the wait":          {answers: []answer{{says: "?", took: wait.LongPoll}, {err: forbidden}}, says: "?", err: forbidden},
		"time up":                          {answers: []answer{{says: "?", took: wait.LongPoll}}, says: "?", timeout: true},
		"time up without a server":         {answers: []answer{{err: unreachable, took: time.Second}}, timeout: true, err: unreachable},
		"the last good answer is returned": {answers: []answer{{says: "?", took: wait.LongPoll}, {err: away, took: time.Minute}}, says: "?", timeout: true, err: away},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: time.Unix(0, 0)}
			says, verdict, err := wait.Until(t.Context(), c, time.Minute, ask(c, test.answers), judge)
			if says != test.says || verdict != test.verdict {
				t.Errorf("got %q, verdict %d; want %q, %d", says, verdict, test.says, test.verdict)
			}
			if wait.IsTimeout(err) != test.timeout {
				t.Errorf("error %v; want a timeout: %t", err, test.timeout)
			}
			if (test.err != nil || !test.timeout) && !errors.Is(err, test.err) {
				t.Errorf("error %v; want %v", err, test.err)
			}
			if !test.timeout && c.sleeps != test.sleeps {
				t.Errorf("slept %d times; want %d", c.sleeps, test.sleeps)
			}
		})
	}
}

func TestUntilHoldsNoLongerThanThereIsTime(t *testing.T) {
	c := &clock{now: time.Unix(0, 0)}
	var holds []time.Duration
	_, _, err := wait.Until(t.Context(), c, 70*time.Second, func(_ context.Context, hold time.Duration) (string, error) {
		holds = append(holds, hold)
		c.now = c.now.Add(hold)
		return "?", nil
	}, judge)
	if !wait.IsTimeout(err) || len(holds) != 3 || holds[2] != 10*time.Second {
		t.Errorf("held %v, error %v; want 30 s, 30 s, 10 s and a timeout", holds, err)
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &clock{now: time.Unix(0, 0)}
	_, _, err := wait.Until(ctx, c, time.Minute, func(ctx context.Context, _ time.Duration) (string, error) {
		cancel()
		return "", ctx.Err()
	}, judge)
	if !errors.Is(err, context.Canceled) || wait.IsTimeout(err) {
		t.Errorf("error %v; want that of the context", err)
	}
}

func TestSystemSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (wait.System{}).Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want that of the context", err)
	}
}
