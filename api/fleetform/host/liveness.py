"""Whether an engine lives: judged by what it gets done, never by what it says of itself. Pure: times are passed in.

vLLM's `/health` stays 200 with a hung engine, and a saturated engine answers nobody for a while. So the evidence is progress:

    evidence                          counts as progress
    a canary was answered             always
    a token was made (`/metrics`)     unless a process of the engine is stopped
    processor time was spent,         unless one is stopped, or requests have been under way for longer than one may take
    or is being waited for            and no token was made: then it may be spinning

and what follows from its absence:

    state        begins                                                             ends
    well         with every progress
    suspect      SILENT_S without progress while requests are under way, or         with progress; it is asked for one token (the canary)
                 IDLE_S without any proof
    out          a canary missed, or stopped for STOPPED_S                          with an answer: the proxy sends it nothing new
    hung         a second canary missed                                             never: the host ends it

A canary is missed when its limit passes without an answer and without progress; each progress begins the limit anew. An engine that
is always slow is known by its earlier canaries, and is given NORMAL_TIMES as long.
"""

from datetime import datetime

import msgspec

from fleetform.domain.base import Record

SILENT_S = 2.0
STOPPED_S = 1.0
IDLE_S = 30.0
FIRST_LIMIT_S = 1.5
SECOND_LIMIT_S = 10.0
UNKNOWN_LIMIT_S = 5.0
"""The first limit while no canary has been answered yet, so that it is not known what is normal here."""
NORMAL_TIMES = 4.0
BUSY_SHARE = 0.05
"""The part of one core by which processor time counts as spent on work rather than on waiting."""
LOOK_GAP_MAX_S = 2.0
"""A longer time between two looks says that we were kept from looking: then silence proves nothing."""


class Signs(Record, frozen=True, kw_only=True):
    """What one look shows. in_flight: requests under way at the proxy, None when it does not say.

    tokens: read and made so far by the engine's own count, None where it has none. cpu_s: processor time so far of the processes that
    do the work. runnable: one of them runs or waits for a core. stopped: pids that are stopped.
    """

    in_flight: int | None
    tokens: float | None
    cpu_s: float
    runnable: bool = False
    stopped: tuple[int, ...] = ()


class Pulse(Record, frozen=True, kw_only=True):
    """What is known of one engine. Times are of one monotonic clock, in seconds.

    progress_at: last evidence. proof_at: last answer, to whomever. idle_at: last look at which nothing was under way.
    patience_s: how long a request may go without an answer before processor time stops counting. normal_s: how long canaries have taken.
    asked_at: when the canary that is under way was sent. missed: canaries in a row. out_since: when it was taken out of rotation.
    idlers: stopped processes without which it has answered. disturbed: one was stopped while the canary was under way.
    """

    patience_s: float
    looked_at: float
    progress_at: float
    proof_at: float
    idle_at: float
    signs: Signs | None = None
    stopped_at: float | None = None
    normal_s: float | None = None
    asked_at: float | None = None
    missed: int = 0
    out_since: datetime | None = None
    idlers: frozenset[int] = frozenset()
    disturbed: bool = False

    @property
    def is_hung(self) -> bool:
        return self.missed >= 2


def born(now: float, patience_s: float, normal_s: float | None = None, out_since: datetime | None = None) -> Pulse:
    """An engine that begins to be looked at. out_since: it is out of rotation already, by the word of an earlier host process."""
    return Pulse(
        patience_s=patience_s,
        looked_at=now,
        progress_at=now,
        proof_at=now,
        idle_at=now,
        normal_s=normal_s,
        missed=0 if out_since is None else 1,
        out_since=out_since,
    )


