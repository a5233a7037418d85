package acceptance

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
	"fleetform.dev/terraform-provider-fleetform/internal/wait"
)

// deleteEndpoint deletes it and waits until it is gone.
func deleteEndpoint(ctx context.Context, key client.Key) error {
	gone, err := server.api.Endpoints.Withdraw(ctx, key)
	if err == nil && !gone {
		_, err = server.api.Endpoints.AwaitGone(ctx, wait.System{}, key, startLimit)
	}
	return err
}

func TestARolledBackChangeIsAnErrorAndShowsInTheNextPlan(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["crashing:v2"] = "crash" })
	config := func(version string) string { return endpointConfig("rolled-back", "crashing", serves(version)) }
	rolledBack := regexp.MustCompile(`(?s)generation 2 was rolled back.*the engine\s+ended.*Generation 1 goes on serving`)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("v1")},
			{Config: config("v2"), ExpectError: rolledBack},
			{ // what serves is in the state, so the plan shows the difference again
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.TestCheckResourceAttr(address, "variants.main.model_version", "crashing:v1"),
			},
			{ // the same spec again fails at once
				Config: config("v2"), ExpectError: rolledBack,
			},
			{Config: config("v1"), ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, at("ready"), knownvalue.Bool(true))}},
			unchanged(config("v1")),
		},
	})
}

func TestAVersionThatDoesWorseIsAnErrorWithTheFiguresOfBoth(t *testing.T) {
	goesWrong(t, func(s script) {
		s.Figures["judged:v1"] = figures{Requests: 900}
		s.Figures["judged:v2"] = figures{Requests: 100, Errors: 40}
	})
	held := "rollout = { steps = [10, 100], step_hold_s = 60, bake_s = 600 }"
	config := func(version string) string {
		return endpointConfig("judged-project", "judged", strings.Replace(serves(version), quick, held, 1))
	}
	figuresOfBoth := `40 of 100\s+requests\s+\(40\.0%\),\s+the\s+incumbent\s+0\s+of\s+900`
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("v1")},
			{Config: config("v2"), ExpectError: regexp.MustCompile(`(?s)generation 2 was rolled back: TooManyErrors.*` + figuresOfBoth)},
			{ // what serves is in the state, so the plan shows the difference again
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.TestCheckResourceAttr(address, "variants.main.model_version", "judged:v1"),
			},
			{Config: config("v1")},
			unchanged(config("v1")),
		},
	})
}

func TestAnEndpointThatCannotStartFailsAtOnce(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["hopeless:v1"] = "oom" })
	config := func(version string) string { return endpointConfig("hopeless-test", "hopeless", serves(version)) }
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("v1"), ExpectError: regexp.MustCompile(`(?s)generation 1 cannot start.*OOMKilled.*took more\s+memory`)},
			{Config: config("v2"), ConfigPlanChecks: action(address, plancheck.ResourceActionReplace)},
			unchanged(config("v2")),
		},
	})
}

func TestAWaitThatRunsOutIsTakenUpByTheNextApply(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["hanging:v2"] = "hang" })
	config := func(version, rest string) string {
		return endpointConfig("hanging-test", "hanging", serves(version)+"\n"+rest)
	}
	impatient := config("v2", `timeouts = { update = "3s" }`)
	notReady := regexp.MustCompile(`(?s)generation 2 is accepted and not ready.*not settled after.*Progressing`)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("v1", "")},
			{Config: impatient, ExpectError: notReady},
			{Config: impatient, ExpectError: notReady},
			{
				PreConfig:        func() { goesWrong(t, func(s script) { delete(s.Engines, "hanging:v2") }) },
				Config:           config("v2", `timeouts = { update = "5m" }`),
				ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, at("ready"), knownvalue.Bool(true)),
					statecheck.ExpectKnownValue(address, at("generation"), knownvalue.Int64Exact(2)),
				},
			},
			unchanged(config("v2", `timeouts = { update = "5m" }`)),
		},
	})
}

func TestACreationThatRunsOutOfTimeKeepsTheEndpoint(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["slow:v1"] = "hang" })
	config := func(create string) string {
		return endpointConfig("slow-test", "slow", serves("v1")+fmt.Sprintf("\ntimeouts = { create = %q }", create))
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("2s"), ExpectError: regexp.MustCompile(`(?s)generation 1 is accepted and not ready.*terraform\s+untaint`)},
			{
				PreConfig:        func() { goesWrong(t, func(s script) { delete(s.Engines, "slow:v1") }) },
				Config:           config("5m"),
				ConfigPlanChecks: action(address, plancheck.ResourceActionReplace),
			},
			unchanged(config("5m")),
		},
	})
}

