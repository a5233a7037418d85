"""When a failed attempt is made again, and after how long."""

from datetime import UTC, datetime

import pytest

from fleetform_sdk._retry import Failure, delay_s, retry_after_s

NO_ANSWER, NEVER_SENT = Failure(None, sent=True), Failure(None, sent=False)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("failure", [NO_ANSWER, NEVER_SENT, *(Failure(s, sent=True) for s in (408, 429, 500, 502, 503, 504))])
def test_what_is_idempotent_is_repeated(method: str, failure: Failure) -> None:
    assert delay_s(method, failure, 0, 0.0) == 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 501])
def test_a_refusal_is_final(status: int) -> None:
    assert delay_s("GET", Failure(status, sent=True), 0, 0.0) is None


@pytest.mark.parametrize(
    ("failure", "repeated"),
    [
        (NEVER_SENT, True),
        (Failure(429, sent=True), True),
        (NO_ANSWER, False),
        (Failure(500, sent=True), False),
        (Failure(503, sent=True), False),
    ],
)
def test_a_post_is_repeated_only_when_it_cannot_have_acted(failure: Failure, repeated: bool) -> None:
    assert (delay_s("POST", failure, 0, 0.0) is not None) == repeated


def test_delays_double_up_to_a_ceiling_and_jitter_takes_up_to_a_quarter() -> None:
    assert [delay_s("GET", NO_ANSWER, attempt, 0.0) for attempt in range(7)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert delay_s("GET", NO_ANSWER, 0, 1.0) == 0.375


def test_retry_after_is_kept_to_and_above_two_minutes_is_final() -> None:
    assert delay_s("GET", Failure(503, sent=True, retry_after_s=7.0), 0, 0.9) == 7.0
    assert delay_s("GET", Failure(503, sent=True, retry_after_s=120.0), 5, 0.0) == 120.0
    assert delay_s("GET", Failure(503, sent=True, retry_after_s=121.0), 0, 0.0) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:59:30 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 12:00:30", 30.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}, NOW) == seconds


def test_no_header_is_none() -> None:
    assert retry_after_s({}, NOW) is None
