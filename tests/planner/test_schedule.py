"""Which bounds a schedule gives, and when they change."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.domain.effective import EffectiveSchedule
from fleetform.domain.schedule import cron_problem, last_before, next_after, timezone_problem
from fleetform.planner.schedule import CountBounds, bounds_at
from tests.builders import effective_endpoint

HOUR = 3600
WORK = EffectiveSchedule(cron="0 9 * * MON-FRI", duration_s=8 * HOUR, timezone="Asia/Dhaka", min_replicas=5, max_replicas=10)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bounds(now: str, least: int = 1, most: int = 4, **schedules: EffectiveSchedule) -> CountBounds:
    effective = msgspec.structs.replace(effective_endpoint(), min_replicas=least, max_replicas=most, schedule=schedules)
    return bounds_at(effective, at(now))


@pytest.mark.parametrize(
    ("now", "least", "most", "next_at"),
    [
        ("2026-01-05 02:59:59", 1, 4, "2026-01-05 03:00"),  # Monday, 08:59:59 in Dhaka
        ("2026-01-05 03:00:00", 5, 10, "2026-01-05 11:00"),
        ("2026-01-05 10:59:59.999", 5, 10, "2026-01-05 11:00"),
        ("2026-01-05 11:00:00", 1, 4, "2026-01-06 03:00"),
        ("2026-01-09 11:00:00", 1, 4, "2026-01-12 03:00"),  # Friday evening
    ],
)
def test_a_schedule_holds_from_its_time_for_its_duration(now: str, least: int, most: int, next_at: str) -> None:
    found = bounds(now, work=WORK)
    assert (found.least, found.most, found.next_at) == (least, most, at(next_at))
    assert found.names == (("work",) if least == 5 else ())


@pytest.mark.parametrize(
    ("schedules", "expected"),
    [
        ({"a": (5, None)}, (5, 5)),  # a minimum above the endpoint's own maximum raises that
        ({"a": (3, None)}, (3, 4)),
        ({"a": (None, 9)}, (2, 9)),
        ({"a": (None, 1)}, (1, 1)),  # a maximum below the endpoint's own minimum lowers that
        ({"a": (0, None)}, (0, 4)),
        ({"a": (3, 6), "b": (1, 8)}, (3, 8)),  # the largest of each
        ({"a": (None, 2), "b": (5, None)}, (5, 5)),  # of two named bounds the minimum wins
        ({"a": (None, 2), "b": (None, 3)}, (2, 3)),
    ],
)
def test_where_bounds_meet_the_larger_wins(schedules: dict[str, tuple[int | None, int | None]], expected: tuple[int, int]) -> None:
    always = {
        name: EffectiveSchedule(cron="* * * * *", duration_s=HOUR, min_replicas=least, max_replicas=most)
        for name, (least, most) in schedules.items()
    }
    found = bounds("2026-01-05 12:00", least=2, most=4, **always)
    assert (found.least, found.most) == expected


def test_without_a_schedule_nothing_ever_changes() -> None:
    assert bounds("2026-01-05 12:00") == CountBounds(least=1, most=4)


BERLIN_NIGHT = EffectiveSchedule(cron="30 2 * * *", duration_s=600, timezone="Europe/Berlin", min_replicas=3)


@pytest.mark.parametrize(
    ("now", "least"),
    [
        ("2026-03-28 01:30", 3),  # winter: 02:30 is 01:30 UTC
        ("2026-03-29 01:00", 3),  # 02:30 does not exist on this day: it comes at the change
        ("2026-03-29 01:30", 1),
        ("2026-03-30 00:30", 3),  # summer: 02:30 is 00:30 UTC
        ("2026-10-25 00:30", 3),  # 02:30 comes twice: the first one counts
        ("2026-10-25 01:30", 1),
        ("2026-10-26 01:30", 3),
    ],
)
def test_a_change_of_the_clock_neither_loses_nor_repeats_a_time(now: str, least: int) -> None:
    assert bounds(now, night=BERLIN_NIGHT).least == least


def test_a_time_that_comes_again_before_it_ends_holds_on() -> None:
    every_hour = EffectiveSchedule(cron="0 * * * *", duration_s=2 * HOUR, min_replicas=3)
    found = bounds("2026-01-05 12:59:59", all=every_hour)
    assert (found.least, found.next_at) == (3, at("2026-01-05 13:00"))


FIRST, LAST = at("2025-01-01").replace(tzinfo=None), at("2027-01-01").replace(tzinfo=None)
"""Hypothesis draws between naive times."""


@given(st.datetimes(FIRST, LAST, timezones=st.just(UTC)), st.sampled_from(["Asia/Dhaka", "Europe/Berlin", "America/New_York"]))
def test_nothing_changes_before_next_at(now: datetime, timezone: str) -> None:
    """Bounds are the same at any second between now and next_at, and next_at lies ahead: the loop may sleep until then."""
    schedules = {
        "work": msgspec.structs.replace(WORK, timezone=timezone),
        "night": msgspec.structs.replace(BERLIN_NIGHT, timezone=timezone),
    }
    effective = msgspec.structs.replace(effective_endpoint(), schedule=schedules)
    found = bounds_at(effective, now)
    assert found.next_at is not None
    assert found.next_at > now
    for share in (0.25, 0.5, 0.999):
        between = now + (found.next_at - now) * share
        later = bounds_at(effective, between)
        assert (later.least, later.most) == (found.least, found.most)
    a_week_later = now + timedelta(days=8)
    times = (last_before(WORK.cron, timezone, now), next_after(WORK.cron, timezone, now), last_before(WORK.cron, timezone, a_week_later))
    last, following, later_on = (time for time in times if time is not None)
    assert last <= now < following <= later_on <= a_week_later


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 9 * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("61 * * * *", "bad minute"),
        ("0 9 * * MON-", "bad day-of-week"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0/0 9 * * *", "bad minute"),
    ],
)
def test_what_is_wrong_with_a_cron_expression_is_said(cron: str, words: str) -> None:
    assert words in (cron_problem(cron) or "")


@pytest.mark.parametrize("cron", ["0 9 * * MON-FRI", "*/5 8-18 * * *", "0 0 L 2 *", "0 0 29 2 *", "0 7 1-7 * 1"])
def test_expressions_that_are_used_are_taken(cron: str) -> None:
    assert cron_problem(cron) is None


@pytest.mark.parametrize(
    "timezone", ["Mars/Base", "../etc/passwd", "/etc/passwd", "", "Asia", "a\0b", "localtime", "posix/UTC", "asia/dhaka"]
)
def test_only_names_of_the_iana_database_are_time_zones(timezone: str) -> None:
    assert "not a time zone" in (timezone_problem(timezone) or "")
    assert timezone_problem("Asia/Dhaka") is None
