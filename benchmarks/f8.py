"""F8: the autoscaler on a trace: requests whose first token came in time, at replica-hours ÷ those of Knative's defaults.

The rule is the reconciler's own function, driven in simulated time by the model of replay.py, beside a fixed number and the rules of
others with their published defaults. `TRACE=file.csv` replays another trace with the same columns.
"""

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.replay import Replay, Request, Rule, Score, read
from benchmarks.rules import TARGET, HorizontalPods, Knative, Ours, RayServe, SkyServe, Static

TRACES = Path(__file__).parent / "traces"
JUDGED = TRACES / "azure-llm-2023-code.csv"
OTHERS = ((TRACES / "azure-llm-2023-conv.csv", 40.0), (JUDGED, 120.0), (JUDGED, 3.0))
COLD_S = 40.0
STATIC = 6
LEAST_MET, MOST_HOURS = 0.98, 0.95


def main() -> None:
    """Replay the trace under each rule, print them beside each other, and judge ours by Knative's."""
    named = os.environ.get("TRACE")
    path = Path(named) if named else JUDGED
    if not path.is_file():
        sys.exit(f"There is no trace {path}.")
    try:
        scores = table(path, COLD_S)
    except (KeyError, ValueError, IndexError, UnicodeDecodeError):
        sys.exit(f"{path} is not a trace: it must have lines and the columns TIMESTAMP, ContextTokens and GeneratedTokens.")
    for other, cold_s in () if named else OTHERS:
        table(other, cold_s)
    ours, knative = scores["Fleetform"], scores["Knative"]
    ratio = ours.hours / knative.hours
    held = ours.met >= LEAST_MET and ratio <= MOST_HOURS
    print(
        f"F8 {'ok' if held else 'short'} {ratio:.2f} (<= {MOST_HOURS:g}) at {ours.met:.1%} in time (>= {LEAST_MET:.0%})"
        f" ours {ours.hours:.2f} replica-hours, Knative's defaults {knative.hours:.2f} at {knative.met:.1%}"
    )
    sys.exit(0 if held else 1)


def table(path: Path, cold_s: float) -> dict[str, Score]:
    """The scores of every rule on one trace, printed."""
    requests = read(path)
    print(f"{path.name}: {len(requests)} requests in {requests[-1].at_s / 60:.0f} min, {cold_s:.0f} s cold start, first token in 2 s")
    print(f"  {'rule':22} {'in time':>8} {'replica-hours':>14} {'flips/h':>8} {'most':>5}")
    scores = {}
    for make in rules(requests, cold_s):
        rule = make()
        score = scores[rule.name] = Replay(requests, rule, cold_s).run()
        per_hour = score.flips * 3600 / requests[-1].at_s
        print(f"  {rule.name:22} {score.met:8.1%} {score.hours:14.2f} {per_hour:8.1f} {score.highest:5}", flush=True)
    return scores


def rules(requests: list[Request], cold_s: float) -> tuple[Callable[[], Rule], ...]:
    """Every rule, ours first."""
    rate = TARGET / statistics.fmean(request.service_s for request in requests)
    return (
        lambda: Ours(cold_s),
        lambda: Static(STATIC),
        Knative,
        lambda: Knative(down_delay_s=300),
        HorizontalPods,
        RayServe,
        lambda: SkyServe(rate),
    )


if __name__ == "__main__":
    main()
