package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/hashicorp/terraform-plugin-log/tflog"
)

const (
	// attemptLimit bounds one attempt, over and above the time that a long poll asks for.
	attemptLimit = 30 * time.Second
	// retries of one call. With the waits between them a call without a long poll ends within callLimit.
	retries   = 5
	shortest  = 500 * time.Millisecond
	longest   = 20 * time.Second
	callLimit = 3 * time.Minute
)

// transport adds identity to each request and repeats the idempotent ones. A POST is sent once: a second one could mint a second
// credential.
type transport struct {
	base      http.RoundTripper
	retrying  http.RoundTripper
	token     string
	userAgent string
}

func newTransport(base http.RoundTripper, token, userAgent string) *transport {
	// One deadline over the whole loop would make an attempt that timed out unrepeatable, so each attempt has its own.
	limited := perAttempt{base: base}
	repeating := retryablehttp.NewClient()
	repeating.HTTPClient = &http.Client{Transport: limited, CheckRedirect: noRedirect}
	repeating.RetryMax = retries
	repeating.RetryWaitMin = shortest
	repeating.RetryWaitMax = longest
	repeating.Logger = nil
	repeating.CheckRetry = shouldRetry
	repeating.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &transport{
		base:      limited,
		retrying:  &retryablehttp.RoundTripper{Client: repeating},
		token:     token,
		userAgent: userAgent,
	}
}

// noRedirect hands a redirect back as it is: the control API sends none, and the token must not follow one.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// RoundTrip sends one call, with its repetitions.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(tflog.MaskAllFieldValuesStrings(req.Context(), t.token))
	req.Header.Set("Authorization", "Bearer "+t.token)
	req.Header.Set("User-Agent", t.userAgent)
	req.Header.Set("Accept", "application/json")
	if isIdempotent(req.Method) {
		return t.retrying.RoundTrip(req)
	}
	return t.base.RoundTrip(req)
}

func isIdempotent(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPut || method == http.MethodDelete
}

// shouldRetry is asked after each attempt of an idempotent call. A Retry-After beyond longest is not waited for: the answer is handed
// to the caller, who knows how long there is left.
func shouldRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		// Bad certificates, bad addresses and the like are told apart from a server that is away.
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(resp) <= longest, nil
	default:
		return false, nil
	}
}

// retryAfter is how long the server asks to be left alone; 0 when it does not say.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// perAttempt gives each attempt its deadline, which covers the body too, and writes one line of log. Headers and bodies are not logged:
// they carry secrets.
type perAttempt struct {
	base http.RoundTripper
}

func (p perAttempt) RoundTrip(req *http.Request) (*http.Response, error) {
	limit := attemptLimit
	if hold, err := strconv.Atoi(req.URL.Query().Get("timeout_s")); err == nil {
		limit += time.Duration(hold) * time.Second
	}
	ctx, cancel := context.WithTimeout(req.Context(), limit)
	started := time.Now()
	resp, err := p.base.RoundTrip(req.WithContext(ctx))
	fields := map[string]any{"method": req.Method, "path": req.URL.Path, "duration_ms": time.Since(started).Milliseconds()}
	if err != nil {
		cancel()
		fields["error"] = err.Error()
		tflog.Debug(req.Context(), "control API did not answer", fields)
		return nil, err
	}
	fields["status"], fields["request_id"] = resp.StatusCode, resp.Header.Get("X-Request-Id")
	tflog.Debug(req.Context(), "control API answered", fields)
	resp.Body = &body{ReadCloser: resp.Body, done: cancel}
	return resp, nil
}
