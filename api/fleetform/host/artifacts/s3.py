"""Buckets: listed, and read in ranges that resume, are retried with a back-off, and end with a deadline.

The endpoint (AWS_ENDPOINT_URL) and the credentials are those of the host process, by boto3's default chain; nothing of them comes
from a tenant. botocore's own retries are off, so that one place decides how long to try.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.client import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.errors import ArtifactRefused, SourceAway
from fleetform.host.artifacts.location import Location, path_problem
from fleetform.host.artifacts.refusal import refusal
from fleetform.host.artifacts.sources import FILES_MAX, SourceFile, Stop, too_many_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
RANGE_BYTES = 64 << 20
CHUNK_BYTES = 64 << 10
PARTIAL_CONTENT = 206
_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled"})
_CHANGED = frozenset({"412", "PreconditionFailed"})
_PASSING = frozenset({"408", "429", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "ThrottlingException"})


class S3Options(Record, frozen=True, kw_only=True):
    """All in seconds. stall_s: a chunk (64 KiB) must arrive within it. give_up_s: without such a chunk, SourceAway.

    Back-off between attempts: backoff_s, doubled each time up to backoff_max_s; with the defaults 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5 …
    """

    connect_timeout_s: float = 5
    stall_s: float = 20
    give_up_s: float = 60
    backoff_s: float = 0.2
    backoff_max_s: float = 5


class S3Source:
    """The objects below a prefix, or one object."""

    resumable = True

    def __init__(self, location: Location, options: S3Options) -> None:
        self._bucket = location.bucket
        self._key = location.path
        self._must_be_folder = location.is_folder
        self._options = options
        config = Config(
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.stall_s,
            retries={"total_max_attempts": 1},
            response_checksum_validation="when_required",
            request_checksum_calculation="when_required",
        )
        # A session of its own: boto3's default one is not thread-safe, and remembers credentials that have changed since.
        try:
            self._client: S3Client = boto3.session.Session().client("s3", config=config)
        except BotoCoreError as error:
            why = f"the credentials or the configuration for S3 cannot be had ({type(error).__name__}); look at AWS_… of the host process"
            raise SourceAway(why, bucket=location.bucket) from error

    def files(self, stop: Stop) -> tuple[SourceFile, ...]:
        if not self._must_be_folder:
            name = self._key.rsplit("/", 1)[-1]
            try:
                return (self._head(name, self._key, stop),)
            except ArtifactRefused as error:
                if error.details["condition_reason"] != Reason.ARTIFACT_MISSING:
                    raise
        folder = self._key.rstrip("/") + "/" if self._key else ""
        found = sorted(self._list(folder, stop), key=lambda f: f.path)
        if not found:
            raise refusal(Reason.ARTIFACT_MISSING, f"there is nothing at s3://{self._bucket}/{self._key}", key=self._key)
        return tuple(found)

    def find(self, path: str, stop: Stop) -> SourceFile:
        if not self._must_be_folder and path == self._key.rsplit("/", 1)[-1]:
            try:
                return self._head(path, self._key, stop)
            except ArtifactRefused as error:
                if error.details["condition_reason"] != Reason.ARTIFACT_MISSING:
                    raise
        return self._head(path, self._full(path), stop)

    def read(self, file: SourceFile, offset: int, stop: Stop) -> Iterator[bytes]:
        key = file.origin
        patience = _Patience(self._options, f"s3://{self._bucket}/{key}")
        while offset < file.size:
            end = min(offset + RANGE_BYTES, file.size)
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={offset}-{end - 1}", IfMatch=file.etag)
                body = answer["Body"]
                # A server that knows no ranges answers with the whole object.
                to_skip = 0 if answer["ResponseMetadata"]["HTTPStatusCode"] == PARTIAL_CONTENT else offset
                try:
                    while chunk := body.read(CHUNK_BYTES if to_skip else min(CHUNK_BYTES, end - offset) or 1):
                        stop.check()
                        patience.moved()
                        if offset == end:
                            break  # it sends more than was asked for
                        wanted = chunk[to_skip:][: end - offset]
                        to_skip = max(0, to_skip - len(chunk))
                        offset += len(wanted)
                        if wanted:
                            yield wanted
                finally:
                    body.close()
                if offset < end:
                    patience.failed(EOFError(f"the answer ended {end - offset} bytes early"), stop)
            except (BotoCoreError, ClientError, OSError) as error:
                self._raise_if_final(error, key)
                patience.failed(error, stop)

    def _list(self, folder: str, stop: Stop) -> Iterator[SourceFile]:
        token: str | None = None
        count = 0
        while True:
            ask = partial(self._client.list_objects_v2, Bucket=self._bucket, Prefix=folder)
            page = self._retried(partial(ask, ContinuationToken=token) if token else ask, folder, stop)
            for item in page.get("Contents", []):
                path = item["Key"].removeprefix(folder)
                if item["Key"].endswith("/") and item["Size"] == 0:
                    continue  # what consoles leave behind to show a folder
                if any(part.startswith(".") and part not in (".", "..") for part in path.split("/")):
                    continue
                wrong = path_problem(path)
                if wrong is not None:
                    raise refusal(Reason.ACCESS_DENIED, f"the key {item['Key']!r} {wrong}", key=item["Key"])
                count += 1
                if count > FILES_MAX:
                    raise too_many_files(f"s3://{self._bucket}/{folder}")
                yield SourceFile(path=path, size=item["Size"], origin=item["Key"], version=item["ETag"], etag=item["ETag"])
            token = page.get("NextContinuationToken")
            if not token:
                return

    def _head(self, path: str, key: str, stop: Stop) -> SourceFile:
        answer = self._retried(lambda: self._client.head_object(Bucket=self._bucket, Key=key), key, stop)
        return SourceFile(path=path, size=answer["ContentLength"], origin=key, version=answer["ETag"], etag=answer["ETag"])

    def _full(self, path: str) -> str:
        wrong = path_problem(path)
        if wrong is not None:
            raise refusal(Reason.ACCESS_DENIED, f"{path!r} {wrong}", path=path)
        return f"{self._key.rstrip('/')}/{path}" if self._key else path

    def _retried(self, call: Callable[[], T], key: str, stop: Stop) -> T:
        patience = _Patience(self._options, f"s3://{self._bucket}/{key}")
        while True:
            stop.check()
            try:
                return call()
            except (BotoCoreError, ClientError, OSError) as error:
                self._raise_if_final(error, key)
                patience.failed(error, stop)

    def _raise_if_final(self, error: Exception, key: str) -> None:
        """Raises what trying again cannot change."""
        where = f"s3://{self._bucket}/{key}"
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise refusal(Reason.ACCESS_DENIED, "the host process has no credentials for S3", key=key) from error
        if isinstance(error, ParamValidationError):
            raise refusal(Reason.ACCESS_DENIED, f"{where} is not an address that S3 knows", key=key) from error
        if not isinstance(error, ClientError):
            return
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _CHANGED:
            raise SourceAway(f"{where} was overwritten while it was read", key=key) from error
        if code in _MISSING or status == 404:
            raise refusal(Reason.ARTIFACT_MISSING, f"{where} does not exist", key=key) from error
        if code in _PASSING or status >= 500 or status == 429:
            return
        if code in _DENIED or status in (401, 403):
            raise refusal(Reason.ACCESS_DENIED, f"the host process may not read {where} ({code})", key=key) from error
        raise refusal(Reason.ACCESS_DENIED, f"S3 refuses {where}: {code}", key=key) from error


class _Patience:
    """Counts failures in a row, waits longer after each, and ends with SourceAway."""

    def __init__(self, options: S3Options, where: str) -> None:
        self._options = options
        self._where = where
        self._failures = 0
        self._last_chunk_at = self._moved_at = time.monotonic()

    def moved(self) -> None:
        """A chunk came; one that came too slowly does not count as a sign of life."""
        now = time.monotonic()
        if now - self._last_chunk_at <= self._options.stall_s:
            self._moved_at, self._failures = now, 0
        elif now - self._moved_at > self._options.give_up_s:
            raise self._given_up(None)
        self._last_chunk_at = now

    def failed(self, error: Exception, stop: Stop) -> None:
        """Waits; SourceAway when patience is over, Stopped when nobody waits any more."""
        if time.monotonic() - self._moved_at > self._options.give_up_s:
            raise self._given_up(error) from error
        stop.wait(min(self._options.backoff_s * 2 ** min(self._failures, 16), self._options.backoff_max_s))
        stop.check()
        self._failures += 1
        self._last_chunk_at = time.monotonic()

    def _given_up(self, error: Exception | None) -> SourceAway:
        cause = "too slow" if error is None else type(error).__name__
        return SourceAway(f"{self._where} sent nothing of use for {self._options.give_up_s:g} s ({cause})", where=self._where)
