package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"fleetform.dev/terraform-provider-fleetform/internal/apierror"
	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

// action expects the one planned action on a resource.
func action(address string, want plancheck.ResourceActionType) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, want)}}
}

// unchanged is a step that plans the same configuration again and wants nothing to do.
func unchanged(config string) resource.TestStep {
	return resource.TestStep{
		Config:           config,
		ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
	}
}

// through is a change made behind Terraform's back.
func through(t *testing.T, change func(ctx context.Context) error) func() {
	return func() {
		t.Helper()
		if err := change(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// gone checks after destroy that a look-up finds nothing.
func gone[T any](what string, get func(ctx context.Context) (*T, error)) resource.TestCheckFunc {
	return func(*terraform.State) error {
		_, err := get(context.Background())
		if !apierror.IsNotFound(err) {
			return fmt.Errorf("%s is still there after destroy: %v", what, err) //nolint:errorlint // nil is the interesting case
		}
		return nil
	}
}

// wantJSON holds what the API has to what was sent.
func wantJSON(spec any, want string) error {
	text, err := json.Marshal(spec)
	if err == nil && string(text) != want {
		err = fmt.Errorf("the API has %s; want %s", text, want)
	}
	return err
}

func at(attribute string) tfjsonpath.Path { return tfjsonpath.New(attribute) }

func TestProject(t *testing.T) {
	const address = "fleetform_project.this"
	name := "project-test"
	config := func(body string) string {
		return fmt.Sprintf("resource \"fleetform_project\" \"this\" {\n  name = %q\n%s\n}\n", name, body)
	}
	full := config(`
		display_name      = "A project"
		artifact_prefixes = ["s3://models/", "file:///models/"]
		labels            = { team = "search" }
	`)
	get := func(ctx context.Context) (*gen.Project, error) { return server.api.Projects.Get(ctx, name) }
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		CheckDestroy:             gone(name, get),
		Steps: []resource.TestStep{
			{Config: config(`artifact_prefixes = ["http://elsewhere/"]`), ExpectError: regexp.MustCompile(`(?s)artifact_prefixes.*request id`)},
			{Config: `resource "fleetform_project" "this" { name = "../etc" }`, ExpectError: regexp.MustCompile(`must be lower-case`)},
			{Config: config(""), ConfigPlanChecks: action(address, plancheck.ResourceActionCreate)},
			unchanged(config("")),
			{
				Config:           full,
				ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, at("display_name"), knownvalue.StringExact("A project")),
					statecheck.ExpectKnownValue(address, at("artifact_prefixes"), knownvalue.SetSizeExact(2)),
				},
			},
			unchanged(full),
			{ResourceName: address, ImportState: true, ImportStateId: name, ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name"},
			{ // what was left out is cleared
				Config:           config(""),
				ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				Check: func(*terraform.State) error {
					found, err := get(context.Background())
					if err != nil {
						return err
					}
					return wantJSON(found.Spec, `{}`)
				},
			},
			{ // drift
				PreConfig: through(t, func(ctx context.Context) error {
					changed := "Changed by hand"
					_, err := server.api.Projects.Replace(ctx, name, gen.ProjectSpec{DisplayName: &changed}, 0)
					return err
				}),
				Config:           config(""),
				ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
			},
			{ // disappears
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Projects.Withdraw(ctx, name)
					return err
				}),
				Config:           config(""),
				ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
		},
	})
}

func TestAProjectInUseIsNotDestroyed(t *testing.T) {
	const name = "project-in-use"
	config := fmt.Sprintf("resource \"fleetform_project\" \"this\" {\n  name = %q\n}\n", name)
	quota := client.Key{Project: name, Name: "cpu-small"}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config},
			{
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Quotas.Create(ctx, quota, gen.QuotaSpec{MaxReplicas: 1})
					return err
				}),
				Config: config, Destroy: true,
				ExpectError: regexp.MustCompile(`(?s)Cannot delete project.*blocked by.*cpu-small`),
			},
			{
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Quotas.Withdraw(ctx, quota)
					return err
				}),
				Config: config,
			},
		},
	})
}

func TestAProjectThatIsThereIsNotTakenOver(t *testing.T) {
	const name = "project-of-others"
	config := fmt.Sprintf("resource \"fleetform_project\" \"this\" {\n  name = %q\n}\n", name)
	theirs := "Theirs"
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Projects.Create(ctx, name, gen.ProjectSpec{DisplayName: &theirs})
					return err
				}),
				Config: config, ExpectError: regexp.MustCompile(`(?s)exists\s+already.*import`),
			},
			{ // the same wish is the same project
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.Projects.Replace(ctx, name, gen.ProjectSpec{}, 0)
					return err
				}),
				Config: config,
			},
		},
	})
}
