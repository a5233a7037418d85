"""The fence: which epoch is the highest, however the callers' threads come."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import CommandRequest, CommandResult, ForgetReplica
from fleetform.host import records
from fleetform.host.fence import Fence
from fleetform.host.layout import Layout

OVERTAKES_S = 0.3
"""What an epoch that overtakes another one needs for it."""
GIVES_UP_S = 20.0


def test_of_two_epochs_that_come_at_once_the_higher_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}))
    fence, write = Fence(layout), records.write_json
    is_writing, may_go = threading.Event(), threading.Event()

    def slowly(path: Path, value: dict[str, Any]) -> None:
        if value == {"epoch": 5}:
            is_writing.set()
            may_go.wait(GIVES_UP_S)
        write(path, value)

    monkeypatch.setattr(records, "write_json", slowly)
    with ThreadPoolExecutor(2) as pool:
        lower = pool.submit(fence.refusal, 5)
        is_writing.wait(GIVES_UP_S)
        higher = pool.submit(fence.refusal, 6)
        wait({higher}, timeout=OVERTAKES_S)
        may_go.set()
        assert (lower.result(), higher.result()) == (None, None)
    assert fence.epoch == 6
    assert Fence(layout).epoch == 6
    refused = fence.refusal(5)
    assert refused is not None
    assert refused.reason == "StaleEpoch"


def test_an_answer_that_cannot_be_read_lets_the_command_be_done_again(tmp_path: Path) -> None:
    layout = Layout(fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}))
    fence = Fence(layout)
    request = CommandRequest(protocol_version=1, epoch=1, command_id="c1", command=ForgetReplica(replica_id="r1"))
    fence.remember(request, CommandResult(command_id="c1", accepted=True))
    assert fence.answered("c1") is not None
    next(layout.commands.glob("*.json")).write_bytes(b'{"command_id": "c')
    assert fence.answered("c1") is None
