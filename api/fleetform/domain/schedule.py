"""Times that a schedule names: cron expressions of five fields, read in a time zone.

In a zone that changes its clock, a time of day that is skipped comes at the change, and one that comes twice counts once, as in
Debian's cron; an expression that starts with a star in its minutes or hours goes by elapsed time.
"""

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 5


def cron_problem(cron: str) -> str | None:
    """What is wrong with a cron expression, or None. One that names no day that ever comes is wrong too."""
    if len(cron.split()) != FIELDS:
        return f"{cron!r} must have five fields: minute, hour, day of month, month, day of week, such as '0 9 * * MON-FRI'"
    try:
        comes = next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        return f"{cron!r} is not a cron expression: {str(error)[:1].lower()}{str(error)[1:]}"
    return None if comes else f"{cron!r} names no time that ever comes"


def timezone_problem(timezone: str) -> str | None:
    """What is wrong with a time zone's name, or None. What a name means must not depend on the machine that reads it."""
    if timezone != "localtime" and not timezone.startswith(("posix/", "right/")):
        with contextlib.suppress(KeyError, OSError, ValueError):
            ZoneInfo(timezone)
            return None
    return f"{timezone!r} is not a time zone; name one of the IANA database, such as 'Asia/Dhaka' or 'UTC'"


def last_before(cron: str, timezone: str, at: datetime) -> datetime | None:
    """The last time that cron names up to at, in UTC; None when there is none in the fifty years before."""
    # From a second later, since cron looks strictly before where it starts; a whole second, so that no fraction is in its way.
    start = at.replace(microsecond=0) + timedelta(seconds=1)
    found = next(CronSim(cron, start.astimezone(ZoneInfo(timezone)), reverse=True), None)
    return None if found is None else found.astimezone(UTC)


def next_after(cron: str, timezone: str, at: datetime) -> datetime | None:
    """The first time that cron names after at, in UTC; None when there is none in the next fifty years."""
    found = next(CronSim(cron, at.astimezone(ZoneInfo(timezone))), None)
    return None if found is None else found.astimezone(UTC)
