"""The stories of golden/ are told as they stand there; a changed decision shows as a diff of readable text."""

import pytest

from tests.planner.golden import FOLDER, STORIES


@pytest.mark.parametrize("name", sorted(STORIES))
def test_the_story_is_told_as_before(name: str) -> None:
    wanted = (FOLDER / f"{name}.txt").read_text()
    assert "\n".join(STORIES[name]()) + "\n" == wanted, "if the change is meant: python -m tests.planner.golden"


def test_there_is_no_story_without_a_teller() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == STORIES.keys()
