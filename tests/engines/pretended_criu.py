"""A CRIU that puts no memory on disk but how a process was started, and starts it so again: `pretended_criu.py FOLDER ARGV…`.

Its pid is another then, which CRIU's is not. The file FOLDER/goes-wrong says how it fails; there are

no-check         the machine cannot do it
no-dump          nothing is put on disk, and the processes run on
ends-dumping     nothing is put on disk, and they have ended
hangs-dumping    it never ends
no-restore       nothing is begun
ends-restoring   they have begun, and yet it fails
another          what begins answers otherwise than what was put on disk
dumb             what begins does not work
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

WAIT_S = 10.0
IMAGE_BYTES = 20 << 20


def main(folder: Path, argv: list[str]) -> int:
    wrong = (folder / "goes-wrong").read_text().strip() if (folder / "goes-wrong").exists() else ""
    match argv[0]:
        case "--version":
            print("Version: 4.2")
            return 0
        case "check":
            print("Error (criu/vdso.c:381): vdso: unknown" if wrong == "no-check" else "Looks good.")
            return 1 if wrong == "no-check" else 0
        case "dump":
            return _dump(int(_option(argv, "-t")), Path(_option(argv, "-D")), Path(_option(argv, "-W")), wrong)
        case _:
            return _restore(Path(_option(argv, "-D")), Path(_option(argv, "-W")), Path(_option(argv, "--pidfile")), wrong)


def _dump(pid: int, images: Path, work: Path, wrong: str) -> int:
    process = Path(f"/proc/{pid}")
    found = {
        "argv": (process / "cmdline").read_text().split("\0")[:-1],
        "env": dict(pair.split("=", 1) for pair in (process / "environ").read_text().split("\0") if "=" in pair),
        "cwd": str((process / "cwd").readlink()),
        "log": str((process / "fd" / "1").readlink()),
    }
    (work / "dump.log").write_text("Error (criu/cr-dump.c:1975): Dumping FAILED.\n" if wrong in ("no-dump", "ends-dumping") else "")
    if wrong == "no-dump":
        return 1
    if wrong == "hangs-dumping":
        signal.pause()
    session = [one for one in (int(path.name) for path in Path("/proc").glob("[0-9]*")) if _session(one) == pid]
    for one in session:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    if wrong == "ends-dumping":
        return 1
    (images / "core.img").write_text(json.dumps(found))
    (images / "pages-1.img").write_bytes(bytes(IMAGE_BYTES))
    return 0


def _restore(images: Path, work: Path, pidfile: Path, wrong: str) -> int:
    (work / "restore.log").write_text("Error (criu/cr-restore.c:2331): Restoring FAILED.\n")
    if wrong == "no-restore":
        return 1
    found = json.loads((images / "core.img").read_text())
    argv = found["argv"] + {"another": ["--word", "murmur"], "dumb": ["--mode", "bad-canary"]}.get(wrong, [])
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(found["cwd"])
        log = os.open(found["log"], os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(argv[0], argv, found["env"])  # what was put on disk
    deadline = time.monotonic() + WAIT_S
    # What CRIU brings back listens at once; the stub is only being started.
    while not (_session(pid) == pid and _listens(_option(argv, "--socket"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    pidfile.write_text(str(pid))
    return 1 if wrong == "ends-restoring" else 0


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return 0


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.connect(path)
        return True
    return False


def _option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
