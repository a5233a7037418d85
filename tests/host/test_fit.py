"""Which declared frameworks and engine versions fit what a machine has installed."""

import pytest

from fleetform.domain.protocol import VerifyArtifact
from fleetform.errors import ArtifactRefused
from fleetform.host.fit import Installed, check_fit, installed

HERE = Installed(vllm="0.32.0+cpu", torch="2.10.1+cpu")
NOTHING = Installed(vllm=None, torch=None)


def a_command(framework: str = "pytorch", engine_version: str = "", engine: str = "vllm") -> VerifyArtifact:
    return VerifyArtifact(
        version_uid="v1",
        artifact="file:///m/v1/",
        prefixes=("file:///m/",),
        engine=engine,
        framework=framework,
        engine_version=engine_version,
        runtime="cuda12.6",
    )


@pytest.mark.parametrize("framework", ["", "pytorch", "pytorch2", "pytorch2.9", "pytorch2.10", "pytorch2.10.1", "pytorch1.13.1.1"])
def test_a_framework_that_is_not_newer_fits(framework: str) -> None:
    check_fit(a_command(framework), HERE)


@pytest.mark.parametrize("framework", ["3", "2.11", "2.10.2", "2.10.1.1"])
def test_a_newer_framework_is_refused_with_both_versions(framework: str) -> None:
    with pytest.raises(ArtifactRefused, match=rf"pytorch {framework}, and this host serves on torch 2\.10\.1\+cpu: install") as refused:
        check_fit(a_command(f"pytorch{framework}"), HERE)
    assert refused.value.details["condition_reason"] == "RuntimeMismatch"


def test_a_candidate_of_a_release_counts_as_the_release() -> None:
    check_fit(a_command("pytorch2.10"), Installed(vllm=None, torch="2.10.0rc1"))
    with pytest.raises(ArtifactRefused):
        check_fit(a_command("pytorch2.10.1"), Installed(vllm=None, torch="2.10.0rc1"))


@pytest.mark.parametrize("version", ["", "0", "0.32", "0.32.0", "0.32.0+cpu"])
def test_an_engine_version_fits_by_its_parts(version: str) -> None:
    check_fit(a_command(engine_version=version), HERE)


@pytest.mark.parametrize("version", ["0.3", "0.31", "0.33", "0.32.1", "0.32.0.0", "0.32.0+cu129", "latest"])
def test_another_engine_version_is_refused_with_both_versions(version: str) -> None:
    with pytest.raises(ArtifactRefused, match=r"and this host has 0\.32\.0\+cpu") as refused:
        check_fit(a_command(engine_version=version), HERE)
    assert f"wants vllm {version}," in refused.value.message
    assert refused.value.details["condition_reason"] == "RuntimeMismatch"


def test_a_machine_without_an_engine_refuses_only_what_must_be_compared() -> None:
    check_fit(a_command(), NOTHING)
    for command in (a_command("pytorch2.5"), a_command(engine_version="0.32")):
        with pytest.raises(ArtifactRefused, match="no vllm is installed on this host: install fleetform's extra"):
            check_fit(command, NOTHING)


def test_a_declared_engine_has_software_of_its_own() -> None:
    check_fit(a_command("pytorch99.0", engine="stub"), NOTHING)


def test_what_is_installed_fits_itself() -> None:
    here = installed()
    if here.torch is not None:
        check_fit(a_command(f"pytorch{here.torch.partition('+')[0]}"), here)
    if here.vllm is not None:
        check_fit(a_command(engine_version=here.vllm), here)
    with pytest.raises(ArtifactRefused):
        check_fit(a_command("pytorch99.0"), here)
