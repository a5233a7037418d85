"""The replay of traces behind F8: what it counts, on traces small enough to count by hand."""

from pathlib import Path

import pytest

from benchmarks.f8 import JUDGED, LEAST_MET, MOST_HOURS, table
from benchmarks.replay import Replay, Request, View, flips, read
from benchmarks.rules import Ours, Static


class Steps:
    """Wants what the list says, tick by tick; its last word stays."""

    name, tick_s = "steps", 1

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.seen: list[View] = []
        self.averages: list[float] = []

    def count(self, view: View) -> int:
        self.seen.append(view)
        self.averages.append(view.average(2))
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


def burst(number: int, at_s: float = 0.0, output_tokens: int = 90) -> list[Request]:
    """Requests that come together and take 2 s each: 0.2 s to the first token, then 1.8 s."""
    return [Request(at_s, 0, output_tokens)] * number


def test_a_replica_serves_eight_at_once_and_the_others_wait_in_line() -> None:
    score = Replay(burst(16), Static(1), cold_s=40.0).run()
    assert score.met == 0.5, "the second eight begin after 2 s and have their first token after 2.2 s"
    assert score.hours == pytest.approx(5 / 3600), "whole seconds: the last one ends at 4"


def test_a_start_takes_its_time_and_is_paid_from_its_beginning() -> None:
    rule = Steps(2, 2)
    score = Replay([*burst(1), *burst(1, at_s=9.0)], rule, cold_s=5.0).run()
    assert [(view.ready, view.starting) for view in rule.seen[:7]] == [(1, 0)] + [(1, 1)] * 4 + [(2, 0)] * 2
    assert score.hours == pytest.approx((12 + 11) / 3600)
    assert score.highest == 2


def test_a_replica_that_leaves_ends_its_requests_first() -> None:
    rule = Steps(1, 1, 2, 1)
    requests = [*burst(10, at_s=0.5, output_tokens=490), *burst(1, at_s=20.0)]
    score = Replay(requests, rule, cold_s=0.0).run()
    assert score.met == pytest.approx(9 / 11), "two waited for the second replica, which came after 2.5 s"
    assert score.hours > 22 / 3600 + 9 / 3600


def test_what_is_under_way_is_averaged_over_each_second() -> None:
    rule = Steps(1)
    Replay([Request(0.5, 0, 65), Request(4.0, 0, 0)], rule, cold_s=0.0).run()
    assert rule.seen[-1].under_way[:4] == pytest.approx([0.5, 1.0, 0.0, 0.0])
    assert rule.averages[:4] == pytest.approx([0.25, 0.75, 0.5, 0.0])


@pytest.mark.parametrize(("counts", "turns"), [([1, 1, 2, 3], 0), ([1, 2, 1], 1), ([1, 2, 2, 1, 1, 5], 2), ([], 0)])
def test_a_flip_is_a_change_of_direction(counts: list[int], turns: int) -> None:
    assert flips(counts) == turns


def test_a_trace_is_read_in_order_of_arrival(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:05.5000000,8000,50\n2023-11-16 18:17:03.9799600,4808,10\n")
    first, second = read(trace)
    assert first.prompt_tokens == 4808
    assert second.at_s == pytest.approx(1.52004)
    assert (second.first_token_s, second.service_s) == (1.2, 2.2)


def test_the_rule_holds_its_figure_on_the_recorded_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as `make bench F=F8`, so that a change of the rule cannot lose it unseen."""
    scores = table(JUDGED, 40.0)
    assert scores["Fleetform"].met >= LEAST_MET
    assert scores["Fleetform"].hours <= MOST_HOURS * scores["Knative"].hours
    assert "Fleetform" in capsys.readouterr().out


def test_ours_is_the_reconciler_s_own_function() -> None:
    score = Replay(burst(40), Ours(cold_s=3.0), cold_s=3.0).run()
    assert score.highest > 1
