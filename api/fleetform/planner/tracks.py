"""Which tracks an endpoint wants, and how many replicas each of them gets."""

from fleetform.domain.desired import Desired, VersionFacts
from fleetform.domain.rollout import Track, track_id


def unverified(desired: Desired) -> list[VersionFacts]:
    """Versions with traffic that cannot be served: being verified, refused, or gone; in the order of their references."""
    refs = sorted({v.model_version for v in desired.effective.variants.values() if v.weight > 0})
    facts = [desired.versions.get(ref) or VersionFacts(uid="", ref=ref, artifact="", deleted=True) for ref in refs]
    return [version for version in facts if version.deleted or not version.verified or version.manifest is None]


def wanted(desired: Desired) -> tuple[dict[str, Track], dict[str, int]]:
    """The tracks of the variants that get traffic, and their weights; every version of theirs is verified, the shape known."""
    tracks: dict[str, Track] = {}
    weights: dict[str, int] = {}
    for variant, spec in sorted(desired.effective.variants.items()):
        if spec.weight == 0:
            continue
        track = _track(desired, variant, desired.versions[spec.model_version], spec.engine_args)
        tracks[track.track_id] = track
        weights[track.track_id] = spec.weight
    return tracks, weights


def _track(desired: Desired, variant: str, version: VersionFacts, engine_args: dict[str, str]) -> Track:
    if desired.shape is None or version.manifest is None:
        raise ValueError(f"track of {desired.name}/{variant} asked for before its parts are known")
    content = (version.ref, version.manifest.digest, version.engine, version.command, version.quantization, engine_args)
    return Track(
        track_id=track_id(variant, *content, desired.effective.instance_type, desired.shape),
        variant=variant,
        model_version=version.ref,
        artifact=version.artifact,
        manifest=version.manifest,
        engine=version.engine,
        instance_type=desired.effective.instance_type,
        shape=desired.shape,
        engine_args=engine_args,
        command=version.command,
        quantization=version.quantization,
        allow_remote_code=version.allow_remote_code,
    )


def shared_out(count: int, weights: dict[str, int]) -> dict[str, int]:
    """count replicas over the tracks of weights by largest remainder, each track with traffic at least one.

    Ties go to the heavier track, then by id. More tracks than count: each gets one.
    """
    tracks = sorted((t for t, weight in weights.items() if weight > 0), key=lambda t: (-weights[t], t))
    if not tracks:
        return {}
    total = sum(weights[t] for t in tracks)
    parts = {t: count * weights[t] // total for t in tracks}
    by_remainder = sorted(tracks, key=lambda t: -(count * weights[t] % total))
    for t in by_remainder[: count - sum(parts.values())]:
        parts[t] += 1
    for t in tracks:
        if parts[t] == 0:
            parts[t] = 1
            richest = max(tracks, key=lambda other: parts[other])
            if parts[richest] > 1:
                parts[richest] -= 1
    return parts
