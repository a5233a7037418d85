"""One machine's host parts in this process, over its real devices: no worker, no proxy, no artifact cache between a test and an engine."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import httpx2

from fleetform import settings as configuration
from fleetform.domain.machine import Device, Shape
from fleetform.domain.model import Manifest, ManifestFile, ModelFormat, Task
from fleetform.domain.protocol import HostReplica, HostReplicaState, StartReplica, StopReplica, VerifyArtifact
from fleetform.domain.replica import Member, Unix
from fleetform.domain.rollout import Track
from fleetform.host import ledger, probe, processes, records
from fleetform.host.board import Board
from fleetform.host.children import recorded_identity
from fleetform.host.engines.base import standing_environment
from fleetform.host.engines.vllm import STANDING
from fleetform.host.layout import Layout
from fleetform.host.memory import memory_mib
from fleetform.host.parts import Host, Progress
from fleetform.host.pool.pool import WarmPool
from fleetform.host.processes import Identity
from fleetform.host.replicas import Replicas
from fleetform.host.snapshots.snapshots import Snapshots
from fleetform.host.zygote import client as zygote
from fleetform.host.zygote.trust import Trust
from fleetform.host.zygote.vllm import ENVIRONMENT

T = TypeVar("T")
S = HostReplicaState
START_S = 400
PROMPT = "abcabcabc"


class Folder:
    """Artifacts that lie where they are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def verify(self, command: VerifyArtifact, on_progress: Progress) -> Manifest:
        raise AssertionError("a start verifies no new artifact")

    async def ensure(
        self, manifest: Manifest, artifact: str, prefixes: tuple[str, ...], on_progress: Progress, *, convert: bool = True
    ) -> Path:
        return self.path

    def holds(self, manifest: Manifest) -> bool:
        return True

    def pin(self, digest: str, holder: str) -> None:
        """Nothing is ever evicted."""

    def unpin(self, digest: str, holder: str) -> None:
        """Nothing was pinned."""


class NoProxy:
    """No proxy runs here."""

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]:
        return {}

    def alive(self) -> bool:
        return False

    def take_out(self, replica_ids: frozenset[str]) -> None:
        """Nobody is in rotation."""

    async def taken(self, limit_s: float) -> None:
        """There is nobody to take anything."""


