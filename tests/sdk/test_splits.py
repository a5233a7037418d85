"""What `set_traffic` makes of a split."""

from typing import Any

import pytest

from fleetform_sdk import InvalidSplit, with_split


def spec(**variants: str) -> dict[str, Any]:
    """A spec whose variants run those versions, all with equal rights; names use `_` for `.`."""
    return {
        "instance_type": "cpu-small",
        "variants": {name.replace("_", "."): {"model_version": ref, "weight": 50} for name, ref in variants.items()},
    }


def weights(changed: dict[str, Any]) -> dict[str, int]:
    return {name: variant["weight"] for name, variant in changed["variants"].items()}


def test_keys_are_variants() -> None:
    old = spec(blue="m:v1", green="other:v2")
    assert weights(with_split(old, {"blue": 90, "green": 10})) == {"blue": 90, "green": 10}


def test_a_registered_version_becomes_a_variant_named_after_it() -> None:
    changed = with_split(spec(v1_4="acme:v1.4"), {"v1.4": 90, "v1.5": 10})
    assert changed["variants"]["v1.5"] == {"model_version": "acme:v1.5", "weight": 10}
    assert weights(changed) == {"v1.4": 90, "v1.5": 10}


def test_a_variant_left_out_stays_at_zero() -> None:
    assert weights(with_split(spec(v1_4="acme:v1.4", v1_5="acme:v1.5"), {"v1.5": 100})) == {"v1.4": 0, "v1.5": 100}


def test_a_version_means_the_variant_that_runs_it() -> None:
    assert weights(with_split(spec(blue="acme:v1.4"), {"v1.4": 40, "v1.5": 60})) == {"blue": 40, "v1.5": 60}


def test_everything_else_is_kept() -> None:
    old = spec(v1="m:v1")
    old["variants"]["v1"]["engine_args"] = {"max_model_len": "2048"}
    old["a_field_of_tomorrow"] = [1]
    changed = with_split(old, {"v1": 100})
    assert changed["variants"]["v1"] == {"model_version": "m:v1", "weight": 100, "engine_args": {"max_model_len": "2048"}}
    assert changed["a_field_of_tomorrow"] == [1]
    assert old["variants"]["v1"]["weight"] == 50


@pytest.mark.parametrize(
    ("variants", "split", "said"),
    [
        ({"blue": "a:v1", "green": "b:v1"}, {"v2": 100}, "several models"),
        ({"blue": "a:v1", "green": "a:v1"}, {"v1": 100}, "blue, green"),
        ({"blue": "a:v1"}, {"blue": 50, "v1": 50}, "both mean the variant 'blue'"),
    ],
)
def test_a_split_that_is_not_clear_is_refused(variants: dict[str, str], split: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidSplit, match=said):
        with_split(spec(**variants), split)
