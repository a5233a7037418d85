"""A pretended engine for the zygote: it writes down how it was started, and waits for its end."""

import json
import os
import random
import resource
import sys
import tempfile
import threading
from pathlib import Path

PACKAGES = ("pretended_software",)


def prepare() -> str:
    """By PRETENDED: `refuse`, `raise`, `thread`, or nothing."""
    match os.environ.get("PRETENDED"):
        case "refuse":
            return "it is a Monday"
        case "raise":
            raise ImportError("no such thing")
        case "thread":
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        case _:
            pass
    return ""


def become() -> None:
    """By the argument: `exit N`, `stray` (a fork leaves for a session of its own), or wait."""
    facts = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "cwd": str(Path.cwd()),
        "argv": sys.argv,
        "environ": dict(os.environ),
        "tempdir": tempfile.gettempdir(),
        "random": random.random(),
        "descriptors": sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "status": Path("/proc/self/status").read_text(),
        "umask": os.umask(0o077),
    }
    print("hello from the engine", flush=True)
    new = Path("facts.new")
    new.write_text(json.dumps(facts))
    new.rename("facts.json")
    match sys.argv[1:]:
        case ["exit", code]:
            sys.exit(int(code))
        case ["stray"]:
            if os.fork() == 0:
                os.setsid()
            threading.Event().wait()
        case _:
            threading.Event().wait()
