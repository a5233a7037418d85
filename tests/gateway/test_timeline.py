"""Averages of what was under way, and the counts that outlive proxies and workers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.gateway.served import Served
from fleetform.gateway.timeline import BURST_S, GAP_S, STABLE_S, Timeline

steps = st.lists(st.tuples(st.floats(0.1, GAP_S), st.integers(0, 500)), min_size=1, max_size=120)


def timeline(samples: list[tuple[float, int]], start: float = 1000.0) -> Timeline:
    """One key's samples, each so many seconds after the one before."""
    found, at = Timeline(), start
    for wait_s, count in samples:
        at += wait_s
        found.add(at, {"a": count})
    return found


@given(steps, st.sampled_from([BURST_S, STABLE_S]))
def test_an_average_lies_between_the_least_and_the_most(samples: list[tuple[float, int]], window_s: float) -> None:
    counts = [count for _, count in samples]
    average = timeline(samples).averages(window_s).get("a", 0.0)
    assert min(counts) - 1e-6 <= average <= max(counts) + 1e-6


@given(steps, st.integers(1, 500))
def test_what_stays_the_same_is_its_own_average(samples: list[tuple[float, int]], count: int) -> None:
    found = timeline([(wait_s, count) for wait_s, _ in samples])
    assert found.averages(STABLE_S)["a"] == pytest.approx(count)
    assert found.averages(BURST_S)["a"] == pytest.approx(count)


@given(steps, steps)
def test_what_is_older_than_a_window_does_not_count(old: list[tuple[float, int]], new: list[tuple[float, int]]) -> None:
    """A whole minute of the same samples has the same average whatever came before."""
    minute = [(1.0, count) for _, count in new] * 61
    assert timeline(old + minute).averages(STABLE_S).get("a") == pytest.approx(timeline(minute).averages(STABLE_S).get("a"))


@given(st.lists(st.tuples(st.floats(0.1, GAP_S), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=80))
def test_keys_add_up(samples: list[tuple[float, int, int]]) -> None:
    both, sums, at = Timeline(), Timeline(), 0.0
    for wait_s, first, second in samples:
        at += wait_s
        both.add(at, {"a": first, "b": second})
        sums.add(at, {"a": first + second})
    parts = both.averages(STABLE_S)
    assert parts.get("a", 0.0) + parts.get("b", 0.0) == pytest.approx(sums.averages(STABLE_S).get("a", 0.0))


def test_a_burst_shows_at_once_in_the_short_average_and_slowly_in_the_long_one() -> None:
    found = timeline([(1.0, 0)] * 60 + [(1.0, 12)] * 3)
    assert found.averages(BURST_S)["a"] == pytest.approx(6.0)
    assert found.averages(STABLE_S)["a"] == pytest.approx(0.6)


def test_uneven_samples_count_by_the_time_they_stand_for() -> None:
    found = timeline([(1.0, 0), (4.0, 10), (1.0, 0)])
    assert found.averages(BURST_S)["a"] == pytest.approx(10 * 4 / 6)


def test_a_gap_begins_anew() -> None:
    found = timeline([(1.0, 7)] * 30)
    assert found.since == 1001.0
    found.add(1030.0 + GAP_S + 1, {"b": 1})
    assert (found.since, found.averages(STABLE_S), found.active()) == (1036.0, {"b": 1.0}, {"b": 0.0})


def test_a_key_is_active_for_a_minute_after_its_last_request_even_if_that_was_too_short_to_be_seen() -> None:
    found = Timeline()
    found.add(0.0, {})
    found.add(1.0, {}, moved={"short"})
    for second in range(2, 61):
        found.add(float(second), {})
    assert found.active() == {"short": 59.0}
    assert found.averages(STABLE_S) == {}
    found.add(61.0, {})
    assert found.active() == {}


def test_the_oldest_samples_are_dropped() -> None:
    found = timeline([(0.1, 1)] * 5000)
    assert len(found._samples) <= 601


class Proxy:
    """What a proxy would say, and what really happened."""

    def __init__(self, file: Path) -> None:
        self.file, self.served = file, Served(file)
        self.raw = self.real = 0

    def requests(self, count: int) -> None:
        self.raw += count
        self.real += count
        self.served.see("r1", self.raw)

    def restart_proxy(self) -> None:
        self.raw = 0
        self.served.restarted()

    def restart_worker(self) -> None:
        self.served.save({"r1"})
        self.served = Served(self.file)


@given(actions=st.lists(st.one_of(st.integers(0, 100), st.sampled_from(["proxy", "worker"]))))
def test_counts_go_on_over_restarts_of_proxy_and_worker(tmp_path_factory: pytest.TempPathFactory, actions: list[int | str]) -> None:
    proxy = Proxy(tmp_path_factory.mktemp("served") / "served.json")
    for action in actions:
        match action:
            case "proxy":
                proxy.restart_proxy()
            case "worker":
                proxy.restart_worker()
            case int(count):
                proxy.requests(count)
    assert proxy.served.total("r1") == proxy.real


def test_a_proxy_that_was_restarted_while_no_worker_ran_is_noticed_by_its_lower_count(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path / "served.json")
    proxy.requests(50)
    proxy.served.save({"r1"})
    later = Served(proxy.file)
    assert later.see("r1", 3)
    assert later.total("r1") == 53


def test_a_file_that_cannot_be_read_counts_as_nothing(tmp_path: Path) -> None:
    for text in ("", "[]", '{"r1": 5}', '{"r1": [1]}', "\x00"):
        (tmp_path / "served.json").write_text(text)
        assert Served(tmp_path / "served.json").total("r1") == 0


def test_replicas_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    served = Served(tmp_path / "served.json")
    served.see("r1", 5)
    served.see("r2", 6)
    served.save({"r2"})
    assert (Served(tmp_path / "served.json").total("r1"), Served(tmp_path / "served.json").total("r2")) == (0, 6)
