"""What is wanted, as the planner takes it from the rows: the spec of one endpoint or model version, and all that it refers to."""

from datetime import datetime

from fleetform.domain.base import Record
from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.model import Manifest, ModelVersionSpec


class VersionFacts(Record, frozen=True, kw_only=True):
    """What a track is made of. verified None: still being verified; False: refused, message says why.

    command: of a declared engine. deleted: the version is gone; only a bake may still use it.
    """

    uid: str
    ref: str
    artifact: str
    engine: str = "vllm"
    quantization: str | None = None
    allow_remote_code: bool = False
    manifest: Manifest | None = None
    verified: bool | None = None
    message: str = ""
    command: EngineSpec | None = None
    deleted: bool = False


class Desired(Record, frozen=True, kw_only=True):
    """What is wanted of one endpoint. versions: by reference, of the spec and of every track in use.

    shape None: the instance type does not exist. prefixes: where the project's artifacts may lie.
    """

    uid: str
    project: str
    name: str
    generation: int
    created_at: datetime
    effective: EffectiveEndpoint
    versions: dict[str, VersionFacts]
    shape: Shape | None
    prefixes: tuple[str, ...] = ()
    deleting: bool = False


class VersionDesired(Record, frozen=True, kw_only=True):
    """A model version whose artifact may have to be verified. verified None: not yet known.

    pinned_digest: what the manifest's digest must be, or empty.
    """

    uid: str
    spec: ModelVersionSpec
    prefixes: tuple[str, ...]
    verified: bool | None = None
    pinned_digest: str = ""
