"""Real vLLM from a real zygote: what a plain start promises holds for a forked one, whoever is killed meanwhile."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetform.domain.model import Manifest, Task
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.host import processes
from fleetform.host.engines.base import standing_environment
from fleetform.host.engines.vllm import STANDING
from fleetform.host.processes import Identity
from fleetform.host.zygote import vllm
from tests.engines.tiny_models import write_tiny_chat_model, write_tiny_embedding_model
from tests.host.machine import Machine, identity_of

S = HostReplicaState
START_TIMEOUT_S = 500

PREPARE = """
import json, os, sys
loaded = []
sys.addaudithook(lambda event, words: loaded.append(str(words[0])) if event == "ctypes.dlopen" else None)
from fleetform.host.zygote import vllm
refusal = vllm.prepare()
loaded = [name for name in loaded if "libnvidia-ml" in name]
threads = len(os.listdir("/proc/self/task"))
print(json.dumps({"refusal": refusal, "loaded": loaded, "threads": threads, "environ": vllm._as_imported({})}))
"""

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_engines_are_forked_whoever_dies(machine: Machine) -> None:
    supervisor = machine.start_supervisor()
    worker = machine.start_worker()
    zygote = machine.start_zygote()
    manifest = a_chat_model(machine)

    # Forked, and in every respect an engine of its own.
    replica = started(machine, "r1", "tiny", manifest)
    assert [phase.name for phase in replica.phases] == ["fetch", "verify", "fork", "load", "warm-up", "canary"]
    assert all(phase.ended_at is not None for phase in replica.phases)
    assert replica.message == ""
    leader = identity_of(replica)
    assert answers(machine, replica)
    group = processes.group(leader, machine.root).ours
    assert len(group) >= 3
    assert zygote not in group
    assert "my-secret" not in "\n".join(machine.log_lines(lines=5000))

    # Nobody's death ends it.
    machine.kill(zygote)
    machine.kill(worker)
    machine.kill(supervisor)
    assert answers(machine, replica)
    machine.start_supervisor()
    machine.start_worker()
    assert machine.await_state(S.SERVING).members == replica.members
    assert answers(machine, replica)

    # The supervisor starts a new zygote, and the next start is forked again.
    machine.await_zygote()
    again = started(machine, "r2", "tiny", manifest)
    assert "launch" not in [phase.name for phase in again.phases]
    machine.stop_replica("r2")
    machine.stop_replica("r1")
    for replica_id in ("r1", "r2"):
        gone = machine.await_state(S.EXITED, replica_id, timeout_s=60)
        assert gone.failure is None
    assert gone.exit_code == 0
    assert processes.group(leader, machine.root).ours == ()


def test_a_killed_part_of_a_forked_engine_ends_all_of_it_and_is_told(machine: Machine) -> None:
    machine.start_supervisor()
    machine.start_worker()
    machine.start_zygote()
    replica = started(machine, "r1", "tiny", a_chat_model(machine))
    leader = identity_of(replica)
    core = next(m for m in processes.group(leader, machine.root).ours if b"EngineCore" in cmdline(m))
    processes.send(core, signal.SIGKILL)
    failed = machine.await_state(S.EXITED, timeout_s=30)
    assert failed.failure is not None
    assert failed.failure.value == "Crashed"
    assert failed.message == f"the engine's process VLLM::EngineCore (pid {core.pid}) was ended by signal 9"
    assert failed.exit_code is not None
    assert processes.group(leader, machine.root).ours == ()


def test_an_embedding_model_and_a_model_that_fails_are_forked_too(machine: Machine) -> None:
    machine.start_supervisor()
    machine.start_worker()
    machine.start_zygote()
    folder = machine.root / "models" / "minilm"
    write_tiny_embedding_model(folder)
    manifest = machine.verify(f"file://{folder}/").manifest
    assert manifest is not None
    assert manifest.task is Task.EMBED
    assert "fork" in [phase.name for phase in started(machine, "r1", "minilm", manifest).phases]
    machine.stop_replica("r1")

    odd = machine.root / "models" / "odd"
    write_tiny_chat_model(odd, seed=1)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchForCausalLM"]}))
    refused = machine.verify(f"file://{odd}/").manifest
    assert refused is not None
    machine.command(machine.start_command("r2", f"file://{odd}/", refused, start_timeout_s=START_TIMEOUT_S))
    failed = machine.await_state(S.EXITED, "r2", timeout_s=60)
    assert failed.exit_code == 1
    assert any("NoSuchForCausalLM" in line for line in failed.log_tail)


def test_it_is_prepared_without_nvml(tmp_path: Path) -> None:
    """On a machine with two devices, as far as vLLM can tell: it asks NVML of them also when it is built for CPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor n in 0 1; do echo "$n, GPU-$n, NVIDIA H200, 9.0, 580.159.03"; done\n')
    program.chmod(0o700)
    environ = {**standing_environment(tmp_path), **STANDING, **vllm.ENVIRONMENT}
    words = [sys.executable, "-c", PREPARE]
    told = subprocess.run(words, env={**environ, "PATH": f"{tmp_path}:{environ['PATH']}"}, capture_output=True, text=True, check=True)
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts["refusal"] == ""
    assert facts["loaded"] == []
    assert facts["threads"] == 1
    assert facts["environ"]["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1", "vLLM keeps torch from initialising CUDA by this"


def test_it_is_quick(machine: Machine) -> None:
    """Far below any plain start; the ratio is measured by `make bench F=F1`."""
    machine.start_supervisor()
    machine.start_worker()
    machine.start_zygote()
    manifest = a_chat_model(machine)
    begun = time.monotonic()
    started(machine, "r1", "tiny", manifest)
    assert time.monotonic() - begun < 15


def a_chat_model(machine: Machine) -> Manifest:
    folder = machine.root / "models" / "tiny"
    write_tiny_chat_model(folder, seed=1)
    manifest = machine.verify(f"file://{folder}/").manifest
    assert manifest is not None
    return manifest


def started(machine: Machine, replica_id: str, model: str, manifest: Manifest) -> HostReplica:
    artifact = f"file://{machine.root / 'models' / model}/"
    machine.command(machine.start_command(replica_id, artifact, manifest, start_timeout_s=START_TIMEOUT_S))
    return machine.await_state(S.SERVING, replica_id, timeout_s=START_TIMEOUT_S)


def answers(machine: Machine, replica: HostReplica) -> bool:
    answer = machine.ask(replica, messages=[{"role": "user", "content": "my-secret"}], max_tokens=4)
    return bool(answer.json()["usage"]["completion_tokens"] == 4)


def cmdline(identity: Identity) -> bytes:
    return Path(f"/proc/{identity.pid}/cmdline").read_bytes()
