"""Types of options: durations, splits, key=value pairs, references."""

import re
from typing import Any

import click

from fleetform_sdk.durations import seconds


class Seconds(click.ParamType[int]):
    """A duration such as `30s`, `5m`, `1h`, `30d`, in whole seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds; a usage error when it is not a duration."""
        try:
            return int(seconds(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Days(click.ParamType[int]):
    """A duration of whole days, such as `30d` or `720h`."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Days; a usage error when it is not a duration of whole days."""
        whole, rest = divmod(Seconds().convert(value, param, ctx) if not isinstance(value, int) else value * 86400, 86400)
        if rest or not whole:
            self.fail(f"{value!r} is not a number of days; write it as '30d'", param, ctx)
        return whole


class Split(click.ParamType[dict[str, int]]):
    """`v1.4=90,v1.5=10`: percent by variant or version."""

    name = "split"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Weights by key; a usage error when a part is not `name=weight`, or a name comes twice."""
        if isinstance(value, dict):
            return value
        split: dict[str, int] = {}
        for part in value.split(","):
            name, equals, weight = part.strip().partition("=")
            if not name or not equals or not weight.strip().isdecimal():
                self.fail(f"{part.strip()!r} is not of the form name=percent; write it as 'v1.4=90,v1.5=10'", param, ctx)
            if name in split:
                self.fail(f"{name!r} is given twice", param, ctx)
            split[name] = int(weight)
        return split


class Pair(click.ParamType[tuple[str, str]]):
    """`key=value`."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Key and value; a usage error when there is no `=`."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        return key, text


class ModelRef(click.ParamType[tuple[str, str]]):
    """`model:version`."""

    name = "model:version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Model and version; a usage error when there is no colon."""
        if isinstance(value, tuple):
            return value
        model, colon, version = value.partition(":")
        if not model or not colon or not version:
            self.fail(f"{value!r} is not of the form model:version", param, ctx)
        return model, version


class Steps(click.ParamType[list[int]]):
    """`1,10,50,100`: percent of the way from the old split to the new."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The steps; a usage error when one is not a whole number."""
        if isinstance(value, list):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is not a list of percentages; write it as '1,10,50,100'", param, ctx)
        return [int(part) for part in parts]


class Schedule(click.ParamType[tuple[str, dict[str, Any]]]):
    """`office: 0 9 * * SUN-THU for 8h in Asia/Dhaka, min 2, max 10`: bounds of the replica count at certain times."""

    name = "schedule"
    _FORM = re.compile(
        r"(?P<name>[^:\s]+):\s*(?P<cron>\S.*?)\s+for\s+(?P<duration>[^\s,]+)(?:\s+in\s+(?P<timezone>[^\s,]+))?"
        r"(?:,?\s+min\s+(?P<least>\d+))?(?:,?\s+max\s+(?P<most>\d+))?"
    )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, dict[str, Any]]:
        """Name and fields; a usage error when it is not of this form. What cron and zone mean is the API's to check."""
        if isinstance(value, tuple):
            return value
        found = self._FORM.fullmatch(value.strip())
        if found is None:
            example = "office: 0 9 * * SUN-THU for 8h in Asia/Dhaka, min 2, max 10"
            self.fail(f"{value!r} is not of the form 'NAME: CRON for DURATION in ZONE, min N, max N'; write it as '{example}'", param, ctx)
        fields: dict[str, Any] = {"cron": found["cron"], "duration_s": Seconds().convert(found["duration"], param, ctx)}
        fields |= {} if found["timezone"] is None else {"timezone": found["timezone"]}
        fields |= {} if found["least"] is None else {"min_replicas": int(found["least"])}
        fields |= {} if found["most"] is None else {"max_replicas": int(found["most"])}
        return found["name"], fields


SECONDS, DAYS, SPLIT, PAIR, MODEL_REF, STEPS, SCHEDULE = Seconds(), Days(), Split(), Pair(), ModelRef(), Steps(), Schedule()


def given(**values: Any) -> dict[str, Any]:
    """Those of values that were typed: not None, and not an empty tuple. Tuples become lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value not in (None, ())}
