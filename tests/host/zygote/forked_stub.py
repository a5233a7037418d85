"""The stub engine for the zygote. `when_forked` of stub.json says what becomes of it when it is forked, and not when it starts plainly.

`dies`: at once. `dies_late`: after some seconds. `dies_of_cuda`: of what torch says of a fork. `hangs`: before it listens.
`dumb`: it answers nothing to a canary. Each fork leaves a line in the file `told_forks`.
"""

import json
import signal
import sys
import time
from pathlib import Path

from fleetform.host.forking import OF_THE_FORK
from tests.engines import stub

PACKAGES = ()


def prepare() -> str:
    return ""


def become() -> None:
    folder = Path(sys.argv[sys.argv.index("--model-dir") + 1])
    options = json.loads((folder / "stub.json").read_text())
    with Path(options["told_forks"]).open("a") as file:
        file.write("forked\n")
    match options.get("when_forked"):
        case "dies":
            sys.exit(4)
        case "dies_late":
            time.sleep(4)  # over half of the time that the test gives it to start
            sys.exit(5)
        case "dies_of_cuda":
            sys.exit(f"RuntimeError: {OF_THE_FORK}. To use CUDA with multiprocessing, you must use the 'spawn' start method")
        case "hangs":
            signal.pause()
        case "dumb":
            sys.argv += ["--mode", "bad-canary", "--children", "1"]
            stub.main()
        case _:
            stub.main()
