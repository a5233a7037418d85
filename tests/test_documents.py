"""The tables that people look things up in have all that they can come upon: settings, conditions, failures, codes of the gateway."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from fleetform import settings
from fleetform.app import METRICS_PORT
from fleetform.domain.conditions import Reason
from fleetform.domain.replica import SLOW, FailureReason
from fleetform.errors import SetupError
from fleetform.gateway import replies, routing
from fleetform.gateway.activator import answers
from fleetform.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text()


class Row(NamedTuple):
    """A line of the operator's table of settings."""

    variable: str
    default: str
    values: str

    @property
    def bounds(self) -> tuple[int, int | None] | None:
        """The least and the largest number; None where it is no number."""
        found = re.fullmatch(r"from (\d+)|(\d+) to (\d+)", self.values)
        if found is None:
            return None
        return (int(found[1]), None) if found[1] else (int(found[2]), int(found[3]))

    @property
    def choices(self) -> list[str]:
        return re.findall(r"`([a-z]+)`", self.values) if re.fullmatch(r"`[a-z]+`(, `[a-z]+`)+", self.values) else []


ROWS = [
    Row(*found) for found in re.findall(r"^\| `(FLEETFORM_\w+)` \| (.+?) \| (.+?) \| ", (DOCS / "operator.md").read_text(), re.MULTILINE)
]
NUMBERS = [row for row in ROWS if row.bounds]
CHOICES = [row for row in ROWS if row.choices]


def test_every_setting_that_is_read_is_in_the_operators_table_once() -> None:
    read = set(re.findall(r'"(FLEETFORM_[A-Z_]+)"', Path(settings.__file__).read_text()))
    assert sorted(row.variable for row in ROWS) == sorted(read)


def test_a_default_is_the_one_that_holds() -> None:
    own = settings.load({})
    for row in ROWS:
        held = in_force(own, row.variable)
        if held is not None:
            assert row.default.strip("`") == held, row.variable
    assert next(row.default for row in ROWS if row.variable == "FLEETFORM_METRICS_PORT").startswith(f"{METRICS_PORT},")


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.variable)
def test_a_number_has_the_bounds_that_are_said(row: Row) -> None:
    assert row.bounds is not None
    least, most = row.bounds
    for value in (least, most or 1 << 40):
        settings.load({row.variable: str(value)})
    for value in (least - 1, *([] if most is None else [most + 1])):
        with pytest.raises(SetupError, match=row.variable):
            settings.load({row.variable: str(value)})


@pytest.mark.parametrize("row", CHOICES, ids=lambda row: row.variable)
def test_a_choice_is_one_that_is_taken(row: Row) -> None:
    for value in row.choices:
        settings.load({row.variable: value})
    with pytest.raises(SetupError, match=row.variable):
        settings.load({row.variable: "another"})


def test_numbers_and_choices_are_known_as_such() -> None:
    """So that a row whose words nobody can read is not left out of the tests above."""
    words = {row.variable.removeprefix("FLEETFORM_") for row in ROWS if row not in NUMBERS and row not in CHOICES}
    assert words == {"HOME", "LISTEN_HOST", "GATEWAY_URL", "DATABASE_URL", "REGION", "PEER_REGIONS"}


def test_troubleshooting_has_every_reason_of_a_condition() -> None:
    assert missing(Reason) == []


def test_troubleshooting_has_every_reason_of_a_replica_in_its_table() -> None:
    section = TROUBLESHOOTING.partition("## A replica has failed\n")[2].partition("\n## ")[0]
    first_cells = " ".join(re.findall(r"^\| (.+?) \|", section, re.MULTILINE))
    assert sorted(re.findall(r"`(\w+)`", first_cells)) == sorted(FailureReason)
    assert f"`{SLOW}`" in section


def test_troubleshooting_has_every_code_of_the_gateway() -> None:
    made = json.dumps([replies.local_reply_config(settings.load({})), routing.route_config()])
    codes = {*re.findall(r'"code\\*": \\*"([a-z_]+)', made), *re.findall(r'"([a-z]+_[a-z_]+)"', Path(answers.__file__).read_text())}
    assert {"no_ready_replica", "unknown_url", "model_loading"} <= codes
    assert missing(codes - {"retry_after"}) == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_a_link_to_a_section_finds_it(page: Path) -> None:
    for name, section in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text()):
        target = page.parent / name if name else page
        assert section in sections(target), f"{name}#{section}"


def sections(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def in_force(own: Settings, variable: str) -> str | None:
    """The value of a setting that nobody has set, as one would set it; None where it is made of what the machine has."""
    name = variable.removeprefix("FLEETFORM_").lower()
    match getattr(own, "gateway_url" if name == "gateway_url" else name):
        case bool(held):
            return "on" if held else "off"
        case Path() as held:
            return str(held.relative_to(Path.cwd()))
        case ():
            return "[]"
        case None:
            return None
        case held:
            return str(held)


def missing(words: Iterable[str]) -> list[str]:
    """Those that do not stand there as a code or as the end of a condition."""
    return sorted(word for word in words if not re.search(rf"[`/]{word}`", TROUBLESHOOTING))
