"""The programs that make up Fleetform on this machine, as the supervisor is told of them: one file each in host/children.

A file holds all that its program depends on and nothing else, so that writing it again restarts nothing, and a changed setting
restarts only the programs that see it. That is why the shell's own environment is not handed on, and why the digest of the code is:
a release that is installed over another has the same command lines.
"""

import hashlib
import importlib.util
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fleetform
from fleetform.errors import SetupError
from fleetform.gateway.bootstrap import exchangeable_envoy_argv, write_bootstrap
from fleetform.host import postgres, records, undying
from fleetform.host.engines import vllm
from fleetform.host.engines.base import standing_environment
from fleetform.host.layout import Layout
from fleetform.host.zygote import vllm as zygote_vllm
from fleetform.settings import Settings, load

POSTGRES, WORKER, ACTIVATOR, ENVOY, SERVER = "postgres", "worker", "activator", "envoy", "server"
ZYGOTE = "zygote"
PACKAGE = Path(fleetform.__file__).parent

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HANDED_ON = ("AWS_", "CUDA_", "NVIDIA_", "NCCL_", "VLLM_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LD_LIBRARY_PATH")
"""What the worker needs of the shell's environment, to reach artifacts and devices, by the beginning of the name."""


def write_all(settings: Settings, environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Write Envoy's bootstrap and the file of every program, and remove the file of one that is no longer wanted.

    Returns the names of those that are not as they were before.
    """
    write_bootstrap(settings)
    folder = records.private_directory(settings.home / "host" / "children")
    wanted = {spec["name"]: spec for spec in specs(settings, environ)}
    changed = {path.stem for path in folder.glob("*.json")} - wanted.keys()
    for name in changed:
        records.remove(folder / f"{name}.json")
    for name, spec in wanted.items():
        path = folder / f"{name}.json"
        if records.read_json(path) != spec:
            records.write_json(path, spec)
            changed.add(name)
    return frozenset(changed)


def specs(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every program, in the order of their start; they stop in the opposite order."""
    ours = _own_environment(settings, environ)
    machine = {name: value for name, value in environ.items() if name.startswith(_HANDED_ON)}
    database = {"FLEETFORM_DATABASE_URL": settings.database_url} if settings.database_url is not None else {}
    embedded = settings.database_url is None
    server = _spec(settings, SERVER, 50, _fleetform("server"), {**ours, **database}, stop_timeout_s=20)
    server["start_after"] = [str(postgres.socket_path(settings))] if embedded else []
    worker_sockets = [settings.host_socket, settings.ads_socket, settings.waiting_socket]
    found = [
        _spec(settings, WORKER, 20, _fleetform("host", "worker"), {**ours, **machine}, stop_timeout_s=20, sockets=worker_sockets),
        _spec(settings, ACTIVATOR, 30, _fleetform("host", "activator"), ours, stop_timeout_s=10, sockets=[settings.activator_socket]),
        _envoy(settings),
        server,
    ]
    if embedded:
        found.insert(0, _postgres(settings))
    if settings.zygote and settings.driver == "local" and importlib.util.find_spec("vllm") is not None:
        found.append(_zygote(settings, environ))
    return found


def served_mark(settings: Settings) -> Path:
    """A file that is there once everything has served. What is in no hurry starts after it, so that `up` takes no longer for it."""
    return settings.home / "host" / "served"


def _zygote(settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """It is started like an engine: what it is given, every engine has."""
    layout = Layout(settings)
    env = standing_environment(layout.engine_cache, {**environ, **_base_environment()}) | vllm.STANDING | zygote_vllm.ENVIRONMENT
    return _spec(
        settings,
        ZYGOTE,
        60,
        (sys.executable, "-P", "-m", "fleetform.host.zygote", str(settings.zygote_socket), str(layout.exits), zygote_vllm.__name__),
        env,
        stop_timeout_s=5,
        start_after=[str(served_mark(settings))],
        sockets=[settings.zygote_socket],
    )


def _envoy(settings: Settings) -> dict[str, Any]:
    argv = (sys.executable, "-I", "-S", undying.__file__, *exchangeable_envoy_argv(settings))
    spec = _spec(settings, ENVOY, 40, argv, {}, stop_timeout_s=10, start_after=[str(settings.ads_socket)])
    return {**spec, "exchange": True}


def _postgres(settings: Settings) -> dict[str, Any]:
    return _spec(
        settings,
        POSTGRES,
        10,
        postgres.argv(settings),
        {},
        stop_timeout_s=60,
        stop_signal="SIGINT",
        sockets=[postgres.socket_path(settings)],
        cwd=postgres.data_dir(settings),
    )


def in_force(ours: Settings) -> Settings:
    """The settings that the server of this home was started with, whatever the shell says now; ours where there is none."""
    spec = records.read_json(ours.home / "host" / "children" / f"{SERVER}.json")
    return ours if spec is None else load(spec["env"])


def of_the_server(ours: Settings) -> Settings:
    """The same, for what works on the server's machine alone. SetupError where no server was ever started, nor its database is named."""
    found = in_force(ours)
    if found is ours and ours.database_url is None and not postgres.data_dir(ours).exists():
        raise SetupError(f"there is no Fleetform in {ours.home}: set FLEETFORM_HOME to the folder that `fleetform up` has used")
    return found


def supervisor_argv(settings: Settings) -> tuple[str, ...]:
    """The root process of this home."""
    return (*_fleetform("host", "supervisor"), "--home", str(settings.home))


def supervisor_environment(settings: Settings) -> dict[str, str]:
    """All that the supervisor needs: its children get their own from their files."""
    return {**_base_environment(), "FLEETFORM_HOME": str(settings.home)}


def _fleetform(*words: str) -> tuple[str, ...]:
    """Our own program, by absolute path, so that a list of processes shows whose it is."""
    script = Path(sys.executable).with_name("fleetform")
    if not script.exists():
        raise SetupError(f"{script} does not exist; install fleetform with pip or uv into the environment of {sys.executable}")
    return (sys.executable, str(script), *words)


def _spec(
    settings: Settings,
    name: str,
    order: int,
    argv: tuple[str, ...],
    env: dict[str, str],
    *,
    stop_timeout_s: int,
    stop_signal: str = "SIGTERM",
    start_after: Sequence[str] = (),
    sockets: Sequence[Path] = (),
    cwd: Path | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "order": order,
        "argv": list(argv),
        "env": {**_base_environment(), **env},
        "cwd": str(cwd or settings.home),
        "log": str(settings.home / "logs" / f"{name}.log"),
        "start_after": list(start_after),
        "sockets": list(map(str, sockets)),
        "stop_signal": stop_signal,
        "stop_timeout_s": stop_timeout_s,
    }


def _base_environment() -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        "HOME": _home_directory(),
        "LANG": "C.UTF-8",
    }


def _home_directory() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a user that only the container's runtime knows of
        return "/"


def _own_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The FLEETFORM_ settings in force. Secrets stay out: the database's address goes to the server alone, a client's token to nobody."""
    kept_out = ("FLEETFORM_DATABASE_URL", "FLEETFORM_TOKEN", "FLEETFORM_PROJECT", "FLEETFORM_BASE_URL")
    given = {name: value for name, value in environ.items() if name.startswith("FLEETFORM_") and name not in kept_out and value}
    return {**given, "FLEETFORM_HOME": str(settings.home), "FLEETFORM_CODE": _code()}


def _code() -> str:
    """A digest of every file of our package, but for what Python compiles from them."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            content = path.read_bytes()
            found.update(f"{path.relative_to(PACKAGE)} {len(content)}\n".encode() + content)
    return found.hexdigest()
