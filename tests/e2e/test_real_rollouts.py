"""Versions that are turned back beside a real vLLM that serves on: `terraform apply` fails with the reason, the next plan names it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shop import STUB
from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.terraform import Terraform

pytestmark = [pytest.mark.real, pytest.mark.terraform, pytest.mark.timeout(1500)]
START_S = 900
VERSIONS = {"v1": "", "slow": "", "crashes": "", "errors": 'engine = "stub"'}


class World:
    """A stack, its Terraform folder, and a key."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.models = stack.home / "models"
        for version in VERSIONS:
            write_tiny_chat_model(
                self.models / version, seed=0, layers=24 if version == "slow" else 2, width=768 if version == "slow" else 128
            )
        (self.models / "errors" / "stub.json").write_text(json.dumps({"fails_beyond_tokens": 1}))
        _unfit(self.models / "crashes")
        words = [sys.executable, "-S", str(STUB), "--socket", "{socket}", "--model-dir", "{model_dir}"]
        stack.fleetform("engine", "set", "--name", "stub", "--", *words, "--served-name", "{served_name}", "--instance", "{instance}")
        self.terraform = Terraform(stack.home / "terraform", stack.environment)
        self.key = ""

    def configure(self, version: str) -> None:
        self.terraform.write(configuration(self.models, version))

    def load(self) -> SteadyLoad:
        """At a fixed rate: one after another, every asker would soon wait for the slow version, and none be left for the other."""
        base_url = self.terraform.outputs()["base_url"]
        return SteadyLoad(base_url, self.key, "chat", rate=4, long_streams=0, plain_body={"max_tokens": 16}, streams=False)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Stack({"FLEETFORM_ZYGOTE": "on"}) as stack:
        world = World(stack)
        world.configure("v1")
        world.terraform.apply(timeout_s=START_S)
        stack.fleetform("token", "create", "--project", "acme", "--name", "app", "--role", "inference.invoker")
        world.key = str(stack.answer("token", "mint", "app", "--project", "acme")["secret"])
        yield world


@pytest.mark.parametrize(
    ("version", "reason"),
    [("crashes", "rolled back"), ("errors", "TooManyErrors"), ("slow", "rolled back: Slow")],
    ids=["crashes at start", "answers errors", "is slow"],
)
def test_a_broken_version_fails_the_apply_with_its_reason_and_the_next_plan_names_it(world: World, version: str, reason: str) -> None:
    with world.load() as load:
        load.answer_at_least(20)
        world.configure(version)
        told = " ".join(world.terraform.apply(fails=True, timeout_s=START_S).replace("│", " ").split())
        lost = len(load.lost)
        load.answer_at_least(20)
    assert reason in told
    assert "goes on serving" in told
    assert len(load.lost) == lost, load.lost
    assert lost == 0 or version == "errors", load.lost
    if version != "crashes":
        assert "the incumbent" in told
    assert not world.terraform.plan_is_empty()
    assert f'"m:v1" -> "m:{version}"' in world.terraform.output[-1]
    world.configure("v1")
    world.terraform.apply(timeout_s=START_S)
    assert world.terraform.plan_is_empty()


def _unfit(folder: Path) -> None:
    """Let the configuration promise another shape than the weights have."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 512}))


def configuration(models: Path, version: str) -> str:
    """Terraform text: every version registered, one of them serving."""
    versions = "".join(
        f"""
resource "fleetform_model_version" "{name}" {{
  project   = fleetform_project.acme.name
  model     = "m"
  version   = "{name}"
  artifact  = "file://{models}/{name}/"
  framework = "pytorch"
  runtime   = "cpu"
  {engine}
}}
"""
        for name, engine in VERSIONS.items()
    )
    return f"""
resource "fleetform_project" "acme" {{
  name              = "acme"
  artifact_prefixes = ["file://{models}/"]
}}

resource "fleetform_quota" "cpu" {{
  project       = fleetform_project.acme.name
  instance_type = "cpu-small"
  max_replicas  = 4
}}
{versions}
resource "fleetform_endpoint" "chat" {{
  project       = fleetform_project.acme.name
  name          = "chat"
  instance_type = fleetform_quota.cpu.instance_type
  variants      = {{ main = {{ model_version = fleetform_model_version.{version}.ref }} }}
  rollout       = {{ steps = [50, 100], step_hold_s = 30, bake_s = 2 }}
}}

output "base_url" {{ value = fleetform_endpoint.chat.url }}
"""
