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
)

const address = "fleetform_endpoint.this"

// endpointConfig is an endpoint with everything that it needs: versions of model, v1 and v2 unless others are named, and room for eight
// replicas.
func endpointConfig(project, model, body string, versions ...string) string {
	if len(versions) == 0 {
		versions = []string{"v1", "v2"}
	}
	var registered strings.Builder
	for _, name := range versions {
		fmt.Fprintf(&registered, `
		resource "fleetform_model_version" %q {
		  project   = fleetform_project.this.name
		  model     = %q
		  version   = %q
		  artifact  = "s3://models/%s/%s/"
		  framework = "pytorch"
		  runtime   = "cpu"
		  lifecycle { create_before_destroy = true }
		}`, name, model, name, model, name)
	}
	return fmt.Sprintf(`
		provider "fleetform" { project = %q }
		resource "fleetform_project" "this" {
		  name              = %q
		  artifact_prefixes = ["s3://models/"]
		}
		resource "fleetform_quota" "this" {
		  project       = fleetform_project.this.name
		  instance_type = "cpu-small"
		  max_replicas  = 8
		}
		resource "fleetform_endpoint" "this" {
		  project       = fleetform_project.this.name
		  instance_type = fleetform_quota.this.instance_type
		  %s
		}`, project, project, body) + registered.String()
}

// quick steps through a rollout without holding.
const quick = "rollout = { steps = [50, 100], step_hold_s = 0, bake_s = 0 }"

func serves(version string) string {
	return fmt.Sprintf("name = \"chat\"\n%s\nvariants = { main = { model_version = fleetform_model_version.%s.ref } }", quick, version)
}

func TestEndpoint(t *testing.T) {
	key := client.Key{Project: "endpoint-test", Name: "chat"}
	config := func(body string) string { return endpointConfig(key.Project, "summarizer", body) }
	split := config(`
		name     = "chat"
		type     = "realtime"
		mode     = "dedicated"
		variants = {
		  v1 = { model_version = fleetform_model_version.v1.ref, weight = 90, engine_args = { max_model_len = "2048" } }
		  v2 = { model_version = fleetform_model_version.v2.ref, weight = 10 }
		}
		scaling             = { min_replicas = 2, max_replicas = 4, target_concurrency = 8, idle_s = 300 }
		request_timeout_s   = 30
		rollout             = { strategy = "surge", steps = [100], step_hold_s = 0, bake_s = 0 }
		logging             = { content = "off" }
		deletion_protection = false
		labels              = { team = "search" }
		wait_for            = "ready"
		timeouts            = { create = "5m", update = "5m", delete = "5m" }
	`)
	get := func(ctx context.Context) (*gen.Endpoint, error) { return server.api.Endpoints.Get(ctx, key) }
	uid := statecheck.CompareValue(sameValue{})
	known := func(attribute string, want knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(address, at(attribute), want)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		CheckDestroy:             gone("the endpoint", get),
		Steps: []resource.TestStep{
			{
				Config: config(serves("v1")), ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: []statecheck.StateCheck{
					known("ready", knownvalue.Bool(true)), known("generation", knownvalue.Int64Exact(1)), known("model", knownvalue.StringExact("chat")),
					known("url", knownvalue.StringExact(server.GatewayURL)), uid.AddStateValue(address, at("uid")),
				},
			},
			unchanged(config(serves("v1"))),
			{ // another version, in place
				Config: config(serves("v2")), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{
					known("ready", knownvalue.Bool(true)), known("generation", knownvalue.Int64Exact(2)), uid.AddStateValue(address, at("uid")),
				},
			},
			unchanged(config(serves("v2"))),
			{ // a split over two variants and every field that can be set
				Config: split, ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				ConfigStateChecks: []statecheck.StateCheck{uid.AddStateValue(address, at("uid"))},
			},
			unchanged(split),
			{
				ResourceName: address, ImportState: true, ImportStateId: key.String(), ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name", ImportStateVerifyIgnore: []string{"wait_for", "timeouts"},
			},
			{ // what was left out is cleared
				Config: config(serves("v2")), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
				Check: func(*terraform.State) error {
					found, err := get(context.Background())
					if err != nil {
						return err
					}
					return wantJSON(found.Spec, `{"instance_type":"cpu-small","rollout":{"bake_s":0,"step_hold_s":0,"steps":[50,100]},`+
						`"variants":{"main":{"model_version":"summarizer:v2"}}}`)
				},
			},
			{ // drift
				PreConfig: through(t, func(ctx context.Context) error {
					found, err := get(ctx)
					if err != nil {
						return err
					}
					found.Spec.Labels = &map[string]string{"by": "hand"}
					_, err = server.api.Endpoints.Replace(ctx, key, found.Spec, 0)
					return err
				}),
				Config: config(serves("v2")), ConfigPlanChecks: action(address, plancheck.ResourceActionUpdate),
			},
			{ // disappears
				PreConfig: through(t, func(ctx context.Context) error {
					return deleteEndpoint(ctx, key)
				}),
				Config: config(serves("v2")), ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
			{ // another name is another endpoint
				Config:           config("name = \"chat-two\"\n" + quick + "\nvariants = { main = { model_version = fleetform_model_version.v2.ref } }"),
				ConfigPlanChecks: action(address, plancheck.ResourceActionReplace),
			},
		},
	})
}

func TestEveryWrongFieldOfAnEndpointIsNamedAtOnce(t *testing.T) {
	config := endpointConfig("wrong-test", "wrong", `
		name     = "chat"
		variants = {
		  v1 = { model_version = fleetform_model_version.v1.ref, weight = 101 }
		  v2 = { model_version = "nothing", weight = 10 }
		}
		scaling = { max_replicas = 0 }
		slo     = { error_rate = 1.5 }
	`)
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{Config: config, ExpectError: regexp.MustCompile(`(?s)request id.*request id.*request id`)},
			{
				Config:      endpointConfig("wrong-test", "wrong", "name = \"chat\"\nvariants = { \"a_b\" = { model_version = fleetform_model_version.v1.ref } }"),
				ExpectError: regexp.MustCompile(`must be lower-case`),
			},
			{Config: endpointConfig("wrong-test", "wrong", serves("v1")+"\nwait_for = \"lunch\""), ExpectError: regexp.MustCompile(`"accepted"`)},
			{
				Config:      endpointConfig("wrong-test", "wrong", serves("v1")+"\nmode = \"shared\""),
				ExpectError: regexp.MustCompile(`(?s)mode.*unsupported`),
			},
			{Config: endpointConfig("wrong-test", "wrong", serves("v1"))},
		},
	})
}
