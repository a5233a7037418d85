"""Whether a version that takes traffic over does as well as the one it takes it from, by what both did in the same time. Pure.

what                       worse than the SLO when                 clearly worse than the incumbent when
error rate                 more than slo.error_rate                MARGINS: a point more, by Fisher's exact test
abort rate                 –                                       five points more, by the same test
refusal rate (4xx)         –                                       five points more, by the same test
time to first token, p95   more than 5 % above slo.ttft_p95_ms     more than 5 % above half as much again, and 50 ms
gap between tokens, p95    –                                       more than 5 % above half as much again, and 10 ms
whole answer, p95          more than 5 % above slo.latency_p95_ms  – (answers of different lengths compare nothing)

"More" is more than chance explains: CHANCE at the end of a hold, CHANCE_AT_ONCE before it, because a hold is looked at many times and
a rollback on a whim costs more than some seconds of a bad version's share. An SLO that the incumbent breaks in the same time too
judges nobody: to go back would not help, and whoever flees from a bad version must be able to. Then only the comparison counts.
"""

import math
from collections.abc import Iterator

from fleetform.domain.base import Record
from fleetform.domain.effective import EffectiveSlo
from fleetform.domain.load import BOUNDS_MS, Histogram, TrackWindow
from fleetform.domain.rollout import RollbackReason, StepOutcome

MIN_REQUESTS = 10
"""Fewer requests of either side say nothing of its rates: with ten, only a version that fails most of them can be told."""
MIN_TIMED = 20
"""Fewer have no 95th percentile."""
CHANCE = 0.001
CHANCE_AT_ONCE = 0.00001
"""How likely a version that is as good is taken for a worse one by one comparison: at the end of a hold, and at a look before it."""
ERROR_MARGIN, ABORT_MARGIN = 0.01, 0.05
"""Differences of rates that nobody acts on. Clients leave, and send what is wrong, for reasons of their own: aborts and refusals have the
wider one."""
RATIO = 1.5
TTFT_MARGIN_MS, GAP_MARGIN_MS = 50.0, 10.0
"""What a time may be above the incumbent's: less than half as much again is what another host, another neighbour or another prompt
makes; the absolute part keeps very short times from being judged by a scheduler's hiccup."""
TAIL = 0.05
"""The share that a 95th percentile leaves above it."""


class Verdict(Record, frozen=True, kw_only=True):
    """outcome: RUNNING before the hold is over, if nothing is clear yet. reason: only of FAILED.

    evidence: sentences with the figures of both sides. compared: figures of the incumbent are in them.
    """

    outcome: StepOutcome
    evidence: tuple[str, ...] = ()
    compared: bool = False
    reason: RollbackReason | None = None


class Finding(Record, frozen=True, kw_only=True):
    """One comparison. failed None: there were too few requests for it."""

    what: RollbackReason
    sentence: str
    failed: bool | None


def judged(candidate: TrackWindow, incumbent: TrackWindow | None, slo: EffectiveSlo, *, over: bool) -> Verdict:
    """How candidate does beside incumbent (None: nothing is known of one). over: the hold is over.

    Whatever is added to candidate's errors, aborts or times never turns a failure into something better.
    """
    findings = tuple(_findings(candidate, incumbent or TrackWindow(track=""), slo, over=over))
    bad = [finding for finding in findings if finding.failed]
    if bad:
        return Verdict(outcome=StepOutcome.FAILED, evidence=tuple(f.sentence for f in bad), compared=True, reason=bad[0].what)
    told = tuple(finding.sentence for finding in findings if finding.failed is not None)
    if not over:
        return Verdict(outcome=StepOutcome.RUNNING, evidence=told or (_few(candidate),), compared=bool(told))
    # Rates can fail a version by few requests; to pass it, there must be enough for its times.
    if candidate.requests < MIN_TIMED:
        return Verdict(outcome=StepOutcome.NOT_JUDGED, evidence=(_few(candidate), *told), compared=bool(told))
    if not told or (slo == EffectiveSlo() and (incumbent is None or incumbent.requests < MIN_TIMED)):
        few = f"the version it is compared with had {_requests(incumbent)}, too few to judge by"
        return Verdict(outcome=StepOutcome.NOT_JUDGED, evidence=(few, *told), compared=True)
    return Verdict(outcome=StepOutcome.PASSED, evidence=told, compared=True)


def _few(candidate: TrackWindow) -> str:
    return f"{_requests(candidate)}, too few to judge by"


def _requests(window: TrackWindow | None) -> str:
    count = 0 if window is None else window.requests
    return "1 request" if count == 1 else f"{count} requests"


def _findings(new: TrackWindow, old: TrackWindow, slo: EffectiveSlo, *, over: bool) -> Iterator[Finding]:
    yield _errors(_counted(new.errors, new), _counted(old.errors, old), slo.error_rate, over=over)
    aborts = _counted(new.aborts, new), _counted(old.aborts, old)
    yield _rate(RollbackReason.TOO_MANY_ABORTS, "answers broken off or left", *aborts, over=over)
    refusals = _counted(new.refusals, new), _counted(old.refusals, old)
    yield _rate(RollbackReason.TOO_MANY_REFUSALS, "requests refused", *refusals, over=over)
    yield _time(RollbackReason.SLOW_FIRST_BYTE, "time to first token", new.ttft, old.ttft, TTFT_MARGIN_MS, slo.ttft_p95_ms, over=over)
    gaps = old.gaps if old.requests >= MIN_TIMED else Histogram()
    yield _time(RollbackReason.SLOW_TOKENS, "gap between tokens", new.gaps, gaps, GAP_MARGIN_MS, None, over=over, among=new.requests)
    if slo.latency_p95_ms is not None:
        yield _time(RollbackReason.SLOW_ANSWERS, "whole answer", new.latency, old.latency, None, slo.latency_p95_ms, over=over)