class Bench:
    """Open it with `async with`; on exit everything that it started has ended."""

    def __init__(self, model: Path, engine_args: dict[str, str] | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ffg-", dir="/tmp"))
        settings = configuration.load({"FLEETFORM_HOME": str(self.root / "home"), "XDG_RUNTIME_DIR": str(self.root)})
        records.private_directory(settings.run)
        self.layout = Layout(settings)
        self.model = model
        self.engine_args = engine_args or {}
        self._zygote: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> "Bench":
        self.ledger = await ledger.discover("gpu-host", None, None, {})
        self.board = Board(self.ledger.capacity)
        self.pool = WarmPool(self.layout, self.board, self.ledger, 3600)
        self.trust = Trust(self.layout.trust)
        host = Host(
            layout=self.layout,
            board=self.board,
            ledger=self.ledger,
            artifacts=Folder(self.model),
            proxy=NoProxy(),
            pool=self.pool,
            snapshots=Snapshots(self.layout, self.board, "", 0, 3600),
            trust=self.trust,
        )
        self.replicas = Replicas(host)
        self.replicas.adopt()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is not None:
            for log in self.layout.logs.glob("*.log"):
                print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-60:]))
        await self.replicas.stop_all()
        await self.replicas.let_go()
        await self.pool.let_go()
        if self._zygote is not None:
            self._zygote.terminate()
            self._zygote.wait(timeout=30)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def device(self) -> Device:
        return self.ledger.capacity.devices[0]

    async def free_mib(self) -> int:
        return (await self.ledger.memory_free([self.device.uuid]))[self.device.uuid]

    async def start(self, replica_id: str, endpoint: str = "chat") -> float:
        """Start the model as a replica of endpoint and wait until it serves; the seconds that took."""
        begun = time.monotonic()
        await self.replicas.start(self._command(replica_id, endpoint))
        await self.until(f"{replica_id} serves", lambda: self._is(replica_id, S.SERVING), START_S)
        return time.monotonic() - begun

    async def stop(self, replica_id: str, *, keep_warm: bool) -> float:
        """Stop a replica and wait until it has exited; the seconds that took."""
        begun = time.monotonic()
        await self.replicas.stop(StopReplica(replica_id=replica_id, drain_timeout_s=0, keep_warm=keep_warm))
        await self.until(f"{replica_id} has exited", lambda: self.shown(replica_id).state is S.EXITED, START_S)
        return time.monotonic() - begun

    async def says(self, replica_id: str, tokens: int = 24) -> str:
        """What the replica makes of PROMPT, the most likely token each time."""
        address = self.shown(replica_id).address
        assert isinstance(address, Unix)
        async with probe.client(address) as http:
            endpoint = self.replicas.replicas[replica_id].record.start.served_name
            body = {"model": endpoint, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
            answer: httpx2.Response = await http.post("/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["text"])

    def shown(self, replica_id: str) -> HostReplica:
        return self.board.replicas[replica_id]

    def pid(self, replica_id: str) -> int:
        process = self.shown(replica_id).members[0].process
        assert process is not None
        return process.pid

    def phases(self, replica_id: str) -> dict[str, float]:
        """Phase → seconds, of those that have ended."""
        return {p.name: round((p.ended_at - p.started_at).total_seconds(), 2) for p in self.shown(replica_id).phases if p.ended_at}

    async def until(self, what: str, probe: Callable[[], T | None], timeout_s: float) -> T:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = probe()
            if value:
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {timeout_s} s: {what}; the board says {self.board.replicas}")

    async def start_zygote(self) -> str:
        """Start a zygote and wait until it listens; why it forks nothing, or nothing."""
        log = (self.root / "zygote.log").open("wb")
        words = [
            sys.executable,
            "-m",
            "fleetform.host.zygote",
            str(self.layout.zygote),
            str(self.layout.exits),
            "fleetform.host.zygote.vllm",
        ]
        env = {**standing_environment(self.layout.engine_cache), **STANDING, **ENVIRONMENT}
        self._zygote = subprocess.Popen(words, env=env, cwd=self.root, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        identity = processes.identify(self._zygote.pid)
        assert identity is not None
        self.layout.zygote_record.parent.mkdir(parents=True, exist_ok=True)
        records.write_json(self.layout.zygote_record, {"identity": identity._asdict()})
        return await zygote.unready(self.layout.zygote, self.layout.zygote_record, 240)

    @property
    def zygote(self) -> Identity:
        """The zygote that was started."""
        found = recorded_identity(self.layout.zygote_record)
        assert found is not None
        return found

    def memory_words(self) -> str:
        """What the engines' processes have of the host's memory by the kernel's word, and what the machine has left."""
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))
        return f"engines have {memory_mib(identity.pid for identity in self.living()) or 0} MiB of the host by /proc, {left} MiB are left"

    def zygote_log(self) -> str:
        return (self.root / "zygote.log").read_text(errors="replace")[-2000:]

    def living(self) -> list[Identity]:
        """Processes of any engine of this bench."""
        found = []
        for stat in processes.all_stats():
            try:
                cwd = str(Path(f"/proc/{stat.pid}/cwd").readlink())
            except OSError:
                continue
            if stat.state not in "ZX" and cwd.startswith(str(self.layout.replicas)):
                found.append(processes.identify(stat.pid))
        return [identity for identity in found if identity is not None]

    def _is(self, replica_id: str, state: HostReplicaState) -> bool:
        seen = self.board.replicas.get(replica_id)
        assert seen is None or seen.state is not S.EXITED, f"{seen.failure}: {seen.message}\n" + "\n".join(seen.log_tail)
        return seen is not None and seen.state is state

    def _command(self, replica_id: str, endpoint: str) -> StartReplica:
        files = tuple(ManifestFile(path=file.name, size=file.stat().st_size, sha256="0" * 64) for file in sorted(self.model.iterdir()))
        manifest = Manifest(digest="d" * 64, files=files, format=ModelFormat.SAFETENSORS, task=Task.GENERATE, context_length=512)
        track = Track(
            track_id="v1.00000000",
            variant="v1",
            model_version="m:v1",
            artifact=f"file://{self.model}/",
            manifest=manifest,
            engine="vllm",
            instance_type="gpu",
            shape=Shape(cpu_millis=4000, memory_mib=16_384, accelerator=self.device.kind, accelerator_count=1),
            engine_args=self.engine_args,
        )
        return StartReplica(
            replica_id=replica_id,
            project="acme",
            endpoint=endpoint,
            endpoint_uid=f"uid-{endpoint}",
            generation=1,
            nonce=f"n-{replica_id}",
            served_name=endpoint,
            track=track,
            prefixes=(),
            members=(Member(host="gpu-host", devices=(self.device.uuid,)),),
            start_timeout_s=START_S,
            request_timeout_s=60,
        )
