// Package client speaks to the control API: the generated calls of package gen under a transport that repeats what may be repeated, and
// answers as values or apierror.Error.
package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// answerLimit bounds what is read of one answer.
const answerLimit = 16 << 20

// Config is where the control API is and who calls it. UserAgent is sent as it is.
type Config struct {
	BaseURL   string
	Token     string
	UserAgent string
}

// Client is safe for concurrent use. Each field is one kind of resource.
type Client struct {
	Projects      Kind[string, gen.ProjectSpec, gen.Project]
	Quotas        Kind[Key, gen.QuotaSpec, gen.Quota]
	Tokens        Kind[Key, gen.TokenSpec, gen.Token]
	ModelVersions Kind[ModelKey, gen.ModelVersionSpec, gen.ModelVersion]
	Endpoints     Kind[Key, gen.EndpointSpec, gen.Endpoint]
	Credentials   Credentials
}

// Key names a resource in a project: an endpoint or token by its name, a quota by its instance type.
type Key struct {
	Project string
	Name    string
}

// String is the key as import takes it.
func (k Key) String() string { return k.Project + "/" + k.Name }

// ModelKey names a model version.
type ModelKey struct {
	Project string
	Model   string
	Version string
}

// String is the key as import takes it.
func (k ModelKey) String() string { return k.Project + "/" + k.Model + "/" + k.Version }

// New makes a client. It does not call the server; the error is about a base URL that is none.
func New(config Config) (*Client, error) {
	base, err := url.Parse(config.BaseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil ||
		strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("base_url %q is not of the form https://host[:port]", config.BaseURL)
	}
	doer := &http.Client{
		Transport:     newTransport(newBase(), config.Token, config.UserAgent),
		CheckRedirect: noRedirect,
	}
	api, err := gen.NewClient(strings.TrimRight(config.BaseURL, "/"), gen.WithHTTPClient(doer))
	if err != nil {
		return nil, fmt.Errorf("base_url %q: %w", config.BaseURL, err)
	}
	return &Client{
		Projects:      projects(api),
		Quotas:        quotas(api),
		Tokens:        tokens(api),
		ModelVersions: modelVersions(api),
		Endpoints:     endpoints(api),
		Credentials:   Credentials{api: api},
	}, nil
}

// newBase is the standard transport with room for Terraform's parallel operations on one host.
func newBase() http.RoundTripper {
	base := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's own value
	base.MaxIdleConnsPerHost = 32
	return base
}

// bounded gives a call that does not wait its limit over all attempts.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callLimit)
}

// decode reads an answer: a T below 400, an apierror.Error from there on.
func decode[T any](resp *http.Response, err error) (*T, error) {
	text, err := read(resp, err)
	if err != nil {
		return nil, err
	}
	value := new(T)
	if err := json.Unmarshal(text, value); err != nil {
		return nil, fmt.Errorf("%s %s: the answer is not what this provider understands: %w", resp.Request.Method, resp.Request.URL.Path, err)
	}
	return value, nil
}

// read is the body of an answer below 300; anything else is an error.
func read(resp *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, apierror.FromResponse(resp, text)
	}
	return text, nil
}

// body ends its attempt's deadline when it is closed.
type body struct {
	io.ReadCloser
	done context.CancelFunc
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
