"""F4: server and host worker killed at every step of a rollout, in turn, under load: requests lost, and rollouts that did not converge.

Real Envoy, real PostgreSQL, engines that are stubs. After each death the endpoint must serve what was asked for and nothing else, and
the invariants of fleetcheck must hold. A stream is judged by its last event and the absence of an error inside it.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

from tests.harness.crashing import AWAKE, LIVING, CrashBed, in_turn
from tests.harness.judging import in_words

RATE = 50.0
LONG_STREAMS, STREAM_S = 10, 3.0


def main() -> int:
    """Every step, and every step of an endpoint's life with a deletion behind it; exit status 0 when both counts are 0."""
    begun = time.monotonic()
    stuck: list[str] = []
    with CrashBed() as bed, bed.under_load(RATE, LONG_STREAMS, STREAM_S) as load:
        for step in in_turn(AWAKE):
            _try(f"rollout {step}", partial(bed.change, step), stuck)
        for step in LIVING:
            _try(f"deletion {step}", partial(bed.create_and_delete, step), stuck)
    for line in in_words(load.lost):
        print(f"lost: {line}")
    for line in stuck:
        print(f"not converged: {line}")
    points = len(AWAKE) + len(LIVING)
    held = not load.lost and not stuck
    spent_s = time.monotonic() - begun
    print(
        f"F4 {'ok' if held else 'short'} {len(load.lost)} lost / {len(stuck)} not converged (0 / 0)"
        f" ours {points} points, {load.answered} requests answered in {spent_s:.0f} s, no serving system publishes this"
    )
    return 0 if held else 1


def _try(what: str, attempt: Callable[[], float], stuck: list[str]) -> None:
    """attempt, with its seconds printed, or with what did not come true noted."""
    try:
        print(f"{what:<45} {attempt():5.1f} s", flush=True)
    except AssertionError as error:
        stuck.append(f"{what}: {error}")
        print(f"{what:<45} {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
