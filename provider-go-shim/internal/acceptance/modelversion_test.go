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

	"fleetform.dev/terraform-provider-fleetform/internal/client"
	"fleetform.dev/terraform-provider-fleetform/internal/client/gen"
)

func versionConfig(project, version, artifact, rest string) string {
	return fmt.Sprintf(`
		provider "fleetform" { project = %q }
		resource "fleetform_project" "this" {
		  name              = %q
		  artifact_prefixes = ["s3://models/"]
		}
		resource "fleetform_model_version" "this" {
		  project   = fleetform_project.this.name
		  model     = "summarizer"
		  version   = %q
		  artifact  = %q
		  framework = "pytorch"
		  runtime   = "cpu"
		  %s
		}`, project, project, version, artifact, rest)
}

func TestModelVersion(t *testing.T) {
	const address = "fleetform_model_version.this"
	key := client.ModelKey{Project: "version-test", Model: "summarizer", Version: "v1"}
	config := func(version, artifact, rest string) string {
		return versionConfig(key.Project, version, artifact, rest)
	}
	registered := config("v1", "s3://models/a/", "")
	immutable := regexp.MustCompile(`(?s)immutable.*Register a new\s+version`)
	get := func(ctx context.Context) (*gen.ModelVersion, error) { return server.api.ModelVersions.Get(ctx, key) }
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		CheckDestroy:             gone("the version", get),
		Steps: []resource.TestStep{
			{Config: config("v1", "s3://elsewhere/a/", ""), ExpectError: regexp.MustCompile(`(?s)artifact.*request id`)},
			{
				Config: registered, ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(address, at("ref"), knownvalue.StringExact("summarizer:v1")),
					statecheck.ExpectKnownValue(address, at("digest"), knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))),
					statecheck.ExpectKnownValue(address, at("size_bytes"), knownvalue.NotNull()),
				},
			},
			unchanged(registered),
			{
				ResourceName: address, ImportState: true, ImportStateId: key.String(), ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "version",
			},
			{Config: config("v1", "s3://models/b/", ""), ExpectError: immutable},
			{Config: config("v2", "s3://models/a/", ""), ExpectError: immutable},
			{Config: config("v1", "s3://models/a/", `format = "safetensors"`), ExpectError: immutable},
			unchanged(registered),
			{ // disappears
				PreConfig: through(t, func(ctx context.Context) error {
					_, err := server.api.ModelVersions.Withdraw(ctx, key)
					return err
				}),
				Config: registered, ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
		},
	})
}

func TestARefusedVersionFailsAtOnceAndCanBeCorrected(t *testing.T) {
	const address = "fleetform_model_version.this"
	goesWrong(t, func(s script) { s.Artifacts["s3://models/pickled/"] = "PickleRefused" })
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: providers,
		Steps: []resource.TestStep{
			{
				Config:      versionConfig("refused-test", "v1", "s3://models/pickled/", ""),
				ExpectError: regexp.MustCompile(`(?s)was refused: PickleRefused.*artifact.*refused by the\s+script`),
			},
			{
				Config:           versionConfig("refused-test", "v1", "s3://models/clean/", ""),
				ConfigPlanChecks: action(address, plancheck.ResourceActionCreate),
			},
			unchanged(versionConfig("refused-test", "v1", "s3://models/clean/", "")),
		},
	})
}
