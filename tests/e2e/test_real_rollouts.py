"""Versions that are turned back beside a real vLLM that serves on: `terraform apply` fails with the reason, the next plan names it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import configuration
from tests.e2e.shop import STUB
from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.terraform import Terraform

pytestmark = [pytest.mark.real, pytest.mark.terraform, pytest.mark.timeout(1500)]
START_S = 900
VERSIONS = {"v1": "", "slow": "", "crashes": "", "refuses": "", "errors": 'engine = "stub"'}


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
        _untalkative(self.models / "refuses")
        words = [sys.executable, "-S", str(STUB), "--socket", "{socket}", "--model-dir", "{model_dir}"]
        stack.fleetform("engine", "set", "--name", "stub", "--", *words, "--served-name", "{served_name}", "--instance", "{instance}")
        self.terraform = Terraform(stack.home / "terraform", stack.environment)
        self.key = ""

    def configure(self, version: str) -> None:
        self.terraform.write(configured(self.models, version))

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
    [("crashes", "rolled back"), ("errors", "TooManyErrors"), ("refuses", "TooManyRefusals (m:refuses)"), ("slow", "rolled back: Slow")],
    ids=["crashes at start", "answers errors", "refuses every chat", "is slow"],
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
    assert lost == 0 or version in ("errors", "refuses"), load.lost
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


def _untalkative(folder: Path) -> None:
    """Let the chat template fail, which vLLM finds out at the first chat: it answers 400."""
    broken = "{{ raise_exception('no such role') }}"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": broken}))
    if (folder / "chat_template.jinja").exists():
        (folder / "chat_template.jinja").write_text(broken)


def configured(models: Path, version: str) -> str:
    """Terraform text: every version registered, one of them serving."""
    versions = "".join(configuration.version(name, f"m:{name}", models / name, engine) for name, engine in VERSIONS.items())
    return configuration.project(models) + versions + configuration.chat(version, step_hold_s=30)
