"""What becomes of a command: fenced, done once, answered the same again."""

import asyncio
from typing import assert_never

import structlog

from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    Command,
    CommandRequest,
    CommandResult,
    EvictSleeping,
    ForgetReplica,
    HostRefusal,
    Prefetch,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.host.board import Board
from fleetform.host.fence import Fence
from fleetform.host.layout import is_replica_id
from fleetform.host.prefetches import Prefetches
from fleetform.host.replicas import Replicas
from fleetform.host.verifications import Verifications
from fleetform.steps import Step, step

log = structlog.get_logger(__name__)


class Commands:
    """Commands one after the other: each is short, the work goes on behind it."""

    def __init__(self, fence: Fence, board: Board, replicas: Replicas, verifications: Verifications, prefetches: Prefetches) -> None:
        self.fence = fence
        self.board = board
        self.replicas = replicas
        self.verifications = verifications
        self.prefetches = prefetches
        self.lock = asyncio.Lock()
        board.epoch = fence.epoch

    async def run(self, request: CommandRequest) -> CommandResult | HostRefusal:
        """Do it, or say what was answered before; HostRefusal when the caller no longer leads or speaks another version."""
        async with self.lock:
            refusal = await self.admit(request.epoch, request.protocol_version)
            if refusal is not None:
                return refusal
            step(Step.COMMAND_ADMITTED)
            before = self.fence.answered(request.command_id)
            if before is not None and not self._lost(request.command):
                return before
            result = await self._do(request)
            step(Step.COMMAND_DONE)
            await asyncio.to_thread(self.fence.remember, request, result)
            step(Step.COMMAND_REMEMBERED)
            log.info("command", kind=type(request.command).__name__, epoch=request.epoch, accepted=result.accepted, message=result.message)
            return result

    async def admit(self, epoch: int, protocol_version: int = PROTOCOL_VERSION) -> HostRefusal | None:
        """None when a caller with that epoch may go on; from then on lower ones are refused."""
        refusal = await asyncio.to_thread(self.fence.refusal, epoch, protocol_version)
        if refusal is None and self.board.epoch != self.fence.epoch:
            self.board.put_epoch(self.fence.epoch)
        return refusal

    def _lost(self, command: Command) -> bool:
        """True when what the command did is not so any more: a verification dies with its worker, a replica may lose its record, and an
        engine that was claimed when it was to be ended may sleep again.

        A stop that was lost would never end its replica: it is sent under the same id again.
        """
        match command:
            case VerifyArtifact():
                return not self.verifications.knows(command.version_uid)
            case StopReplica():
                return not self.replicas.stops(command.replica_id)
            case EvictSleeping():
                return self.replicas.sleeps(command.engine_ids)
            case _:
                return False

    async def _do(self, request: CommandRequest) -> CommandResult:
        command = request.command
        if not all(map(is_replica_id, _names(command))):
            return CommandResult(command_id=request.command_id, accepted=False, message="a replica id has 1 to 64 of A-Z a-z 0-9 . _ -")
        unknown = isinstance(command, StopReplica) and not self.replicas.knows(command.replica_id)
        refusal = "it was stopped before" if isinstance(command, StartReplica) else "it has not exited; stop it first"
        match command:
            case VerifyArtifact():
                done: str | None = self.verifications.start(command)
            case Prefetch():
                done = self.prefetches.start(command)
            case StartReplica():
                done = await self.replicas.start(command)
            case StopReplica():
                done = await self.replicas.stop(command)
            case ForgetReplica():
                done = await self.replicas.forget(command)
            case EvictSleeping():
                done = self.replicas.evict(command)
            case _:
                assert_never(command)
        accepted = done is not None
        return CommandResult(command_id=request.command_id, accepted=accepted, message=done or refusal, unknown=unknown)


def _names(command: Command) -> tuple[str, ...]:
    """The ids in it that become names of files here."""
    match command:
        case StartReplica() | StopReplica() | ForgetReplica():
            return (command.replica_id,)
        case EvictSleeping():
            return command.engine_ids
        case VerifyArtifact() | Prefetch():
            return ()
