package acceptance

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

func TestQuota(t *testing.T) {
	const address = "fleetform_quota.this"
	key := client.Key{Project: "quota-test", Name: "cpu-small"}
	config := func(replicas int) string {
		return fmt.Sprintf(`
			provider "fleetform" { project = "quota-test" }
			resource "fleetform_project" "this" { name = "quota-test" }
			resource "fleetform_quota" "this" {
			  instance_type = "cpu-small"
			  max_replicas  = %d
			  depends_on    = [fleetform_project.this]
			}`, replicas)
	}
	get := func(ctx context.Context) (*gen.Quota, error) { return server.api.Quotas.Get(ctx, key) }
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		CheckDestroy:             gone("the quota", get),
		Steps: []resource.TestStep{
			{Config: config(-1), ExpectError: regexp.MustCompile(`(?s)max_replicas.*request id`)},
			{Config: config(2), ConfigPlanChecks: action(address, plancheck.ResourceActionCreate)},
			unchanged(config(2)),
			{Config: config(5), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate)},
			{
				ResourceName: address, ImportState: true, ImportStateId: key.String(), ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "instance_type",
			},
			{ // drift
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Quotas.Replace(ctx, key, gen.QuotaSpec{MaxReplicas: 9}, 0)
					return err
				}),
				Config: config(5), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
			},
			{ // disappears
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Quotas.Withdraw(ctx, key)
					return err
				}),
				Config: config(5), ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
		},
	})
}

func TestTheProjectComesFromSomewhere(t *testing.T) {
	quota := `resource "fleetform_quota" "this" {
		instance_type = "cpu-small"
		max_replicas  = 1
	}`
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: quota, ExpectError: regexp.MustCompile(`FLEETFORM_PROJECT`)},
			{Config: `provider "fleetform" { base_url = "nowhere" }` + "\n" + quota, ExpectError: regexp.MustCompile(`Wrong address`)},
		},
	})
}

func TestAProviderThatIsNotKnownYetIsOnlyNeededByTheApply(t *testing.T) {
	config := fmt.Sprintf(`
		resource "terraform_data" "region" { input = %q }
		provider "fleetform" {
		  base_url = terraform_data.region.output
		  project  = "unknown-test"
		}
		resource "fleetform_project" "this" { name = "unknown-test" }
		resource "fleetform_token" "this" {
		  name       = "app"
		  roles      = ["inference.invoker"]
		  depends_on = [fleetform_project.this]
		}
		ephemeral "fleetform_token_credential" "this" { token = fleetform_token.this.name }`, server.BaseURL)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps:                    []resource.TestStep{{Config: config}, unchanged(config)},
	})
}

func TestAnotherProjectReplaces(t *testing.T) {
	const address = "fleetform_quota.this"
	config := func(project string) string {
		return fmt.Sprintf(`
			provider "fleetform" { project = %q }
			resource "fleetform_project" "a" { name = "replaces-a" }
			resource "fleetform_project" "b" { name = "replaces-b" }
			resource "fleetform_quota" "this" {
			  instance_type = "cpu-small"
			  max_replicas  = 1
			  depends_on    = [fleetform_project.a, fleetform_project.b]
			}`, project)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("replaces-a")},
			{Config: config("replaces-b"), ConfigPlanChecks: action(address, plancheck.ResourceActionReplace)},
			unchanged(config("replaces-b")),
		},
	})
}