def _counted(found: int, window: TrackWindow) -> tuple[int, int]:
    """(how many, of how many); counted at different moments, there may seem to be more of the former."""
    return min(found, window.requests), window.requests


def _errors(new: tuple[int, int], old: tuple[int, int], most: float | None, *, over: bool) -> Finding:
    reason = RollbackReason.TOO_MANY_ERRORS
    compared = _rate(reason, "errors", new, old, over=over)
    if most is None or compared.failed or new[1] < MIN_REQUESTS:
        return compared
    broken_by_both = old[1] >= MIN_REQUESTS and old[0] > most * old[1]
    sentence = f"errors: {_share(*new)}, the SLO allows {most:.2%}, {_beside(*old)}"
    return Finding(what=reason, sentence=sentence, failed=exceeds(*new, most, over=over) and not broken_by_both)


def _rate(what: RollbackReason, name: str, new: tuple[int, int], old: tuple[int, int], *, over: bool) -> Finding:
    sentence = f"{name}: {_share(*new)}, {_beside(*old)}"
    if min(new[1], old[1]) < MIN_REQUESTS:
        return Finding(what=what, sentence=sentence, failed=None)
    margin = ERROR_MARGIN if what is RollbackReason.TOO_MANY_ERRORS else ABORT_MARGIN
    return Finding(what=what, sentence=sentence, failed=is_more(new, old, margin, over=over))


def _time(
    what: RollbackReason,
    name: str,
    new: Histogram,
    old: Histogram,
    margin_ms: float | None,
    most_ms: int | None,
    *,
    over: bool,
    among: int | None = None,
) -> Finding:
    """margin_ms None: not compared. most_ms: the SLO. among: requests that the times come from, where one has many of them."""
    count = min(new.total, new.total if among is None else among)
    p95, beside = new.quantile_ms(1 - TAIL), old.quantile_ms(1 - TAIL) if old.total >= MIN_TIMED else None
    allowed = "" if most_ms is None else f", the SLO allows {_ms(most_ms)}"
    other = "the incumbent has too few" if beside is None else f"the incumbent's {_ms(beside)} of {old.total}"
    sentence = f"{name}: p95 {'unknown' if p95 is None else _ms(p95)} of {new.total}{allowed}, {other}"
    if count < MIN_TIMED or (beside is None and most_ms is None) or (margin_ms is None and most_ms is None):
        return Finding(what=what, sentence=sentence, failed=None)
    slow = (
        most_ms is not None
        and exceeds(_among(new, most_ms, count), count, TAIL, over=over)
        and not (beside is not None and above(old, most_ms) > TAIL * old.total)
    )
    worse = beside is not None and margin_ms is not None and exceeds(_among(new, beside * RATIO + margin_ms, count), count, TAIL, over=over)
    return Finding(what=what, sentence=sentence, failed=slow or worse)


def above(times: Histogram, limit_ms: float) -> int:
    """How many of them surely took longer: those of cells that begin at or above the limit."""
    return sum(count for cell, count in times.counts.items() if cell > 0 and BOUNDS_MS[cell - 1] >= limit_ms)


def _among(times: Histogram, limit_ms: float, count: int) -> int:
    """`above` as a number out of count: the gaps of one stream are not independent, so that they count by the requests they come from."""
    return above(times, limit_ms) * count // max(1, times.total)


def exceeds(found: int, count: int, share: float, *, over: bool) -> bool:
    """True when found of count is more than share by more than chance (Chernoff's bound, which is never below the true one)."""
    seen = found / count
    if seen <= share:
        return False
    if share == 0:
        return True
    rest = 0.0 if found == count else (1 - seen) * math.log((1 - seen) / (1 - share))
    divergence = seen * math.log(seen / share) + rest
    return count * divergence >= -math.log(CHANCE if over else CHANCE_AT_ONCE)


def is_more(new: tuple[int, int], old: tuple[int, int], margin: float, *, over: bool) -> bool:
    """True when the rate of new (found, count) is above that of old by margin, and by more than chance.

    Fisher's exact test: of all that was found, how likely new has at least as much of it as it has. A normal approximation is of no
    use here: at the first step, one error of twelve beside none of a thousand would count as proof.
    """
    if new[0] / new[1] - old[0] / old[1] <= margin:
        return False
    both, everything = new[0] + old[0], new[1] + old[1]
    chance, found = 0.0, new[0]
    while found <= min(both, new[1]):
        likely = math.exp(_ways(new[1], found) + _ways(old[1], both - found) - _ways(everything, both))
        chance += likely
        if likely < chance * 1e-9:
            break
        found += 1
    return chance <= (CHANCE if over else CHANCE_AT_ONCE)


def _ways(count: int, taken: int) -> float:
    """The logarithm of the number of ways to take so many out of count."""
    return math.lgamma(count + 1) - math.lgamma(taken + 1) - math.lgamma(count - taken + 1)


def _share(found: int, count: int) -> str:
    return f"{found} of {count}" if count == 0 else f"{found} of {count} requests ({found / count:.1%})"


def _beside(found: int, count: int) -> str:
    return f"the incumbent {_share(found, count)}" if count else "the incumbent had no requests"


def _ms(time_ms: float) -> str:
    return f"{time_ms:.0f} ms" if time_ms >= 10 else f"{time_ms:.1f} ms"
