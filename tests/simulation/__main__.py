"""`python -m tests.simulation SEED [HOW MANY]`: replay one seed with its story, or run that many from SEED on and name the broken ones."""

import sys
import time
import traceback

import structlog

from tests.simulation.healing import NotConverged
from tests.simulation.machines import Broken
from tests.simulation.seeds import simulate


def main(words: list[str]) -> int:
    """Exit status 1 when a seed is broken."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    seed = int(words[0])
    if len(words) == 1:
        try:
            simulate(seed, print)
        except (Broken, NotConverged) as error:
            print(f"{type(error).__name__}: {error}")
            return 1
        return 0
    begun, broken = time.monotonic(), 0
    for number in range(seed, seed + int(words[1])):
        try:
            simulate(number)
        except Exception:
            broken += 1
            print(f"seed {number}: {traceback.format_exc().splitlines()[-1][:600]}", flush=True)
    spent_s = time.monotonic() - begun
    print(f"{words[1]} seeds, {broken} broken, {spent_s:.1f} s, {spent_s / int(words[1]) * 1e3:.1f} ms each")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
