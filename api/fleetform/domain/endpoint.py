"""The endpoint as it is shown: one resource owns variants, traffic and scaling."""

from fleetform.domain.base import Metadata, Record
from fleetform.domain.conditions import Condition
from fleetform.domain.effective import EffectiveEndpoint, EffectiveVariant
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.scaling import ScalingDecision


class LiveState(Record, frozen=True, kw_only=True):
    """What serves now: the generation whose split is fully routed, and its variants with their routed weights."""

    generation: int
    variants: dict[str, EffectiveVariant]
    instance_type: str


class Rejected(Record, frozen=True, kw_only=True):
    """A generation that was tried and turned back. evidence: sentences and log lines, redacted.

    versions: the model versions that would have got more traffic, as `model:version`.
    """

    generation: int
    reason: str
    evidence: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Why, and what: such as `Crashed (acme-summarizer:v1.5)`."""
        return f"{self.reason} ({', '.join(self.versions)})" if self.versions else self.reason


class ReplicaCounts(Record, frozen=True, kw_only=True):
    wanted: int = 0
    ready: int = 0
    starting: int = 0
    draining: int = 0


class EndpointStatus(Record, frozen=True, kw_only=True):
    """revision grows with every status change. phase: one word for tables, derived from the conditions.

    scaling: why there are as many replicas as there are, and what would change that; none before the first one is ready.
    """

    observed_generation: int = 0
    revision: int = 0
    phase: str = "Pending"
    conditions: tuple[Condition, ...] = ()
    effective: EffectiveEndpoint | None = None
    live: LiveState | None = None
    rejected: Rejected | None = None
    replicas: ReplicaCounts = ReplicaCounts()
    scaling: ScalingDecision | None = None
    url: str = ""
    model: str = ""
    ready: bool = False


class Endpoint(Record, frozen=True, kw_only=True):
    metadata: Metadata
    spec: EndpointSpec
    status: EndpointStatus
