"""The `vllm` adapter (vLLM 0.32)."""

import sys

from fleetform.domain.engine_args import flags
from fleetform.domain.model import Task
from fleetform.domain.replica import Unix
from fleetform.host.engines.base import SHUTDOWN_TIMEOUT_S, Launch

CPU_CONTEXT_MAX = 2048
CPU_KV_CACHE_BYTES = 1024**3
STANDING = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
}
"""What is the same for every engine, and read by some libraries when they are imported: the zygote has it too."""


class Vllm:
    """vLLM's OpenAI server on a Unix socket. vLLM has no authentication of its own worth the name and never listens on a network."""

    health_path = "/health"
    speaks_openai = True
    on_port = False
    forks = True
    sleeps = True

    def argv(self, launch: Launch) -> tuple[str, ...]:
        """The server as a module: the program `vllm` of the CPU wheel looks for its own metadata under another name and fails."""
        assert isinstance(launch.address, Unix)
        args = {**self._defaults(launch), **launch.track.engine_args}
        return (
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(launch.model_dir)),
            *("--served-model-name", launch.served_name, launch.instance),
            *("--uds", launch.address.path),
            *("--load-format", "safetensors"),
            *("--runner", "pooling" if launch.track.manifest.task is Task.EMBED else "generate"),
            *("--shutdown-timeout", str(SHUTDOWN_TIMEOUT_S)),
            *("--middleware", "fleetform.host.middleware.RequestTimeout"),
            "--no-enable-log-requests",
            "--disable-uvicorn-access-log",
            "--disable-fastapi-docs",
            *(["--enable-sleep-mode"] if launch.sleeps else []),
            "--trust-remote-code" if launch.track.allow_remote_code else "--no-trust-remote-code",
            *flags(args),
        )

    def env(self, launch: Launch) -> dict[str, str]:
        """Offline, silent, on loopback, with its caches where they outlive it and its inner sockets where they do not."""
        env = {
            **STANDING,
            "VLLM_CACHE_ROOT": str(launch.compiled / "vllm"),
            "TORCHINDUCTOR_CACHE_DIR": str(launch.compiled / "inductor"),
            "TRITON_CACHE_DIR": str(launch.compiled / "triton"),
            "VLLM_RPC_BASE_PATH": str(launch.scratch),
            "VLLM_ENGINE_READY_TIMEOUT_S": str(launch.start_timeout_s),
        }
        if not launch.devices:
            # Several replicas share the cores of a small machine: bound to cores, all of them would sit on the first ones.
            env["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        return env

    def _defaults(self, launch: Launch) -> dict[str, str]:
        """Arguments that the track's own override. A CPU replica is made to fit the smallest instance type."""
        manifest = launch.track.manifest
        args: dict[str, str] = {}
        if launch.track.quantization:
            args["quantization"] = launch.track.quantization
        if launch.devices:
            if "pipeline_parallel_size" not in launch.track.engine_args:
                args["tensor_parallel_size"] = str(len(launch.devices))
            return args
        args |= {"enforce_eager": "true", "kv_cache_memory_bytes": str(CPU_KV_CACHE_BYTES)}
        if manifest.task is Task.GENERATE and manifest.context_length:
            args["max_model_len"] = str(min(manifest.context_length, CPU_CONTEXT_MAX))
        return args
