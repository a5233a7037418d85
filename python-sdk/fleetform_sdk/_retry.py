"""Whether a failed attempt is made again, and after how long. Pure: the transports sleep.

GET, PUT and DELETE may be sent twice without harm. A POST is sent again only when the server cannot have acted on it: the
connection never came about, or the answer was 429.
"""

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
LONGEST_RETRY_AFTER_S = 120.0


class Failure(NamedTuple):
    """One failed attempt. status_code None: no answer; sent False: the request cannot have reached the server."""

    status_code: int | None
    sent: bool
    retry_after_s: float | None = None


def delay_s(method: str, failure: Failure, attempt: int, jitter: float) -> float | None:
    """Seconds to wait before the next attempt, or None when the failure is final.

    attempt counts from 0; jitter is a random number in [0, 1) that takes up to a quarter off the delay. A Retry-After is kept
    to; above 120 s the failure is final, so that the caller learns it now.
    """
    if not _may_repeat(method, failure):
        return None
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= LONGEST_RETRY_AFTER_S else None
    return float(min(FIRST_DELAY_S * 2**attempt, LONGEST_DELAY_S)) * (1 - jitter / 4)


def _may_repeat(method: str, failure: Failure) -> bool:
    if failure.status_code is None:
        return method in IDEMPOTENT or not failure.sent
    if failure.status_code == 429:
        return True
    return method in IDEMPOTENT and failure.status_code in RETRIED_STATUSES


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The Retry-After header in seconds (a number, or an HTTP date against now); None when absent or not understood."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:  # HTTP has no other time than this
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
