package client

import (
	"context"
	"net/http"
	"sync"
	"time"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

func projects(api *gen.Client) Kind[string, gen.ProjectSpec, gen.Project] {
	return Kind[string, gen.ProjectSpec, gen.Project]{
		name:    "project",
		made:    &sync.Map{},
		imports: func(name string) string { return name },
		specOf:  func(p *gen.Project) gen.ProjectSpec { return p.Spec },
		get: func(ctx context.Context, name string, _ *Hold) (*http.Response, error) {
			return api.GetProject(ctx, name)
		},
		put: func(ctx context.Context, name string, spec gen.ProjectSpec, when Precondition) (*http.Response, error) {
			params := &gen.PutProjectParams{IfMatch: when.IfMatch, IfNoneMatch: when.IfNoneMatch}
			return api.PutProject(ctx, name, params, gen.PutProjectJSONRequestBody{Spec: spec})
		},
		del: func(ctx context.Context, name string) (*http.Response, error) {
			return api.DeleteProject(ctx, name, nil)
		},
	}
}

func quotas(api *gen.Client) Kind[Key, gen.QuotaSpec, gen.Quota] {
	return Kind[Key, gen.QuotaSpec, gen.Quota]{
		name:    "quota",
		made:    &sync.Map{},
		imports: Key.String,
		specOf:  func(q *gen.Quota) gen.QuotaSpec { return q.Spec },
		get: func(ctx context.Context, key Key, _ *Hold) (*http.Response, error) {
			return api.GetQuota(ctx, key.Project, key.Name)
		},
		put: func(ctx context.Context, key Key, spec gen.QuotaSpec, when Precondition) (*http.Response, error) {
			params := &gen.PutQuotaParams{IfMatch: when.IfMatch, IfNoneMatch: when.IfNoneMatch}
			return api.PutQuota(ctx, key.Project, key.Name, params, gen.PutQuotaJSONRequestBody{Spec: spec})
		},
		del: func(ctx context.Context, key Key) (*http.Response, error) {
			return api.DeleteQuota(ctx, key.Project, key.Name, nil)
		},
	}
}

func tokens(api *gen.Client) Kind[Key, gen.TokenSpec, gen.Token] {
	return Kind[Key, gen.TokenSpec, gen.Token]{
		name:    "token",
		made:    &sync.Map{},
		imports: Key.String,
		specOf:  func(t *gen.Token) gen.TokenSpec { return t.Spec },
		get: func(ctx context.Context, key Key, _ *Hold) (*http.Response, error) {
			return api.GetToken(ctx, key.Project, key.Name)
		},
		put: func(ctx context.Context, key Key, spec gen.TokenSpec, when Precondition) (*http.Response, error) {
			params := &gen.PutTokenParams{IfMatch: when.IfMatch, IfNoneMatch: when.IfNoneMatch}
			return api.PutToken(ctx, key.Project, key.Name, params, gen.PutTokenJSONRequestBody{Spec: spec})
		},
		del: func(ctx context.Context, key Key) (*http.Response, error) {
			return api.DeleteToken(ctx, key.Project, key.Name, nil)
		},
	}
}

func modelVersions(api *gen.Client) Kind[ModelKey, gen.ModelVersionSpec, gen.ModelVersion] {
	return Kind[ModelKey, gen.ModelVersionSpec, gen.ModelVersion]{
		name:    "model version",
		made:    &sync.Map{},
		imports: ModelKey.String,
		specOf:  func(v *gen.ModelVersion) gen.ModelVersionSpec { return v.Spec },
		get: func(ctx context.Context, key ModelKey, hold *Hold) (*http.Response, error) {
			params := &gen.GetModelVersionParams{}
			if hold != nil {
				params.WaitFor, params.Generation, params.TimeoutS = held[gen.GetModelVersionParamsWaitFor](hold)
			}
			return api.GetModelVersion(ctx, key.Project, key.Model, key.Version, params)
		},
		put: func(ctx context.Context, key ModelKey, spec gen.ModelVersionSpec, when Precondition) (*http.Response, error) {
			params := &gen.PutModelVersionParams{IfMatch: when.IfMatch, IfNoneMatch: when.IfNoneMatch}
			return api.PutModelVersion(ctx, key.Project, key.Model, key.Version, params, gen.PutModelVersionJSONRequestBody{Spec: spec})
		},
		del: func(ctx context.Context, key ModelKey) (*http.Response, error) {
			return api.DeleteModelVersion(ctx, key.Project, key.Model, key.Version, nil)
		},
	}
}

func endpoints(api *gen.Client) Kind[Key, gen.EndpointSpec, gen.Endpoint] {
	return Kind[Key, gen.EndpointSpec, gen.Endpoint]{
		name:    "endpoint",
		made:    &sync.Map{},
		imports: Key.String,
		specOf:  func(e *gen.Endpoint) gen.EndpointSpec { return e.Spec },
		get: func(ctx context.Context, key Key, hold *Hold) (*http.Response, error) {
			params := &gen.GetEndpointParams{}
			if hold != nil {
				params.WaitFor, params.Generation, params.TimeoutS = held[gen.GetEndpointParamsWaitFor](hold)
			}
			return api.GetEndpoint(ctx, key.Project, key.Name, params)
		},
		put: func(ctx context.Context, key Key, spec gen.EndpointSpec, when Precondition) (*http.Response, error) {
			params := &gen.PutEndpointParams{IfMatch: when.IfMatch, IfNoneMatch: when.IfNoneMatch}
			return api.PutEndpoint(ctx, key.Project, key.Name, params, gen.PutEndpointJSONRequestBody{Spec: spec})
		},
		del: func(ctx context.Context, key Key) (*http.Response, error) {
			return api.DeleteEndpoint(ctx, key.Project, key.Name, nil)
		},
	}
}

// held is hold in the form that the generated parameters take.
func held[W ~string](hold *Hold) (*W, *int64, *int64) {
	until := W(hold.Until)
	seconds := max(1, int64(hold.For/time.Second))
	if hold.Generation == 0 {
		return &until, nil, &seconds
	}
	generation := hold.Generation
	return &until, &generation, &seconds
}

// Credentials mints and revokes the secrets of tokens.
type Credentials struct {
	api *gen.Client
}

// Mint makes a credential. It is sent once: after an error the credential may exist, and ends with its ttl.
func (c Credentials) Mint(ctx context.Context, token Key, request gen.CredentialRequest) (*gen.Credential, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return decode[gen.Credential](c.api.CreateTokenCredential(ctx, token.Project, token.Name, request))
}

// Revoke ends a credential; one that is gone is no error.
func (c Credentials) Revoke(ctx context.Context, token Key, id string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := read(c.api.DeleteTokenCredential(ctx, token.Project, token.Name, id))
	if err != nil && !apierror.IsNotFound(err) {
		return err
	}
	return nil
}
