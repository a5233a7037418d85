package acceptance

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

func tokenConfig(project, body string) string {
	return fmt.Sprintf(`
		provider "fleetform" { project = %q }
		resource "fleetform_project" "this" { name = %q }
		resource "fleetform_token" "this" {
		  project = fleetform_project.this.name
		  name    = "rag-app"
		  %s
		}`, project, project, body)
}

func TestToken(t *testing.T) {
	const address = "fleetform_token.this"
	key := client.Key{Project: "token-test", Name: "rag-app"}
	config := func(body string) string { return tokenConfig(key.Project, body) }
	small := config(`roles = ["inference.invoker"]`)
	full := config(`
		roles     = ["inference.viewer", "inference.invoker"]
		endpoints = ["search", "chat"]
		ttl_days  = 7
		labels    = { team = "search" }
	`)
	get := func(ctx context.Context) (*gen.Token, error) { return server.api.Tokens.Get(ctx, key) }
	same := statecheck.CompareValue(sameValue{})
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		CheckDestroy:             gone("the token", get),
		Steps: []resource.TestStep{
			{Config: config(`roles = ["inference.king"]`), ExpectError: regexp.MustCompile(`(?s)roles.*request id`)},
			{Config: config("roles = [\"inference.invoker\"]\nttl_days = 91"), ExpectError: regexp.MustCompile(`(?s)ttl_days.*request id`)},
			{
				Config: small, ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(address, at("uid"))},
			},
			unchanged(small),
			{
				Config: full, ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(address, at("uid"))},
			},
			unchanged(full),
			{
				ResourceName: address, ImportState: true, ImportStateId: key.String(), ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name",
			},
			{ // drift
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Tokens.Replace(ctx, key, gen.TokenSpec{Roles: []gen.Role{"inference.viewer"}}, 0)
					return err
				}),
				Config: small, ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
			},
			{ // disappears
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Tokens.Withdraw(ctx, key)
					return err
				}),
				Config: small, ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
		},
	})
}

// sameValue compares two values of one attribute over several steps.
type sameValue struct{}

func (sameValue) CompareValues(values ...any) error {
	for _, value := range values {
		if value != values[0] {
			return fmt.Errorf("it changed: %v", values)
		}
	}
	return nil
}

func TestCredential(t *testing.T) {
	credential := func(body string) string {
		return tokenConfig("credential-test", `roles = ["inference.invoker"]`) + fmt.Sprintf(`
			ephemeral "fleetform_token_credential" "this" {
			  token = fleetform_token.this.name
			  %s
			}
			provider "echo" { data = ephemeral.fleetform_token_credential.this }
			resource "echo" "this" {}`, body)
	}
	data := func(attribute string) tfjsonpath.Path { return at("data").AtMapKey(attribute) }
	key := client.Key{Project: "credential-test", Name: "rag-app"}
	live := func(want int) func() {
		return through(t, func(ctx context.Context) error {
			token, err := server.api.Tokens.Get(ctx, key)
			if err == nil && len(token.Status.Credentials) != want {
				return fmt.Errorf("%d credentials are live; want %d", len(token.Status.Credentials), want)
			}
			return err
		})
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{ // the token is made in the same apply: nothing can be minted during its plan
				Config: credential(""),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue("echo.this", data("secret"), knownvalue.StringRegexp(regexp.MustCompile(`^cd-.+\..+\..+$`))),
					statecheck.ExpectKnownValue("echo.this", data("id"), knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{16}$`))),
					statecheck.ExpectKnownValue("echo.this", data("expires_at"), knownvalue.StringRegexp(regexp.MustCompile(`^20\d\d-`))),
					statecheck.ExpectKnownValue("echo.this", data("ttl_s"), knownvalue.Int64Exact(3600)),
					statecheck.ExpectKnownValue("echo.this", data("project"), knownvalue.StringExact("credential-test")),
					statecheck.ExpectKnownValue("echo.this", data("revoke_on_close"), knownvalue.Bool(false)),
				},
			},
			{ // what is minted for a run alone is revoked after it
				PreConfig: through(t, func(ctx context.Context) error {
					token, err := server.api.Tokens.Get(ctx, key)
					if err != nil {
						return err
					}
					for _, credential := range token.Status.Credentials {
						if err := server.api.Credentials.Revoke(ctx, key, credential.ID); err != nil {
							return err
						}
					}
					return nil
				}),
				Config: credential("revoke_on_close = true"),
			},
			{PreConfig: live(0), Config: credential("revoke_on_close = true\nttl_s = 120")},
			{Config: credential("ttl_s = 7776001"), ExpectError: regexp.MustCompile(`(?s)ttl_s.*request id`)},
			{Config: credential("")},
		},
	})
}

func TestACredentialOfNoTokenIsAnError(t *testing.T) {
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{{
			Config: `
				resource "fleetform_project" "this" { name = "no-token" }
				ephemeral "fleetform_token_credential" "this" {
				  project = "no-token"
				  token   = "nobody"
				}`,
			ExpectError: regexp.MustCompile(`(?s)no such token`),
		}},
	})
}