def looked(pulse: Pulse, signs: Signs, now: float, wall: datetime) -> Pulse:
    """pulse after one look."""
    before, elapsed = pulse.signs, now - pulse.looked_at
    idlers = pulse.idlers & set(signs.stopped)
    signs = msgspec.structs.replace(signs, stopped=tuple(pid for pid in signs.stopped if pid not in idlers))
    pulse = msgspec.structs.replace(pulse, signs=signs, looked_at=now, idlers=idlers)
    if before is None or elapsed > LOOK_GAP_MAX_S:
        return msgspec.structs.replace(pulse, progress_at=now, stopped_at=now if signs.stopped else None)
    if not signs.in_flight:
        pulse = msgspec.structs.replace(pulse, idle_at=now)
    if signs.stopped:
        stopped_at = now if pulse.stopped_at is None else pulse.stopped_at
        pulse = msgspec.structs.replace(pulse, stopped_at=stopped_at, disturbed=True)
        return _out(pulse, wall) if now - stopped_at >= STOPPED_S else pulse
    pulse = msgspec.structs.replace(pulse, stopped_at=None)
    if before.tokens is not None and signs.tokens is not None and signs.tokens > before.tokens:
        return proved(pulse, now)
    waits_s = now - max(pulse.proof_at, pulse.idle_at)
    works = signs.runnable or signs.cpu_s - before.cpu_s >= BUSY_SHARE * elapsed
    return msgspec.structs.replace(pulse, progress_at=now) if works and waits_s < pulse.patience_s else pulse


def proved(pulse: Pulse, now: float) -> Pulse:
    """pulse after an answer: it lives, whatever was thought of it."""
    return msgspec.structs.replace(pulse, progress_at=now, proof_at=now, missed=0, out_since=None, stopped_at=None)


def answered(pulse: Pulse, now: float) -> Pulse:
    """pulse after its canary was answered."""
    if pulse.asked_at is None:
        return proved(pulse, now)
    took_s = now - pulse.asked_at
    normal_s = pulse.normal_s
    if not pulse.disturbed:
        normal_s = took_s if normal_s is None else max(took_s, (normal_s + took_s) / 2)
    idlers = pulse.idlers
    if pulse.signs is not None and pulse.stopped_at is not None and pulse.asked_at >= pulse.stopped_at:
        idlers |= set(pulse.signs.stopped)
    return proved(msgspec.structs.replace(pulse, asked_at=None, normal_s=normal_s, idlers=idlers), now)


def asked(pulse: Pulse, now: float) -> Pulse:
    """pulse when its canary is sent."""
    return msgspec.structs.replace(pulse, asked_at=now, disturbed=pulse.stopped_at is not None)


def wants_canary(pulse: Pulse, now: float, jitter: float) -> bool:
    """True when a canary should be sent now. jitter (0–1) spreads those of idle engines."""
    if pulse.asked_at is not None or pulse.is_hung:
        return False
    if pulse.out_since is not None or pulse.stopped_at is not None:
        return True
    is_busy = pulse.signs is not None and bool(pulse.signs.in_flight)
    if is_busy and now - pulse.progress_at >= SILENT_S:
        return True
    return not is_busy and now - pulse.proof_at >= IDLE_S * (1 + jitter / 2)


def judged(pulse: Pulse, now: float, wall: datetime) -> Pulse:
    """pulse after its canary's limit: missed when that has passed without progress, else unchanged."""
    if pulse.asked_at is None or now < max(pulse.asked_at, pulse.progress_at) + limit_s(pulse):
        return pulse
    return _out(msgspec.structs.replace(pulse, asked_at=None, missed=pulse.missed + 1), wall)


def limit_s(pulse: Pulse) -> float:
    """How long the canary that is under way may take without progress."""
    if pulse.missed:
        return max(SECOND_LIMIT_S, NORMAL_TIMES * (pulse.normal_s or 0))
    return UNKNOWN_LIMIT_S if pulse.normal_s is None else max(FIRST_LIMIT_S, NORMAL_TIMES * pulse.normal_s)


def why(pulse: Pulse, now: float) -> str:
    """What speaks against it, in a sentence."""
    signs = pulse.signs
    if signs is not None and signs.stopped:
        pids = ", ".join(map(str, signs.stopped))
        return f"the engine is stopped (process {pids}) and answers nothing"
    under_way = "" if signs is None or not signs.in_flight else f" with {signs.in_flight} requests under way"
    return f"the engine has made no progress for {now - pulse.progress_at:.0f} s{under_way}, and did not answer a request for one token"


def _out(pulse: Pulse, wall: datetime) -> Pulse:
    return pulse if pulse.out_since is not None else msgspec.structs.replace(pulse, out_since=wall)
