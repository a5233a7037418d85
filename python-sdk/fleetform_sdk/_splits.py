"""A traffic split laid over an endpoint's spec. Pure; the spec is JSON, so that fields which this SDK does not know are kept."""

from collections.abc import Mapping
from typing import Any

from fleetform_sdk._errors import FleetformError


class InvalidSplit(FleetformError, ValueError):
    """The keys of a split do not say which variants are meant."""


def with_split(spec: Mapping[str, Any], split: Mapping[str, int]) -> dict[str, Any]:
    """spec with the weights of split, in percent; a variant that split leaves out stays, at weight 0.

    A key is a variant's name, else a version of the endpoint's single model: of the variant that runs it, or of a new variant
    named after it. InvalidSplit: several models or several variants could be meant, or two keys mean the same variant.
    """
    variants: dict[str, dict[str, Any]] = {name: {**variant, "weight": 0} for name, variant in spec["variants"].items()}
    set_by: dict[str, str] = {}
    for key, weight in split.items():
        name = key if key in spec["variants"] else _variant_running(spec["variants"], key)
        if name in set_by:
            raise InvalidSplit(f"{set_by[name]!r} and {key!r} both mean the variant {name!r}")
        set_by[name] = key
        if name not in variants:
            variants[name] = {"model_version": f"{_only_model(spec['variants'], key)}:{key}"}
        variants[name]["weight"] = weight
    return {**spec, "variants": variants}


def _variant_running(variants: Mapping[str, Any], version: str) -> str:
    """The variant that runs version of the single model; version itself where none does."""
    ref = f"{_only_model(variants, version)}:{version}"
    found = sorted(name for name, variant in variants.items() if variant["model_version"] == ref)
    if len(found) > 1:
        raise InvalidSplit(f"{version!r} is run by the variants {', '.join(found)}; name one of them")
    return found[0] if found else version


def _only_model(variants: Mapping[str, Any], key: str) -> str:
    models: list[str] = sorted({variant["model_version"].partition(":")[0] for variant in variants.values()})
    if len(models) > 1:
        known = ", ".join(sorted(variants))
        raise InvalidSplit(f"{key!r} is no variant ({known}), and the endpoint has several models ({', '.join(models)}): name a variant")
    return models[0]