func TestAnEndpointThatIsCreatedBeforeItsPredecessorStays(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["early:v1"] = "hang" })
	key := client.Key{Project: "early-test", Name: "chat"}
	config := func(rest string) string {
		return endpointConfig(key.Project, "early", serves("v1")+"\nlifecycle { create_before_destroy = true }\n"+rest)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config(`timeouts = { create = "2s" }`), ExpectError: regexp.MustCompile(`accepted and not ready`)},
			{
				PreConfig:        func() { goesWrong(t, func(s script) { delete(s.Engines, "early:v1") }) },
				Config:           config(""),
				ConfigPlanChecks: action(address, plancheck.ResourceActionReplace),
				Check: func(*terraform.State) error {
					_, err := server.api.Endpoints.Get(context.Background(), key)
					return err
				},
			},
			unchanged(config("")),
		},
	})
}

func TestAVersionThatOnlyBakesIsDeletedInTheSameApply(t *testing.T) {
	config := func(version string, versions ...string) string {
		return endpointConfig("baking-test", "baking", fmt.Sprintf(`
			name     = "chat"
			variants = { main = { model_version = fleetform_model_version.%s.ref } }
			rollout  = { steps = [100], step_hold_s = 0, bake_s = 86400 }
		`, version), versions...)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config("v1", "v1")},
			{
				Config: config("v2", "v2"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
					plancheck.ExpectResourceAction("fleetform_model_version.v1", plancheck.ResourceActionDestroy),
				}},
			},
			unchanged(config("v2", "v2")),
		},
	})
}

func TestAcceptedDoesNotWait(t *testing.T) {
	goesWrong(t, func(s script) { s.Engines["waiting:v1"] = "hang" })
	config := endpointConfig("accepted-test", "waiting", serves("v1")+"\nwait_for = \"accepted\"")
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{
				Config:            config,
				ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, at("ready"), knownvalue.Bool(false))},
			},
			unchanged(config),
		},
	})
}

func TestAVersionThatIsRefusedFailsItsEndpointAtOnce(t *testing.T) {
	goesWrong(t, func(s script) { s.Artifacts["s3://models/refused/v9/"] = "CodeRefused" })
	key := client.ModelKey{Project: "refused-endpoint", Model: "refused", Version: "v9"}
	config := func(ref string) string {
		return endpointConfig(key.Project, key.Model, fmt.Sprintf("name = \"chat\"\n%s\nvariants = { main = { model_version = %q } }", quick, ref))
	}
	versions := endpointConfig(key.Project, key.Model, "count = 0\n"+serves("v1"))
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: versions},
			{
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.ModelVersions.Create(ctx, key, gen.ModelVersionSpec{
						Artifact: "s3://models/refused/v9/", Framework: "pytorch", Runtime: "cpu",
					})
					return err
				}),
				Config: config("refused:v9"), ExpectError: regexp.MustCompile(`(?s)CodeRefused`),
			},
			{Config: versions},
			{
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.ModelVersions.Withdraw(ctx, key)
					return err
				}),
				Config: versions,
			},
		},
	})
}

func TestDeletionProtection(t *testing.T) {
	config := func(protected bool) string {
		return endpointConfig("protected-test", "guarded", serves("v1")+fmt.Sprintf("\ndeletion_protection = %t", protected))
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config(true)},
			{Config: config(true), Destroy: true, ExpectError: regexp.MustCompile(`(?s)Cannot delete endpoint.*protected`)},
			{Config: config(false), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate)},
		},
	})
}

func TestDataSource(t *testing.T) {
	config := endpointConfig("data-test", "read", serves("v1")) + `
		data "fleetform_endpoint" "this" { name = fleetform_endpoint.this.name }
	`
	read := func(attribute string, want knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue("data.fleetform_endpoint.this", at(attribute), want)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{
				Config: config,
				ConfigStateChecks: []statecheck.StateCheck{
					read("phase", knownvalue.StringExact("Ready")), read("ready", knownvalue.Bool(true)), read("rejected", knownvalue.Null()),
					read("project", knownvalue.StringExact("data-test")), read("scaling", knownvalue.Null()),
					read("replicas", knownvalue.ObjectPartial(map[string]knownvalue.Check{"ready": knownvalue.Int64Exact(1)})),
					read("live", knownvalue.ObjectPartial(map[string]knownvalue.Check{"instance_type": knownvalue.StringExact("cpu-small")})),
				},
			},
			{Config: config + `data "fleetform_endpoint" "none" { name = "none" }`, ExpectError: regexp.MustCompile(`Cannot read endpoint data-test/none`)},
			unchanged(config),
		},
	})
}
