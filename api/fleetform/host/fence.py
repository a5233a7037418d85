"""Who may command this host, and what each command did (decision 0014): both survive the worker."""

import hashlib
import threading
from pathlib import Path

import msgspec

from fleetform.domain.protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, CommandRequest, CommandResult, HostRefusal
from fleetform.host import records
from fleetform.host.layout import Layout

COMMANDS_KEPT = 2000


class Fence:
    """The highest epoch ever seen here, and the answers that were given to commands, by their id."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        kept = records.read_json(layout.epoch) or {}
        epoch = kept.get("epoch")
        self.epoch = epoch if isinstance(epoch, int) else 0
        self._raising = threading.Lock()

    def refusal(self, epoch: int, protocol_version: int = PROTOCOL_VERSION) -> HostRefusal | None:
        """Why a caller with that epoch is turned away; None when it may go on, and then the epoch is on disk."""
        if not OLDEST_PROTOCOL_VERSION <= protocol_version <= PROTOCOL_VERSION:
            spoken = f"versions {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION} are spoken here, not {protocol_version}"
            return HostRefusal(reason="ProtocolVersion", message=spoken, epoch=self.epoch)
        # Commands and snapshots come in threads of their own: the lower of two epochs must not be written over the higher one.
        with self._raising:
            if epoch < self.epoch:
                return HostRefusal(reason="StaleEpoch", message=f"epoch {epoch} is over; {self.epoch} has been seen", epoch=self.epoch)
            if epoch > self.epoch:
                records.write_json(self.layout.epoch, {"epoch": epoch})
                self.epoch = epoch
        return None

    def answered(self, command_id: str) -> CommandResult | None:
        """What that command was answered, when it has been before. An answer that cannot be read says nothing: it is done again."""
        try:
            result = msgspec.json.decode(self._path(command_id).read_bytes(), type=CommandResult)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return msgspec.structs.replace(result, repeated=True) if result.command_id == command_id else None

    def remember(self, request: CommandRequest, result: CommandResult) -> None:
        """Keep the answer; on disk when this returns. The oldest answers beyond COMMANDS_KEPT are forgotten."""
        records.write(self._path(request.command_id), msgspec.json.encode(result))
        kept = list(self.layout.commands.glob("*.json"))
        if len(kept) > COMMANDS_KEPT:
            kept.sort(key=lambda path: path.stat().st_mtime)
            for old in kept[: len(kept) - COMMANDS_KEPT // 2]:
                old.unlink(missing_ok=True)

    def _path(self, command_id: str) -> Path:
        return self.layout.commands / f"{hashlib.sha256(command_id.encode()).hexdigest()[:32]}.json"
