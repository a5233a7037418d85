"""The warm pool with vLLM itself on a real device: what sleep gives back, what stays, who starts beside it, and what a wake takes.

FLEETFORM_GPU_MODEL=LAYERSxWIDTH sizes the model of random weights: 24x2048, which is 1.6 GB, unless it says otherwise.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform.host.ledger import MEMORY_BACK_TOLERANCE_MIB
from fleetform.host.pool import room
from tests.engines.tiny_models import write_tiny_chat_model
from tests.gpu.bench import Bench

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(580)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder: Path = tmp_path_factory.mktemp("models") / "random"
    layers, _, width = os.environ.get("FLEETFORM_GPU_MODEL", "24x2048").partition("x")
    write_tiny_chat_model(folder, seed=1, layers=int(layers), width=int(width))
    yield folder
    shutil.rmtree(folder)


def test_an_engine_sleeps_another_serves_beside_it_and_it_wakes_as_it_was(model: Path) -> None:
    asyncio.run(_sleep_and_wake(model))


def test_an_engine_that_is_forked_or_says_why_not_sleeps_and_wakes(model: Path) -> None:
    asyncio.run(_with_a_zygote(model))


async def _sleep_and_wake(model: Path) -> None:
    async with Bench(model) as bench:
        idle = bench.device.memory_free_idle_mib
        say(f"device {bench.device.kind}: {bench.device.memory_mib} MiB, {idle} free when idle; the pool has {bench.pool.budget_mib} MiB")
        cold = await bench.start("r1")
        say(f"cold start {cold:.1f} s, {bench.phases('r1')}; {await bench.free_mib()} MiB free")
        words, pid = await bench.says("r1"), bench.pid("r1")
        say(f"awake: {bench.memory_words()}")

        fell = await bench.stop("r1", keep_warm=True)
        assert list(bench.pool.ids) == ["r1"], "the engine was not kept; its log says why"
        (sleeper,) = bench.board.sleeping
        kept = bench.ledger.asleep_mib[bench.device.uuid]
        free = await bench.free_mib()
        say(f"fell asleep in {fell:.1f} s: {free} MiB free, {kept} MiB stay on the device, {sleeper.memory_mib} MiB of the host")
        say(f"asleep: {bench.memory_words()}")
        assert free >= idle - kept - MEMORY_BACK_TOLERANCE_MIB
        assert kept <= room.by_default(bench.device.memory_mib)
        assert await bench.ledger.busy([bench.device.uuid]) is None

        beside = await bench.start("r2", endpoint="other")
        assert list(bench.pool.ids) == ["r1"], "it had to make way"
        say(f"another endpoint's start beside it {beside:.1f} s, {bench.phases('r2')}; {await bench.free_mib()} MiB free")
        assert bench.pid("r2") != pid
        assert await bench.says("r2") == words, "the same weights"
        await bench.stop("r2", keep_warm=False)
        say(f"that one has ended: {await bench.free_mib()} MiB free")

        for number, (last, new) in enumerate([("r1", "r3"), ("r3", "r4")], start=1):
            if number > 1:
                await bench.stop(last, keep_warm=True)
            woke = await bench.start(new)
            say(f"wake {number}: {woke:.1f} s, {bench.phases(new)}; {await bench.free_mib()} MiB free")
            assert "wake" in bench.phases(new), bench.shown(new).message
            assert bench.pid(new) == pid
            assert await bench.says(new) == words, "its weights are what they were"
            assert woke < cold

        await bench.stop("r4", keep_warm=True)
        bench.pool.evict(["r1"])
        await bench.until("the sleeping engine has ended", lambda: not bench.pool.ids, 60)
        assert bench.living() == []
        assert await bench.ledger.busy([bench.device.uuid]) is None, "its memory is back"
        say(f"all ended: {await bench.free_mib()} MiB free")


async def _with_a_zygote(model: Path) -> None:
    async with Bench(model) as bench:
        unready = await bench.start_zygote()
        assert not unready, f"{unready}\n{bench.zygote_log()}"
        started = await bench.start("r1")
        shown = bench.shown("r1")
        say(f"start with a zygote {started:.1f} s, {bench.phases('r1')}; {shown.message or 'no message'}")
        if "launch" in bench.phases("r1"):
            assert shown.message.startswith("started plainly: "), f"{shown.message}\n{bench.zygote_log()}"
        words, pid = await bench.says("r1"), bench.pid("r1")
        fell = await bench.stop("r1", keep_warm=True)
        assert list(bench.pool.ids) == ["r1"], "the engine was not kept; its log says why"
        woke = await bench.start("r2")
        say(f"fell asleep in {fell:.1f} s, woke in {woke:.1f} s, {bench.phases('r2')}; device keeps {bench.ledger.asleep_mib}")
        assert bench.pid("r2") == pid
        assert await bench.says("r2") == words
        assert woke < started


def say(text: str) -> None:
    """For whoever runs it with -s: the figures."""
    print(f"[warm pool] {text}", flush=True)
