package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// exchange is one call as the server saw it.
type exchange struct {
	method, path, query, body string
	header                    http.Header
}

// server answers each call with the next of its answers, the last one for ever.
type server struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	seen    []exchange
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, exchange{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), r.Header})
	s.answers[min(len(s.seen), len(s.answers))-1](w)
}

// says answers with a status and, beyond it, headers by name and value.
func says(status int, body any, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func problem(status int, kind string, headers ...string) func(http.ResponseWriter) {
	said := map[string]any{"type": "urn:fleetform:problems/" + kind, "title": kind, "status": status, "detail": "refused", "instance": "req-9"}
	return says(status, said, headers...)
}

func start(t *testing.T, answers ...func(http.ResponseWriter)) (*server, *client.Client) {
	t.Helper()
	s := &server{answers: answers}
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	c, err := client.New(client.Config{BaseURL: listening.URL + "/", Token: "cd-secret", UserAgent: "tests/1"})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

var (
	key   = client.Key{Project: "acme", Name: "gpu-a10-1x"}
	quota = gen.Quota{Metadata: gen.Metadata{Name: "gpu-a10-1x", Generation: 3}, Spec: gen.QuotaSpec{MaxReplicas: 20}}
)

func TestACallCarriesWhoMakesIt(t *testing.T) {
	s, c := start(t, says(200, quota))
	got, err := c.Quotas.Get(t.Context(), key)
	if err != nil || got.Spec.MaxReplicas != 20 {
		t.Fatalf("got %v, %v", got, err)
	}
	call := s.seen[0]
	if call.method != http.MethodGet || call.path != "/v1/projects/acme/quotas/gpu-a10-1x" {
		t.Errorf("called %s %s", call.method, call.path)
	}
	if call.header.Get("Authorization") != "Bearer cd-secret" || call.header.Get("User-Agent") != "tests/1" {
		t.Errorf("headers %v", call.header)
	}
}

func TestAnIdempotentCallIsRepeatedAsItWas(t *testing.T) {
	s, c := start(t, problem(503, "unavailable", "Retry-After", "0"), problem(429, "rate-limited", "Retry-After", "0"), says(200, quota))
	if _, err := c.Quotas.Replace(t.Context(), key, quota.Spec, 0); err != nil {
		t.Fatal(err)
	}
	if len(s.seen) != 3 || s.seen[2].body != s.seen[0].body || !strings.Contains(s.seen[2].body, `{"spec":{"max_replicas":20}}`) {
		t.Errorf("sent %v", s.seen)
	}
}

func TestAnErrorThatNoRepetitionMendsIsNotRepeated(t *testing.T) {
	for _, answer := range []func(http.ResponseWriter){problem(403, "forbidden"), problem(500, "internal"), problem(503, "unavailable", "Retry-After", "3600")} {
		s, c := start(t, answer)
		_, err := c.Quotas.Get(t.Context(), key)
		var failure *apierror.Error
		if !errors.As(err, &failure) || failure.RequestID != "req-9" {
			t.Errorf("got %v; want the server's own error", err)
		}
		if len(s.seen) != 1 {
			t.Errorf("%v: called %d times", err, len(s.seen))
		}
	}
}

func TestAMintIsSentOnce(t *testing.T) {
	s, c := start(t, problem(503, "unavailable", "Retry-After", "0"), says(201, gen.Credential{ID: "c1", Secret: "cd-x"}))
	_, err := c.Credentials.Mint(t.Context(), key, gen.CredentialRequest{})
	if err == nil || len(s.seen) != 1 {
		t.Errorf("called %d times, error %v; want one call and its error", len(s.seen), err)
	}
}

func TestCreateNeverReplaces(t *testing.T) {
	t.Run("not there", func(t *testing.T) {
		s, c := start(t, says(201, quota))
		if _, err := c.Quotas.Create(t.Context(), key, quota.Spec); err != nil {
			t.Fatal(err)
		}
		if s.seen[0].header.Get("If-None-Match") != "*" {
			t.Errorf("headers %v", s.seen[0].header)
		}
	})
	t.Run("there, as wanted", func(t *testing.T) {
		_, c := start(t, problem(412, "stale"), says(200, quota))
		got, err := c.Quotas.Create(t.Context(), key, quota.Spec)
		if err != nil || got.Metadata.Generation != 3 {
			t.Errorf("got %v, %v; want the one that is there", got, err)
		}
	})
	t.Run("there, and different", func(t *testing.T) {
		s, c := start(t, problem(412, "stale"), says(200, quota))
		_, err := c.Quotas.Create(t.Context(), key, gen.QuotaSpec{MaxReplicas: 5})
		var exists *apierror.ExistsError
		if !errors.As(err, &exists) || exists.ImportID != "acme/gpu-a10-1x" {
			t.Errorf("got %v; want an error with the import id", err)
		}
		if len(s.seen) != 2 || s.seen[1].method != http.MethodGet {
			t.Errorf("called %v", s.seen)
		}
	})
}

func TestReplaceHoldsToTheGenerationThatWasPlanned(t *testing.T) {
	s, c := start(t, problem(412, "stale"), says(200, quota))
	_, err := c.Quotas.Replace(t.Context(), key, gen.QuotaSpec{MaxReplicas: 5}, 2)
	if !apierror.IsStale(err) || s.seen[0].header.Get("If-Match") != `"2-0"` {
		t.Errorf("error %v, headers %v", err, s.seen[0].header)
	}
}

func TestDelete(t *testing.T) {
	tests := map[string]struct {
		answer func(http.ResponseWriter)
		gone   bool
	}{
		"gone at once":    {func(w http.ResponseWriter) { w.WriteHeader(204) }, true},
		"being torn down": {says(202, gen.Endpoint{}), false},
		"was not there":   {problem(404, "not-found"), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, c := start(t, test.answer)
			gone, err := c.Endpoints.Delete(t.Context(), key)
			if err != nil || gone != test.gone {
				t.Errorf("gone %t, %v; want %t", gone, err, test.gone)
			}
		})
	}
	_, c := start(t, problem(409, "protected"))
	var failure *apierror.Error
	if _, err := c.Endpoints.Delete(t.Context(), key); !errors.As(err, &failure) || failure.Kind() != "protected" {
		t.Errorf("error %v; want that of the server", err)
	}
}

func TestWhatWasJustCreatedIsNotDeletedAsItsOwnPredecessor(t *testing.T) {
	s, c := start(t, says(201, quota), func(w http.ResponseWriter) { w.WriteHeader(204) })
	if _, err := c.Quotas.Create(t.Context(), key, quota.Spec); err != nil {
		t.Fatal(err)
	}
	if gone, err := c.Quotas.Delete(t.Context(), key); !gone || err != nil || len(s.seen) != 1 {
		t.Errorf("gone %t, %v after %d calls; want no call", gone, err, len(s.seen))
	}
	if gone, err := c.Quotas.Withdraw(t.Context(), key); !gone || err != nil || len(s.seen) != 2 {
		t.Errorf("gone %t, %v after %d calls; want one call more", gone, err, len(s.seen))
	}
	other := client.Key{Project: key.Project, Name: "cpu-small"}
	if gone, err := c.Quotas.Delete(t.Context(), other); !gone || err != nil || len(s.seen) != 3 {
		t.Errorf("gone %t, %v after %d calls; want one call more", gone, err, len(s.seen))
	}
}

func TestAwaitAsksTheServerToHoldTheAnswer(t *testing.T) {
	s, c := start(t, says(200, gen.Endpoint{}))
	hold := client.Hold{Until: client.HoldReady, Generation: 7, For: 12500 * time.Millisecond}
	if _, err := c.Endpoints.Await(t.Context(), key, hold); err != nil {
		t.Fatal(err)
	}
	if s.seen[0].query != "generation=7&timeout_s=12&wait_for=ready" {
		t.Errorf("asked %s", s.seen[0].query)
	}
}

func TestAwaitGone(t *testing.T) {
	s, c := start(t, says(200, gen.Endpoint{}), problem(404, "not-found"))
	if _, err := c.Endpoints.AwaitGone(t.Context(), instant{}, key, time.Hour); err != nil {
		t.Fatal(err)
	}
	if len(s.seen) != 2 || !strings.Contains(s.seen[0].query, "wait_for=deleted") {
		t.Errorf("asked %v", s.seen)
	}
}

func TestTheTokenFollowsNoRedirect(t *testing.T) {
	elsewhere, _ := start(t, says(200, quota))
	target := httptest.NewServer(elsewhere)
	defer target.Close()
	_, c := start(t, says(307, nil, "Location", target.URL))
	if _, err := c.Quotas.Get(t.Context(), key); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	if len(elsewhere.seen) != 0 {
		t.Errorf("it was followed with %v", elsewhere.seen[0].header)
	}
}

func TestRevokeOfWhatIsGoneIsDone(t *testing.T) {
	_, c := start(t, problem(404, "not-found"))
	if err := c.Credentials.Revoke(t.Context(), key, "c1"); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{
		"", "api.example.com", "ftp://api.example.com", "https://", "https://user:pw@api.example.com", "http://[::1", "https://api.example.com/v1",
		"https://api.example.com?a=b", "https://api.example.com#a",
	} {
		if _, err := client.New(client.Config{BaseURL: address}); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
}

// instant is a clock whose sleeps take no time.
type instant struct{ wait.System }

func (instant) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }
