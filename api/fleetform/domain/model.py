"""Model versions and the manifest frozen with them."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from fleetform.domain.base import Metadata, Record, Request
from fleetform.domain.conditions import Condition
from fleetform.errors import FieldError


class ModelFormat(StrEnum):
    SAFETENSORS = "safetensors"
    GGUF = "gguf"


class Task(StrEnum):
    GENERATE = "generate"
    EMBED = "embed"


class ModelVersionSpec(Request, frozen=True, kw_only=True):
    """Immutable once registered. sha256 pins the manifest digest that the caller expects.

    framework, with a version, must not be newer than the host's torch; engine_version, of vLLM alone, must be the host's or its line.
    runtime says what the version was made for and is not compared: safetensors weights are bound to no accelerator.
    """

    artifact: Annotated[str, Meta(pattern=r"^(s3://|file:///)", max_length=2048)]
    framework: Annotated[str, Meta(pattern=r"^pytorch([0-9]+(\.[0-9]+)*)?$")]
    runtime: Annotated[str, Meta(pattern=r"^(cpu|cuda[0-9]+\.[0-9]+|rocm[0-9]+\.[0-9]+)$")]
    format: ModelFormat | UnsetType = UNSET
    task: Task | UnsetType = UNSET
    engine: Annotated[str, Meta(max_length=63)] | UnsetType = UNSET
    engine_version: Annotated[str, Meta(max_length=63)] | UnsetType = UNSET
    quantization: Annotated[str, Meta(pattern="^[a-z0-9_-]{1,63}$")] | UnsetType = UNSET
    parent: Annotated[str, Meta(max_length=127)] | UnsetType = UNSET
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | UnsetType = UNSET
    allow_remote_code: bool | UnsetType = UNSET

    def problems(self, pointer: str) -> list[FieldError]:
        """Artifact locations that climb out of their prefix, in any spelling."""
        path = self.artifact.partition("://")[2]
        if any(part in (".", "..") for part in path.split("/")) or any(c in path for c in "\\%\0"):
            return [FieldError(f"{pointer}/artifact", "must not contain '.', '..', '\\' or '%' path parts", "invalid_value")]
        return []


class ManifestFile(Record, frozen=True, kw_only=True):
    """path: relative to the artifact, with `/`. size in bytes. sha256 in hex. etag: the object's, for S3; empty for files."""

    path: str
    size: int
    sha256: str
    etag: str = ""


class Manifest(Record, frozen=True, kw_only=True):
    """What an artifact is, file by file, sorted by path. digest: see `digest_of` in host/artifacts/manifest.py."""

    digest: str
    files: tuple[ManifestFile, ...]
    format: ModelFormat
    task: Task
    has_remote_code: bool = False
    architecture: str = ""
    dtype: str = ""
    context_length: int = 0

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


class ModelVersionStatus(Record, frozen=True, kw_only=True):
    """ref: `model:version`. digest and size_bytes are empty until Verified. revision grows with every status change."""

    ref: str
    revision: int = 0
    conditions: tuple[Condition, ...] = ()
    digest: str = ""
    size_bytes: int = 0
    format: ModelFormat | None = None
    task: Task | None = None


class ModelVersion(Record, frozen=True, kw_only=True):
    """metadata.name is the version; `model` the model's name."""

    metadata: Metadata
    model: str
    spec: ModelVersionSpec
    status: ModelVersionStatus
