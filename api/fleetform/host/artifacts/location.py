"""Artifact addresses, and the prefixes they must lie below.

The control plane has checked the prefix when the version was registered. It is checked again here, where the files are opened,
because this process holds the credentials and the file system.
"""

from enum import StrEnum

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.host.artifacts.refusal import refusal

PATH_MAX = 1024
"""Bytes in a path below an artifact; also the longest key of S3."""


class Scheme(StrEnum):
    FILE = "file"
    S3 = "s3"


class Location(Record, frozen=True, kw_only=True):
    """bucket: empty for files. path: absolute for files; the key or key prefix for S3, without a leading slash."""

    scheme: Scheme
    bucket: str
    path: str

    @property
    def is_folder(self) -> bool:
        """True when the address can only mean everything below it."""
        return self.path == "" or self.path.endswith("/")


def locate(artifact: str, prefixes: tuple[str, ...]) -> Location:
    """artifact taken apart; ArtifactRefused (AccessDenied) when it is malformed or below none of prefixes."""
    location = parse(artifact)
    if not any(is_below(location, parse(prefix)) for prefix in prefixes):
        raise refusal(
            Reason.ACCESS_DENIED,
            f"{artifact} lies below none of the project's artifact prefixes ({', '.join(prefixes) or 'there are none'})",
            artifact=artifact,
        )
    return location


def parse(address: str) -> Location:
    """`file:///folder/`, `file:///file`, `s3://bucket/prefix/` or `s3://bucket/key`; anything else is refused."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in (Scheme.FILE, Scheme.S3):
        raise refusal(Reason.ACCESS_DENIED, f"{address!r} is not an artifact address: s3://bucket/… or file:///…", artifact=address)
    bucket, slash, path = rest.partition("/")
    if scheme == Scheme.FILE and bucket:
        raise refusal(Reason.ACCESS_DENIED, f"{address!r} names a host; a file artifact begins with file:///", artifact=address)
    if scheme == Scheme.S3 and not bucket:
        raise refusal(Reason.ACCESS_DENIED, f"{address!r} names no bucket", artifact=address)
    wrong = path_problem(path.removesuffix("/")) if path.removesuffix("/") else None
    if wrong is not None:
        raise refusal(Reason.ACCESS_DENIED, f"{address!r} {wrong}", artifact=address)
    return Location(scheme=Scheme(scheme), bucket=bucket, path=slash + path if scheme == Scheme.FILE else path)


def is_below(location: Location, prefix: Location) -> bool:
    """True when location is prefix or lies below it; `/a/bc` is not below `/a/b`."""
    if (location.scheme, location.bucket) != (prefix.scheme, prefix.bucket):
        return False
    folder = prefix.path.rstrip("/")
    return folder == "" or location.path.rstrip("/") == folder or location.path.startswith(folder + "/")


def path_problem(path: str) -> str | None:
    """Why path may not be a path below an artifact, or None: relative, `/` between parts, nothing that climbs or hides."""
    if len(path.encode("utf-8", "surrogateescape")) > PATH_MAX:
        return f"is longer than {PATH_MAX} bytes"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, '.' or '..' part"
    if "\\" in path or "%" in path or not path.isprintable():
        return "has a character that artifact paths may not have: '\\', '%' or a control character"
    return None
