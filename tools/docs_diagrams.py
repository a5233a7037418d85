"""Diagrams and tables for the pages of docs/ that people write: each stands between two marks, and is made from the code's own tables."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from fleetform.domain.replica import START_PHASES
from fleetform.domain.rollout import ROLLOUT_PHASES, STEP_OUTCOMES, RollbackReason, RolloutPhase, StepOutcome
from fleetform.domain.scaling import ScalingReason
from fleetform.planner import autoscale, demand, gate, rollout, starts, verdict

S = TypeVar("S", bound=StrEnum)


def filled(page: str) -> str:
    """page with everything between its marks made anew. KeyError for a mark that nothing is made for."""
    return re.sub(
        r"(?<=<!-- made: )([a-z-]+)( -->\n).*?(?=<!-- end -->)",
        lambda found: f"{found[1]}{found[2]}{DIAGRAMS[found[1]]()}",
        page,
        flags=re.DOTALL,
    )


def rollout_phases() -> str:
    """How a rollout goes through its steps and ends."""
    inner = _states(STEP_OUTCOMES, StepOutcome.RUNNING, indent=8)
    outer = _states(ROLLOUT_PHASES, RolloutPhase.RUNNING, indent=4)
    return _mermaid("stateDiagram-v2", [*outer, f"    state {RolloutPhase.RUNNING} {{", *_renamed(inner), "    }"])


def gate_limits() -> str:
    """What a step's gate compares, with its limits."""
    times = f"above {verdict.RATIO:g} × the incumbent's and {{:g}} ms more"
    compared = {
        RollbackReason.TOO_MANY_ERRORS: ("error rate", "`error_rate`", f"{verdict.ERROR_MARGIN:.0%} more"),
        RollbackReason.TOO_MANY_ABORTS: ("answers that broke off", "–", f"{verdict.ABORT_MARGIN:.0%} more"),
        RollbackReason.TOO_MANY_REFUSALS: ("requests that the version refuses (4xx)", "–", f"{verdict.ABORT_MARGIN:.0%} more"),
        RollbackReason.SLOW_FIRST_BYTE: ("time to first token, p95", "`ttft_p95_ms`", times.format(verdict.TTFT_MARGIN_MS)),
        RollbackReason.SLOW_TOKENS: ("gap between tokens, p95", "–", times.format(verdict.GAP_MARGIN_MS)),
        RollbackReason.SLOW_ANSWERS: ("whole answer, p95", "`latency_p95_ms`", "–"),
    }
    rows = [(f"`{reason}`", *compared[reason]) for reason in RollbackReason]
    notes = (
        f"\nA rate needs {verdict.MIN_REQUESTS} requests of each side, a time {verdict.MIN_TIMED}. A difference counts when chance"
        f" explains it in less than one of {1 / verdict.CHANCE:,.0f} cases at the end\nof a hold, and one of"
        f" {1 / verdict.CHANCE_AT_ONCE:,.0f} before it. Figures are looked at every {gate.LOOK_S} s. {rollout.FAILED_STARTS} failed"
        " starts of a new version turn the rollout back too.\n"
    )
    return _table(("reason", "what", "limit in `slo`", "clearly worse than the incumbent"), rows) + notes


def scaling_rule() -> str:
    """The way from a load to a count."""
    return _mermaid(
        "flowchart LR",
        [
            '    load["requests under way or held<br/>averaged over 60 s and 6 s"] --> asked',
            f'    tokens["tokens in use or waiting<br/>÷ {demand.TOKEN_SHARE:.0%} of a replica\'s"] --> asked',
            '    held["a request is held<br/>and nothing runs"] -->|at once| bounds',
            f'    asked["asked for: room for L + {demand.SPARE:g}·√L<br/>÷ target_concurrency,'
            f' ± {demand.DEAD_BAND:.0%} changes nothing"] --> data',
            f'    data{{"heard in the last {autoscale.FRESH_S:g} s<br/>and counted for {autoscale.WINDOW_S:g} s?"}} -->|no| stay["stays"]',
            f'    data -->|more| up["up: in {autoscale.STEP_S:g} s at most<br/>'
            f'× {autoscale.STEP_TIMES} or + {autoscale.STEP_PLUS}"] --> bounds',
            f'    data -->|fewer| down["down: to the most asked for in<br/>max({demand.HOLD_S:g} s, {demand.COLD_STARTS} × p95 of a start),'
            f'<br/>in {autoscale.STEP_S:g} s at most by half,<br/>never while a rollout moves"] --> bounds',
            '    data -->|"nothing for idle_s"| zero["to 0, where min_replicas is 0"] --> bounds',
            '    bounds["min_replicas, max_replicas,<br/>or those of a schedule"] --> count["the count"]',
        ],
    )


