"""A machine for tests: a host worker, with or without its supervisor, in a temporary home; asked over its socket as a server asks it."""

import asyncio
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from fleetform import settings as fleetform_settings
from fleetform.cli import programs
from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.model import Manifest, ManifestFile, ModelFormat, Task
from fleetform.domain.protocol import (
    ArtifactReport,
    ArtifactState,
    Command,
    CommandRequest,
    CommandResult,
    ForgetReplica,
    HostRefusal,
    HostReplica,
    HostReplicaState,
    HostReport,
    LogText,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import Member
from fleetform.domain.rollout import Track
from fleetform.host import processes
from fleetform.host.artifacts.manifest import digest_of
from fleetform.host.children import recorded_identity
from fleetform.host.layout import Layout
from fleetform.host.processes import Identity
from fleetform.host.zygote import client as zygote
from tests.harness.waiting import until
from tests.host.descendants import descendants, reap

PR_SET_CHILD_SUBREAPER = 36
STUB = Path(__file__).parents[1] / "engines" / "stub.py"
STUB_ARGV = [
    *(sys.executable, "-S", str(STUB)),
    *("--socket", "{socket}", "--model-dir", "{model_dir}"),
    *("--served-name", "{served_name}", "--instance", "{instance}", "--context-length", "{context_length}"),
]
START_TIMEOUT_S = 30


class Machine:
    """One home. `start_worker` or `start_supervisor` first. Everything that descends from it is ended on exit, whatever happened."""

    def __init__(self, variables: dict[str, str] | None = None) -> None:
        # Orphans of this machine become our children, so that none can be left behind.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.root = Path(tempfile.mkdtemp(prefix="ffh-", dir="/tmp"))
        self.variables = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ},
            "FLEETFORM_HOME": str(self.root / "home"),
            "XDG_RUNTIME_DIR": str(self.root),
            **(variables or {}),
        }
        self.settings = fleetform_settings.load(self.variables)
        self.log = self.root / "machine.log"
        self.epoch = 1
        self._before = {child.pid for child in descendants(os.getpid())}
        self._commands = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Parents first: a supervisor or worker would start anew what was ended.
        while left := [child for child in descendants(os.getpid()) if child.pid not in self._before]:
            for child in left:
                processes.send(child, signal.SIGKILL)
            reap()
        # Orphans of other tests have somebody else to collect them; we would leave them zombies.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if kind is not None and self.log.exists():
            print(self.log.read_text()[-6000:])
        shutil.rmtree(self.root, ignore_errors=True)

    # programs

    def start_worker(self) -> Identity:
        """Start a worker and wait until it answers."""
        return self._start("fleetform.host.worker", lambda: self.answers())

    def start_supervisor(self) -> Identity:
        """Start a supervisor and wait until it has written its record."""
        record = self.settings.home / "host" / "supervisor.json"
        before = record.read_bytes() if record.exists() else b""
        return self._start("fleetform.host.supervisor", lambda: record.exists() and record.read_bytes() != before)

    def start_zygote(self, timeout_s: float = 240) -> Identity:
        """Have the supervisor start the zygote, as `fleetform up` describes it, and wait until it listens."""
        spec = next(spec for spec in programs.specs(self.settings, self.variables) if spec["name"] == programs.ZYGOTE)
        (self.settings.home / "host" / "children" / "zygote.json").write_text(json.dumps({**spec, "start_after": []}))
        supervisor = recorded_identity(self.settings.home / "host" / "supervisor.json")
        assert supervisor is not None
        processes.send(supervisor, signal.SIGHUP)
        return self.await_zygote(timeout_s)

    def await_zygote(self, timeout_s: float = 240) -> Identity:
        """Wait until a zygote listens."""
        layout = Layout(self.settings)
        until("the zygote listens", lambda: asyncio.run(zygote.unready(layout.zygote, layout.zygote_record, 0)) == "", timeout_s=timeout_s)
        found = recorded_identity(layout.zygote_record)
        assert found is not None
        return found

    def write_child(self, name: str, argv: list[str], **fields: Any) -> Path:
        """Describe a child of the supervisor; it takes effect at its start or on SIGHUP."""
        children = self.settings.home / "host" / "children"
        children.mkdir(parents=True, exist_ok=True)
        spec = {"name": name, "argv": argv, "env": self.variables, "cwd": str(self.root), "log": str(self.log), **fields}
        (children / f"{name}.json").write_text(json.dumps(spec))
        return children / f"{name}.json"

    def kill(self, identity: Identity) -> None:
        """SIGKILL, and wait until it is gone."""
        processes.send(identity, signal.SIGKILL)
        self.await_end(identity)

    def await_end(self, identity: Identity, timeout_s: float = 15) -> None:
        """Wait until that process has ended."""

        def gone() -> bool:
            reap()
            return not processes.alive(identity)

        until(f"process {identity.pid} ends", gone, timeout_s=timeout_s)

    # protocol

    def answers(self) -> bool:
        """True when a worker answers on the socket."""
        try:
            return self.call("GET", "/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def call(self, method: str, path: str, body: Any = None, **parameters: Any) -> httpx2.Response:
        transport = httpx2.HTTPTransport(uds=str(self.settings.host_socket))
        with httpx2.Client(transport=transport, base_url="http://host", timeout=70) as http:
            content = None if body is None else msgspec.json.encode(body)
            return http.request(method, path, content=content, params=parameters, headers={"content-type": "application/json"})

    def command(self, command: Command, command_id: str | None = None, epoch: int | None = None) -> CommandResult:
        """Send a command and expect it to be taken."""
        response = self.send(command, command_id, epoch)
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content, type=CommandResult)

    def refused(self, command: Command, **fields: Any) -> HostRefusal:
        """Send a command and expect it to be refused."""
        response = self.send(command, **fields)
        assert response.status_code == 409, response.text
        return msgspec.json.decode(response.content, type=HostRefusal)

    def send(self, command: Command, command_id: str | None = None, epoch: int | None = None, protocol_version: int = 1) -> httpx2.Response:
        self._commands += 1
        request = CommandRequest(
            protocol_version=protocol_version,
            epoch=self.epoch if epoch is None else epoch,
            command_id=command_id or f"command-{os.getpid()}-{self._commands}",
            command=command,
        )
        return self.call("POST", "/v1/commands", request)

    def report(self, since: int = 0, wait_s: float = 0) -> HostReport:
        response = self.call("GET", "/v1/observe", since=since, wait_s=wait_s)
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content, type=HostReport)

    def replica(self, replica_id: str = "r1") -> HostReplica:
        return next(r for r in self.report().replicas if r.replica_id == replica_id)

    def await_state(self, state: HostReplicaState, replica_id: str = "r1", timeout_s: float = 30) -> HostReplica:
        """Follow the report until the replica is in that state, by long poll as a server does."""
        found: list[HostReplica] = []
        since = 0

        def there() -> bool:
            nonlocal since
            reap()
            report = self.report(since, wait_s=2)
            since = report.seq
            found.extend(r for r in report.replicas if r.replica_id == replica_id)
            return bool(found) and found[-1].state is state

        try:
            until(f"replica {replica_id} is {state}", there, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it was last {found[-1:]}") from error
        return found[-1]

    def log_lines(self, replica_id: str = "r1", lines: int = 200) -> tuple[str, ...]:
        response = self.call("GET", f"/v1/replicas/{replica_id}/log", lines=lines)
        return msgspec.json.decode(response.content, type=LogText).lines

    # replicas

    def model(self, name: str = "model", **stub: Any) -> tuple[str, Manifest]:
        """A small artifact whose files the stub engine reads its options from: its address, and its manifest."""
        folder = self.root / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"name": name}))
        (folder / "stub.json").write_text(json.dumps(stub))
        files = tuple(
            ManifestFile(path=path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(folder.iterdir())
        )
        manifest = Manifest(digest=digest_of(files), files=files, format=ModelFormat.SAFETENSORS, task=Task.GENERATE, context_length=2048)
        return f"file://{folder}/", manifest

    def start_replica(
        self,
        replica_id: str = "r1",
        *,
        engine: EngineSpec | None = None,
        devices: tuple[str, ...] = (),
        start_timeout_s: int = START_TIMEOUT_S,
        **stub: Any,
    ) -> StartReplica:
        """Command a replica of the stub engine with those options; the command that was sent."""
        artifact, manifest = self.model(replica_id, **stub)
        command = self.start_command(
            replica_id, artifact, manifest, engine=engine or EngineSpec(argv=STUB_ARGV), devices=devices, start_timeout_s=start_timeout_s
        )
        self.command(command)
        return command

    def start_command(
        self,
        replica_id: str,
        artifact: str,
        manifest: Manifest,
        *,
        engine: EngineSpec | None = None,
        engine_args: dict[str, str] | None = None,
        devices: tuple[str, ...] = (),
        start_timeout_s: int = START_TIMEOUT_S,
    ) -> StartReplica:
        """The command for a replica of an artifact; without an engine it is vLLM."""
        track = Track(
            track_id="v1.00000000",
            variant="v1",
            model_version="m:v1",
            artifact=artifact,
            manifest=manifest,
            engine="vllm" if engine is None else "stub",
            instance_type="cpu-small",
            shape=Shape(cpu_millis=500, memory_mib=5120),
            engine_args=engine_args or {},
            command=engine,
        )
        return StartReplica(
            replica_id=replica_id,
            project="acme",
            endpoint="chat",
            generation=1,
            nonce=f"n-{replica_id}",
            served_name="chat",
            track=track,
            prefixes=(f"file://{self.root}/models/",),
            members=(Member(host=self.report().host, devices=devices),),
            start_timeout_s=start_timeout_s,
            request_timeout_s=60,
            endpoint_uid="uid-chat",
        )

    def verify(self, artifact: str, **fields: Any) -> ArtifactReport:
        """Have an artifact verified; the outcome."""
        command = VerifyArtifact(version_uid=f"uid-{artifact}", artifact=artifact, prefixes=(f"file://{self.root}/models/",), **fields)
        self.command(command)

        def outcome() -> ArtifactReport | None:
            found = [a for a in self.report().artifacts if a.version_uid == command.version_uid]
            return next((a for a in found if a.state is not ArtifactState.VERIFYING), None)

        return until(f"{artifact} is verified", outcome)

    def serving(self, replica_id: str = "r1", **fields: Any) -> HostReplica:
        """Command a replica and wait until it serves."""
        self.start_replica(replica_id, **fields)
        return self.await_state(HostReplicaState.SERVING, replica_id)

    def stop_replica(self, replica_id: str = "r1", drain_timeout_s: int = 0, *, keep_warm: bool = False) -> CommandResult:
        return self.command(StopReplica(replica_id=replica_id, drain_timeout_s=drain_timeout_s, keep_warm=keep_warm))

    def forget_replica(self, replica_id: str = "r1") -> CommandResult:
        return self.command(ForgetReplica(replica_id=replica_id))

    def ask(self, replica: HostReplica, **fields: Any) -> httpx2.Response:
        """A chat completion from the engine itself, past any proxy."""
        path = getattr(replica.address, "path", None)
        transport = httpx2.HTTPTransport(uds=path)
        body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], **fields}
        with httpx2.Client(transport=transport, base_url=f"http://127.0.0.1:{getattr(replica.address, 'port', 80)}", timeout=30) as http:
            return http.post("/v1/chat/completions", json=body)

    def _start(self, module: str, ready: Callable[[], bool]) -> Identity:
        with self.log.open("ab") as log:
            words = [sys.executable, "-m", module]
            child = subprocess.Popen(
                words, env=self.variables, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        child.returncode = 0  # reaped by `reap`, with all other descendants
        identity = processes.identify(child.pid)
        assert identity is not None

        def up() -> bool:
            reap()
            if not processes.alive(identity):
                raise RuntimeError(f"{module} ended:\n{self.log.read_text()[-3000:]}")
            return ready()

        until(f"{module} is up", up, timeout_s=30)
        return identity


def identity_of(replica: HostReplica) -> Identity:
    """The leader of a replica's process group."""
    process = replica.members[0].process
    assert process is not None
    return Identity(**msgspec.structs.asdict(process))
