"""One frozen struct from the environment. Paths are made by whoever owns them, not here."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fleetform.errors import SetupError

SOCKET_DIR_MAX = 107 - 1 - 20
"""Room for a directory: a socket path has 107 bytes, and our socket names at most 20."""

EVENTS_DAYS_MAX = 36_500
DRIVERS = ("local", "fake")
LOG_LEVELS = ("info", "debug", "warning", "error", "critical")


class PeerRegion(msgspec.Struct, frozen=True):
    """A region whose keys are recognised, so that they can be told `wrong_region`. jwks: its public keys."""

    region: str
    host: str
    jwks: dict[str, list[dict[str, str]]]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are and who we are. Ports are on 127.0.0.1 unless listen_host says otherwise.

    database_url None: the embedded PostgreSQL of this home. cpu_millis, memory_mib None: what the machine has (cpu overcommitted
    four times, so that a two-core machine can hold old, new and an embedding engine). start_timeout_s: how long an engine may take to
    be ready, beside the transfer of its artifact. zygote False: no engine is forked, each is started plainly. warm_pool_mib: memory of
    this machine for sleeping engines, 0: none is kept; None: a quarter of it where it has devices. warm_pool_s: how long one may sleep.
    snapshots_mib: disk for engines that are taken from there in place of a start, 0: none is made.
    hold_requests, hold_mib: how many requests, and bytes of them, wait for a replica. host_lost_s: after how long a silence of its host
    a replica is replaced elsewhere. events_days: how long what is told of the past is kept.
    """

    home: Path
    run: Path
    database_url: str | None = None
    region: str = "local"
    peer_regions: tuple[PeerRegion, ...] = ()
    listen_host: str = "127.0.0.1"
    api_port: int = 7081
    gateway_port: int = 7080
    metrics_port: int | None = None
    public_gateway_url: str | None = None
    driver: str = "local"
    cpu_millis: int | None = None
    memory_mib: int | None = None
    max_body_mib: int = 16
    hold_requests: int = 1000
    hold_mib: int = 256
    start_timeout_s: int = 600
    host_lost_s: int = 60
    events_days: int = 90
    zygote: bool = True
    warm_pool_mib: int | None = None
    warm_pool_s: int = 3600
    snapshots_mib: int = 0
    log_level: str = "info"

    @property
    def gateway_url(self) -> str:
        """The OpenAI base URL of this region."""
        return self.public_gateway_url or f"{self.local_gateway_url}/v1"

    @property
    def local_gateway_url(self) -> str:
        """The gateway as this machine reaches it, without a path."""
        return f"http://{self._local_host}:{self.gateway_port}"

    @property
    def api_url(self) -> str:
        """The control API as this machine reaches it."""
        return f"http://{self._local_host}:{self.api_port}"

    @property
    def _local_host(self) -> str:
        if self.listen_host in ("0.0.0.0", "::"):  # noqa: S104  # read, not listened on
            return "127.0.0.1"
        return f"[{self.listen_host}]" if ":" in self.listen_host else self.listen_host

    @property
    def host_socket(self) -> Path:
        """The host worker's API."""
        return self.run / "host.sock"

    @property
    def zygote_socket(self) -> Path:
        """Where engines are forked from a process that has imported their software."""
        return self.run / "zygote.sock"

    @property
    def ads_socket(self) -> Path:
        """Delta ADS, served by the host worker to Envoy."""
        return self.run / "ads.sock"

    @property
    def activator_socket(self) -> Path:
        return self.run / "act.sock"

    @property
    def waiting_socket(self) -> Path:
        """Where the activator tells the host worker what waits."""
        return self.run / "wait.sock"

    @property
    def envoy_admin_socket(self) -> Path:
        return self.run / "envoy.sock"

    @property
    def postgres_socket_dir(self) -> Path:
        """PostgreSQL makes `.s.PGSQL.5432` in here."""
        return self.run

    @property
    def access_log(self) -> Path:
        """Envoy's access log: a JSON object per request."""
        return self.home / "logs" / "access.log"

    @property
    def signing_key(self) -> Path:
        return self.home / "keys" / "signing.pem"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from FLEETFORM_* variables; SetupError names the variable that is wrong."""
    home = Path(environ.get("FLEETFORM_HOME") or ".fleetform").resolve()
    peers_text = environ.get("FLEETFORM_PEER_REGIONS") or "[]"
    try:
        peers = msgspec.json.decode(peers_text.encode(), type=tuple[PeerRegion, ...])
    except msgspec.DecodeError as error:
        raise SetupError(f"FLEETFORM_PEER_REGIONS must be a JSON list of {{region, host, jwks}}: {error}") from error
    return Settings(
        home=home,
        run=run_dir(home, environ),
        database_url=environ.get("FLEETFORM_DATABASE_URL") or None,
        region=environ.get("FLEETFORM_REGION") or "local",
        peer_regions=peers,
        listen_host=environ.get("FLEETFORM_LISTEN_HOST") or "127.0.0.1",
        api_port=_port(environ, "FLEETFORM_API_PORT", 7081),
        gateway_port=_port(environ, "FLEETFORM_GATEWAY_PORT", 7080),
        metrics_port=_port(environ, "FLEETFORM_METRICS_PORT", 0) or None,
        public_gateway_url=environ.get("FLEETFORM_GATEWAY_URL") or None,
        driver=_choice(environ, "FLEETFORM_DRIVER", DRIVERS),
        cpu_millis=_number(environ, "FLEETFORM_CPU_MILLIS"),
        memory_mib=_number(environ, "FLEETFORM_MEMORY_MIB"),
        max_body_mib=_number(environ, "FLEETFORM_MAX_BODY_MIB") or 16,
        hold_requests=_number(environ, "FLEETFORM_HOLD_REQUESTS") or 1000,
        hold_mib=_number(environ, "FLEETFORM_HOLD_MIB") or 256,
        start_timeout_s=_number(environ, "FLEETFORM_START_TIMEOUT_S") or 600,
        host_lost_s=_number(environ, "FLEETFORM_HOST_LOST_S") or 60,
        events_days=_number(environ, "FLEETFORM_EVENTS_DAYS", most=EVENTS_DAYS_MAX) or 90,
        zygote=_switch(environ, "FLEETFORM_ZYGOTE"),
        warm_pool_mib=_number(environ, "FLEETFORM_WARM_POOL_MIB", least=0),
        warm_pool_s=_number(environ, "FLEETFORM_WARM_POOL_S") or 3600,
        snapshots_mib=_number(environ, "FLEETFORM_SNAPSHOTS_MIB", least=0) or 0,
        log_level=_choice(environ, "FLEETFORM_LOG_LEVEL", LOG_LEVELS),
    )


def run_dir(home: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the sockets of this home live: a short path of its own, because a Unix socket path has only 107 bytes.

    Once `up` has linked it as home/run, the link decides: a second shell with another XDG_RUNTIME_DIR must find the same sockets.
    After a reboot that directory's parent may be gone for good, and then the environment decides again.
    """
    link = home / "run"
    if link.is_symlink() and link.readlink().parent.is_dir():
        return link.readlink()
    tag = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and len(f"{runtime}/ff-{tag}".encode()) <= SOCKET_DIR_MAX:
        return Path(runtime) / f"ff-{tag}"
    return Path("/tmp") / f"ff-{os.getuid()}-{tag}"  # noqa: S108  # made 0700, and its owner checked, by whoever makes it


def _switch(environ: Mapping[str, str], name: str) -> bool:
    """On unless it says `off`."""
    return _choice(environ, name, ("on", "off")) == "on"


def _choice(environ: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """One of choices, in capitals or not; the first by default."""
    text = environ.get(name) or choices[0]
    if text.lower() not in choices:
        raise SetupError(f"{name} is {text!r}; it must be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")
    return text.lower()


def _number(environ: Mapping[str, str], name: str, least: int = 1, most: int | None = None) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isdigit() or int(text) < least:
        raise SetupError(f"{name} is {text!r}; it must be a whole number {'above 0' if least else 'or 0'}")
    if most is not None and int(text) > most:
        raise SetupError(f"{name} is {text!r}; it must be at most {most}")
    return int(text)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    value = _number(environ, name) or default
    if value > 65535:
        raise SetupError(f"{name} is {value}; a port is at most 65535")
    return value