SCALING_WORDS = {
    ScalingReason.INITIAL: "the first deployment, which proves itself with at least one replica",
    ScalingReason.CONCURRENCY: "the requests under way or held over a minute",
    ScalingReason.BURST: "those of the last six seconds, which are more",
    ScalingReason.TOKENS: "the tokens that the engines hold: few long requests fill a replica",
    ScalingReason.WOKEN: "a request is held, and nothing ran",
    ScalingReason.IDLE: "no request for `idle_s`",
    ScalingReason.MINIMUM: "`min_replicas`",
    ScalingReason.MAXIMUM: "`max_replicas`: the load asks for more",
    ScalingReason.SCHEDULE: "a bound of a schedule in force",
    ScalingReason.HELD: "fewer are asked for, and more were a moment ago",
    ScalingReason.STEP_LIMIT: "on the way: no faster than the limit of a step",
    ScalingReason.NO_DATA: "no gateway tells the load, so that the count stays; or one of several does not, so that it only goes up",
    ScalingReason.ROLLOUT: "a rollout moves, so that nothing is taken away",
}


def scaling_reasons() -> str:
    """Every reason of a count, in words."""
    return _table(("reason", "what decided the count"), [(f"`{reason}`", SCALING_WORDS[reason]) for reason in ScalingReason])


def start_phases() -> str:
    """The phases of a start in their order."""
    names = [name for name in START_PHASES if name not in ("wake", "restore")]
    at, after = names.index("fork"), names.index("launch") + 1
    before, behind = names[:at], names[after:]
    arrows = [f'    {_node(a)} --> {_node(b)}["{b}"]' for chain in (before, behind) for a, b in itertools.pairwise(chain)]
    ways = [f'    {_node(before[-1])} --> {_node(way)}["{way}"] --> {_node(behind[0])}["{behind[0]}"]' for way in names[at:after]]
    plain = f'    {_node("fork")} -.->|"no zygote"| {_node("launch")}'
    woken = f'    {_node("place")} --> {_node("wake")}["wake"] --> {_node("canary")}["canary"]'
    not_woken = f'    {_node("wake")} -.->|"it does not wake"| {_node("fetch")}'
    restored = f'    {_node("place")} --> {_node("restore")}["restore"] --> {_node("canary")}'
    not_restored = f'    {_node("restore")} -.->|"it cannot be restored"| {_node("fetch")}'
    drawn = _mermaid(
        "flowchart LR", [f'    {_node(before[0])}["{before[0]}"]', *arrows, *ways, plain, woken, not_woken, restored, not_restored]
    )
    return drawn + "\n" + _table(("phase", "what happens"), [(f"`{name}`", what) for name, what in START_PHASES.items()])


def start_limits() -> str:
    """How long a start may take, by what was learned."""
    return (
        f"Until {starts.ENOUGH} starts of a version on an instance type are known, a start may take `FLEETFORM_START_TIMEOUT_S`. From"
        f" then on it may take {starts.PATIENCE:g} × the p95 of the known\nones, but at least {starts.FLOOR_S} s (or the setting, where"
        " that is less).\n"
    )


DIAGRAMS: dict[str, Callable[[], str]] = {
    "rollout-phases": rollout_phases,
    "gate-limits": gate_limits,
    "scaling-rule": scaling_rule,
    "scaling-reasons": scaling_reasons,
    "start-phases": start_phases,
    "start-limits": start_limits,
}


def _states(table: Mapping[S, frozenset[S]], first: S, indent: int) -> list[str]:
    pad = " " * indent
    arrows = [f"{pad}{state} --> {after}" for state in table for after in table if after in table[state]]
    ends = [f"{pad}{state} --> [*]" for state in table if not table[state]]
    return [f"{pad}[*] --> {first}", *arrows, *ends]


def _renamed(lines: Iterable[str]) -> list[str]:
    """The states of a step beside those of a rollout, which shares a name with them; a step that is left begins the next."""
    lines = [line.replace(StepOutcome.RUNNING, "held") for line in lines]
    passed = [f"        {outcome} --> held: next step" for outcome in (StepOutcome.PASSED, StepOutcome.NOT_JUDGED)]
    return [*lines, *passed]


def _node(name: str) -> str:
    return name.replace("-", "_")


def _mermaid(kind: str, lines: Iterable[str]) -> str:
    return "```mermaid\n" + "\n".join([kind, *lines]) + "\n```\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
