"""A zygote on a machine with a device: it forks vLLM, which serves from there as one that was started plainly does, and sooner.

One model, started twice. Nothing is compiled or captured, so that both starts do the same but for what they import.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform.host import processes
from fleetform.host.ledger import MEMORY_BACK_TOLERANCE_MIB
from fleetform.host.record import domain_identity
from tests.engines.tiny_models import write_tiny_chat_model
from tests.gpu.bench import Bench

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(290)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder: Path = tmp_path_factory.mktemp("models") / "random"
    write_tiny_chat_model(folder, seed=1, layers=4, width=2048)
    yield folder
    shutil.rmtree(folder)


def test_an_engine_is_forked_serves_and_gives_its_device_back(model: Path) -> None:
    asyncio.run(_plain_and_forked(model))


async def _plain_and_forked(model: Path) -> None:
    async with Bench(model, {"enforce_eager": "true"}) as bench:
        idle = bench.device.memory_free_idle_mib
        plain = await bench.start("r1")
        assert bench.shown("r1").message == "started plainly: no zygote runs"
        say(f"plain start {plain:.1f} s, {bench.phases('r1')}; {bench.memory_words()}")
        words = await bench.says("r1")
        await bench.stop("r1", keep_warm=False)

        unready = await bench.start_zygote()
        assert not unready, f"{unready}\n{bench.zygote_log()}"
        free = await bench.free_mib()
        assert free >= idle - MEMORY_BACK_TOLERANCE_MIB, "the zygote holds memory of the device"
        forked = await bench.start("r2")
        shown = bench.shown("r2")
        say(f"forked start {forked:.1f} s, {bench.phases('r2')}; {bench.memory_words()}")
        assert shown.message == "", f"{shown.message}\n{bench.zygote_log()}"
        assert {"fork", "launch"} & set(bench.phases("r2")) == {"fork"}
        assert await bench.says("r2") == words, "the same weights on the same device"
        assert bench.trust.has_served(domain_identity(bench.zygote))
        _is_all_forked(bench)
        assert forked < plain

        await bench.stop("r2", keep_warm=False)
        assert bench.living() == []
        assert await bench.ledger.busy([bench.device.uuid]) is None, "its memory is back"
        assert processes.alive(bench.zygote), "it is there for the next"
        say(f"ended: {await bench.free_mib()} MiB free, {idle} when idle")


def _is_all_forked(bench: Bench) -> None:
    """The engine is a child of the zygote, and all of vLLM's processes have mapped what only a fork of it inherits."""
    living = bench.living()
    parents = {stat.pid: stat.parent for stat in processes.all_stats()}
    assert parents[bench.pid("r2")] == bench.zygote.pid
    mapped = str(bench.layout.work("r2") / processes.MAP)
    others = [Path(f"/proc/{found.pid}") for found in living if mapped not in Path(f"/proc/{found.pid}/maps").read_text()]
    spawned = [(process / "cmdline").read_text().replace("\0", " ") for process in others]
    say(f"{len(living)} processes, of which not forked: {spawned or 'none'}")
    assert len(living) - len(spawned) >= 2, "the server and the engine's core"
    assert not [words for words in spawned if "VLLM::" in words]


def say(text: str) -> None:
    """For whoever runs it with -s: the figures."""
    print(f"[zygote] {text}", flush=True)
