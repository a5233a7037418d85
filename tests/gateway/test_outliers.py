"""Who is ejected for being slower than the others of its version: the cases, and that the others can always spare it."""

from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.domain.load import cell_of
from fleetform.gateway.outliers import Kind, Outliers, Rules, Sibling

RULES = Rules(grace_s=0)
W, F, P = Kind.WHOLE, Kind.FIRST_BYTE, Kind.PAUSE
SECOND_MS = 1000.0


def siblings(*names: str, ill: Collection[str] = (), in_flight: dict[str, int] | None = None) -> list[Sibling]:
    return [Sibling(replica_id=name, well=name not in ill, in_flight=(in_flight or {}).get(name, 0)) for name in names]


class Story:
    """Time that passes: every second each replica ends as many requests as told, each with its time."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.outliers = Outliers(rules)
        self.now = 1000.0

    def goes(self, seconds: int, version: list[Sibling], times_ms: dict[str, float], kind: Kind = W, each: int = 2) -> dict[str, str]:
        """Who is ejected after that. One that is gets nothing."""
        out = self.outliers.judge([version], self.now)
        for _ in range(seconds):
            self.now += 1
            for name, time_ms in times_ms.items():
                if name not in out:
                    self.ends(name, time_ms, kind, each)
            out = self.outliers.judge([version], self.now)
        return out

    def ends(self, name: str, time_ms: float, kind: Kind = W, count: int = 1, lasted_s: float = 0.0) -> None:
        if kind is P:
            self.outliers.streamed(name, {cell_of(time_ms): 50 * count}, 1.0, self.now)
        else:
            for _ in range(count):
                self.outliers.answered(name, kind, time_ms, lasted_s, self.now)


@pytest.mark.parametrize(
    ("kind", "times_ms", "out"),
    [
        (W, {"a": 2000, "b": 200}, {"a"}),
        (W, {"a": 2000, "b": 200, "c": 200}, {"a"}),
        (F, {"a": 2000, "b": 200, "c": 200}, {"a"}),
        (P, {"a": 200, "b": 20, "c": 20}, {"a"}),
        (W, {"a": 900, "b": 200, "c": 200}, set()),  # under five times as slow
        (W, {"a": 150, "b": 1, "c": 1}, set()),  # nobody notices the difference
        (P, {"a": 45, "b": 2, "c": 2}, set()),
        (W, {"a": 2000, "b": 2000, "c": 2000}, set()),  # all of them are slow
        (W, {"a": 2000, "b": 2000, "c": 200}, set()),  # most of them are: that is the norm
        (W, {"a": 4000, "b": 2000, "c": 200, "d": 200}, {"a", "b"}),
        (W, {"a": 4000, "b": 3000, "c": 200, "d": 200, "e": 200}, {"a", "b"}),
        (W, {"a": 2000}, set()),
    ],
)
def test_who_is_ejected(kind: Kind, times_ms: dict[str, float], out: set[str]) -> None:
    assert set(Story().goes(20, siblings(*times_ms), times_ms, kind)) == out


def test_it_says_why_and_for_how_long() -> None:
    story = Story()
    why = story.goes(20, siblings("a", "b"), {"a": 2000, "b": 200})["a"]
    assert why == "it gets no new requests for 30 s: whole answers took 2.0 s, 208 ms at the others of its version"


def test_the_worst_goes_where_not_all_can() -> None:
    story = Story()
    version = siblings("a", "b", "c", "d", "e", "f", ill={"f"})
    times = {"a": 2000.0, "b": 4000.0, "c": 3000.0, "d": 200.0, "e": 200.0}
    assert set(story.goes(20, version, times)) == set()  # three of five are slow
    assert set(story.goes(20, siblings("a", "b", "d", "e", "f", ill={"f"}), times)) == {"b"}


@pytest.mark.parametrize("ill", ["b", "c"])
def test_who_is_out_for_another_reason_counts(ill: str) -> None:
    times = {"a": 2000.0, "b": 200.0, "c": 200.0}
    assert Story().goes(20, siblings("a", "b", "c", ill={ill}), times) == {}


def test_streams_are_compared_with_streams_and_plain_answers_with_plain_answers() -> None:
    story = Story()
    version = siblings("a", "b")
    for _ in range(20):
        story.ends("a", 5000, W)
        story.ends("b", 100, F)
        assert story.goes(1, version, {}) == {}
    story.goes(20, version, {"b": 100}, W)
    assert story.goes(20, version, {"a": 5000, "b": 100}, W) != {}


def test_few_times_say_nothing() -> None:
    story = Story()
    version = siblings("a", "b")
    for _ in range(7):
        story.ends("a", 2000)
        assert story.goes(2, version, {"b": 200}) == {}
    story.ends("a", 2000)
    assert set(story.goes(1, version, {"b": 200})) == {"a"}


def test_a_pause_that_delays_what_is_under_way_once_ejects_nobody() -> None:
    story = Story()
    version = siblings("a", "b")
    for _ in range(20):
        story.ends("a", 3000, lasted_s=3)
    assert story.goes(25, version, {"b": 200}) == {}


def test_who_is_new_is_not_measured_at_first() -> None:
    story = Story(Rules(grace_s=10))
    assert story.goes(9, siblings("a", "b"), {"a": 5000, "b": 200}, each=5) == {}
    assert story.goes(50, siblings("a", "b"), {"a": 200, "b": 200}, each=5) == {}
    assert set(story.goes(20, siblings("a", "b"), {"a": 5000, "b": 200}, each=20)) == {"a"}


@pytest.mark.parametrize(
    ("in_flight", "each", "out"),
    [
        ({"a": 40, "b": 2}, {"a": 4, "b": 4}, set()),  # the longer queue, and as much is done
        ({"a": 40, "b": 2}, {"a": 1, "b": 4}, {"a"}),  # the longer queue because it is slow
        ({"a": 9, "b": 2}, {"a": 4, "b": 4}, {"a"}),
        ({"a": 4, "b": 0}, {"a": 4, "b": 4}, {"a"}),
    ],
)
def test_who_is_slow_for_a_longer_queue_alone_stays(in_flight: dict[str, int], each: dict[str, int], out: set[str]) -> None:
    story, version = Story(), siblings("a", "b", in_flight=in_flight)
    found: set[str] = set()
    for _ in range(20):
        story.ends("a", 2000, count=each["a"])
        story.ends("b", 200, count=each["b"])
        found |= set(story.goes(1, version, {}))
    assert found == out


def test_it_comes_back_is_measured_anew_and_goes_for_longer_each_time_it_is_still_slow() -> None:
    story, version = Story(), siblings("a", "b", "c")
    slow = {"a": 2000.0, "b": 200.0, "c": 200.0}
    outs = [bool(story.goes(1, version, slow)) for _ in range(1500)]
    spans, span = [], 0
    for out in outs:
        if span and not out:
            spans.append(span)
        span = span + 1 if out else 0
    assert spans[:5] == [30, 60, 90, 120, 150]
    assert story.goes(400, version, {}) == {}


def test_the_longest_time_out_has_an_end() -> None:
    story, version = Story(Rules(grace_s=0, ejected_s=100, ejected_max_s=250)), siblings("a", "b")
    said = set()
    for _ in range(3000):
        said |= {why.split(":")[0] for why in story.goes(1, version, {"a": 2000.0, "b": 200.0}).values()}
    assert said == {f"it gets no new requests for {seconds} s" for seconds in (100, 200, 250)}


def test_what_was_is_forgiven_with_time() -> None:
    story, version = Story(), siblings("a", "b")
    slow, well = {"a": 2000.0, "b": 200.0}, {"a": 200.0, "b": 200.0}
    assert "for 30 s" in story.goes(20, version, slow)["a"]
    assert story.goes(40, version, well) == {}
    assert story.goes(120, version, well) == {}
    assert "for 30 s" in story.goes(40, version, slow)["a"]


def test_what_began_before_it_was_ejected_does_not_speak_against_it_when_it_is_back() -> None:
    story, version = Story(), siblings("a", "b")
    assert story.goes(20, version, {"a": 2000, "b": 200}) != {}
    while story.goes(1, version, {"b": 200}):
        story.ends("a", 2000, count=5, lasted_s=20)
    for _ in range(20):
        story.ends("a", 60_000, F, lasted_s=60)
        story.ends("b", 200, F, lasted_s=60)
        assert story.goes(1, version, {"b": 200}) == {}


def test_what_was_measured_before_it_was_ejected_is_forgotten_when_it_is_back() -> None:
    story, version = Story(Rules(grace_s=0, window_s=300)), siblings("a", "b")
    assert story.goes(20, version, {"a": 2000, "b": 200}) != {}
    while story.goes(1, version, {"b": 200}):
        pass
    for _ in range(7):
        assert story.goes(1, version, {"a": 2000, "b": 200}, each=1) == {}
    assert set(story.goes(1, version, {"a": 2000, "b": 200}, each=1)) == {"a"}


def test_it_comes_back_at_once_when_another_is_lost() -> None:
    story = Story()
    assert set(story.goes(20, siblings("a", "b", "c"), {"a": 2000, "b": 200, "c": 200})) == {"a"}
    assert story.goes(1, siblings("a", "b", "c", ill={"b"}), {}) == {}


def test_who_hangs_as_well_is_counted_once() -> None:
    story = Story()
    assert set(story.goes(20, siblings("a", "b"), {"a": 2000, "b": 200})) == {"a"}
    assert set(story.goes(1, siblings("a", "b", ill={"a"}), {})) == {"a"}


def test_who_is_in_no_route_any_more_is_forgotten() -> None:
    story = Story()
    assert story.goes(20, siblings("a", "b"), {"a": 2000, "b": 200}) != {}
    assert story.goes(1, siblings("b", "c"), {}) == {}
    assert story.goes(1, siblings("a", "b"), {}) == {}


def test_versions_do_not_concern_each_other() -> None:
    story = Story()
    old, new = siblings("a", "b"), siblings("c", "d")
    for _ in range(20):
        for name, time_ms in {"a": 200, "b": 200, "c": 5000, "d": 5000}.items():
            story.ends(name, time_ms, count=2)
        story.now += 1
        assert story.outliers.judge([old, new], story.now) == {}


NAMES = ("a", "b", "c", "d", "e")
MOMENTS = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.dictionaries(st.sampled_from(NAMES), st.sampled_from((1.0, 100.0, 1000.0, 60_000.0))),
        st.frozensets(st.sampled_from(NAMES)),
        st.sampled_from((W, F, P)),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), MOMENTS)
def test_never_more_than_half_are_out_and_never_the_last(
    count: int, moments: list[tuple[int, dict[str, float], frozenset[str], Kind]]
) -> None:
    """Whatever happens. Who is ill is out already, and the ill may be any number: then nobody else is."""
    story, names = Story(), NAMES[:count]
    for seconds, times_ms, ill, kind in moments:
        version = siblings(*names, ill=ill)
        known = {name: time_ms for name, time_ms in times_ms.items() if name in names}
        out = set(story.goes(seconds, version, known, kind, each=3))
        gone = out | (ill & set(names))
        assert out <= set(names)
        assert not out or len(gone) <= count // 2
    assert story.goes(310, siblings(*names), {}) == {}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.floats(1, 100_000))
def test_who_are_equally_slow_all_stay(count: int, time_ms: float) -> None:
    names = NAMES[:count]
    assert Story().goes(20, siblings(*names), dict.fromkeys(names, time_ms)) == {}
