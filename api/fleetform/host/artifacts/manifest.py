"""The digest of an artifact, and comparing what is found with what was frozen."""

import hashlib
from collections.abc import Iterable

import msgspec

from fleetform.domain.conditions import Reason
from fleetform.domain.model import Manifest, ManifestFile
from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts.refusal import refusal


def digest_of(files: Iterable[ManifestFile]) -> str:
    """The artifact's digest, in hex: SHA-256 of the JSON list `[{"path":…,"sha256":…,"size":…},…]`.

    The list is sorted by path, the keys are in that order, there is no white space, and the text is UTF-8. ETags are left out, so
    that the same files have the same digest wherever they lie.
    """
    listed = [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in sorted(files, key=lambda f: f.path)]
    return hashlib.sha256(msgspec.json.encode(listed, order="sorted")).hexdigest()


def check_expected(manifest: Manifest, expected_digest: str) -> None:
    """Refused (DigestMismatch) when the client pinned another digest than the one found; empty pins nothing."""
    if expected_digest and expected_digest != manifest.digest:
        raise refusal(
            Reason.DIGEST_MISMATCH,
            f"the artifact's digest is {manifest.digest}, and the version pins {expected_digest}",
            expected=expected_digest,
            found=manifest.digest,
        )


def changed(file: ManifestFile, size: int, sha256: str) -> ArtifactRefused:
    """The refusal of a file whose bytes are not those frozen with the version. It is never loaded."""
    return refusal(
        Reason.DIGEST_MISMATCH,
        f"{file.path} changed after the version was registered: {file.size} bytes with SHA-256 {file.sha256} are registered, "
        f"{size} bytes with SHA-256 {sha256} were found; register what is there now as a new version",
        path=file.path,
        expected=file.sha256,
        found=sha256,
    )
