"""Commands to hosts, and what is known of a replica by their answers alone."""

import structlog

from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    Command,
    CommandRequest,
    CommandResult,
    EvictSleeping,
    ForgetReplica,
    HostReplica,
    HostReplicaState,
    Prefetch,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import FailureReason
from fleetform.drivers.base import Driver
from fleetform.reconciler.sight import Sight
from fleetform.steps import Step, step

log = structlog.get_logger(__name__)


class Sender:
    """Sends under one leader's epoch."""

    def __init__(self, driver: Driver, epoch: int, sight: Sight) -> None:
        self._driver = driver
        self._epoch = epoch
        self._sight = sight

    async def send(self, host: str, command_id: str, command: Command) -> None:
        """Send one command to one host; what its answer tells is in sight at once. NotLeader when the host has seen a higher epoch."""
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=self._epoch, command_id=command_id, command=command)
        before, sent = _steps_of(command)
        step(before)
        result = await self._driver.command(host, request)
        step(sent)
        log.info("command", host=host, command=command_id, accepted=result.accepted, repeated=result.repeated)
        seen = _seen_by(command, result)
        if seen is not None:
            self._sight.note(host, seen)
        if isinstance(command, ForgetReplica) and result.accepted:
            self._sight.forget(host, command.replica_id)


def _seen_by(command: Command, result: CommandResult) -> HostReplica | None:
    """What the answer to a command tells of its replica; None: nothing that a report does not tell better."""
    match command:
        case StartReplica() if result.accepted:
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.FETCHING, seq=0)
        case StartReplica():
            reason = FailureReason.LAUNCH_REFUSED
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.EXITED, seq=0, failure=reason, message=result.message)
        case StopReplica() if result.unknown:
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.EXITED, seq=0)
        case _:
            return None


def _steps_of(command: Command) -> tuple[Step, Step]:
    """The steps before and after a command is sent."""
    match command:
        case StartReplica():
            return Step.START_BEFORE, Step.START_SENT
        case StopReplica():
            return Step.STOP_BEFORE, Step.STOP_SENT
        case ForgetReplica():
            return Step.FORGET_BEFORE, Step.FORGET_SENT
        case EvictSleeping():
            return Step.EVICT_SENDING, Step.EVICT_SENT
        case VerifyArtifact() | Prefetch():
            return Step.VERIFY_BEFORE, Step.VERIFY_SENT
