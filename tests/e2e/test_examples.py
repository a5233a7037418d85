"""Every folder of terraform-examples is applied with the real Terraform binary: it serves, a second plan is empty, destroy ends it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.server import Server
from tests.harness.terraform import Terraform

EXAMPLES = Path(__file__).resolve().parents[2] / "terraform-examples"
VARIABLES = {
    "quickstart": {"home": "{home}"},
    "ab-test": {"project": "acme", "models": "s3://acme-models"},
    "multi-project": {"models": "s3://team-models"},
    "rag-embeddings": {"home": "{home}"},
    "scale-to-zero": {"project": "acme", "models": "s3://acme-models"},
}
"""What a person has to say in each, beside the defaults."""
SHORT = re.compile(r"(step_hold_s|bake_s)(\s*)= \d+")

pytestmark = [pytest.mark.terraform, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A control API on pretended machines, with a project for the example that expects one."""
    with Server() as running:
        answer = httpx2.put(
            f"{running.base_url}/v1/projects/acme",
            headers={"authorization": f"Bearer {running.token}"},
            json={"spec": {"artifact_prefixes": ["s3://acme-models/"]}},
        )
        assert answer.status_code == 201, answer.text
        yield running


def test_every_example_is_tried() -> None:
    assert {folder.name for folder in EXAMPLES.iterdir()} == set(VARIABLES)


@pytest.mark.parametrize("name", VARIABLES)
def test_an_example_is_applied_is_stable_and_is_destroyed(name: str, server: Server, tmp_path: Path) -> None:
    terraform = opened(name, server, tmp_path)
    terraform.apply()
    assert terraform.plan_is_empty()
    assert all(endpoint["status"]["ready"] for endpoint in endpoints(server, terraform))
    state = (terraform.folder / "terraform.tfstate").read_text()
    for key in tmp_path.glob("*.key"):
        secret = key.read_text()
        assert secret.startswith("cd-")
        assert key.stat().st_mode & 0o077 == 0
        assert secret not in state + "".join(terraform.output)
    terraform.destroy()


def test_the_ab_test_moves_on_and_rolls_back(server: Server, tmp_path: Path) -> None:
    terraform = opened("ab-test", server, tmp_path)
    for candidate in (10, 100, 0):
        terraform.environment["TF_VAR_candidate_weight"] = str(candidate)
        terraform.apply()
        [endpoint] = endpoints(server, terraform)
        live = {name: variant["weight"] for name, variant in endpoint["status"]["live"]["variants"].items()}
        assert live == {"v1.4": 100 - candidate, "v1.5": candidate}
        assert terraform.plan_is_empty()
    terraform.destroy()


def opened(name: str, server: Server, folder: Path) -> Terraform:
    """A copy of the example with holds of a second, ready to be applied."""
    terraform = Terraform(folder / "work", {"FLEETFORM_BASE_URL": server.base_url, "FLEETFORM_TOKEN": server.token})
    for source in (EXAMPLES / name).glob("*.tf"):
        (terraform.folder / source.name).write_text(SHORT.sub(r"\1\2= 1", source.read_text()))
    for variable, value in VARIABLES[name].items():
        terraform.environment[f"TF_VAR_{variable}"] = value.format(home=folder)
    return terraform


def endpoints(server: Server, terraform: Terraform) -> list[dict[str, Any]]:
    """Every endpoint in the state, as the API shows it now."""
    found = []
    resources = json.loads((terraform.folder / "terraform.tfstate").read_text())["resources"]
    for resource in resources:
        if resource["type"] != "fleetform_endpoint":
            continue
        for instance in resource["instances"]:
            where = instance["attributes"]
            answer = httpx2.get(
                f"{server.base_url}/v1/projects/{where['project']}/endpoints/{where['name']}",
                headers={"authorization": f"Bearer {server.token}"},
            )
            found.append(answer.raise_for_status().json())
    assert found
    return found
