"""The artifact cache of one host: verification, the folders engines load, pins."""

import hashlib
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fleetform.domain.model import Manifest, ManifestFile, ModelFormat
from fleetform.domain.protocol import VerifyArtifact
from fleetform.errors import ArtifactRefused, CacheFull
from fleetform.host.artifacts import conversion
from fleetform.host.artifacts.content import FileCheck, FileFacts, check_name
from fleetform.host.artifacts.kinds import check_complete, kind_of
from fleetform.host.artifacts.layout import Layout, remove, sizes
from fleetform.host.artifacts.location import Location, Scheme, locate
from fleetform.host.artifacts.manifest import changed, check_expected, digest_of
from fleetform.host.artifacts.s3 import S3Options, S3Source
from fleetform.host.artifacts.sharing import Progress, Sharing
from fleetform.host.artifacts.sources import FileSource, Source, SourceFile, Stop
from fleetform.host.artifacts.transfer import Tally, hash_file, receive, side_by_side

ARTIFACTS_AT_ONCE = 32
_HOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HEX = re.compile(r"[0-9a-f]{64}")


class ArtifactCache:
    """See the package for its use; root is its own folder. Made and used on one event loop.

    trust_s: a folder whose every byte was hashed less than so many seconds ago is handed out after a look at sizes; 0 hashes before
    every load, which finds a flipped bit. s3: how patient to be with buckets.
    """

    def __init__(self, root: Path, *, layout: Layout | None = None, s3: S3Options | None = None, trust_s: float = 0) -> None:
        self._layout = layout or Layout(root)
        self._s3 = s3 or S3Options()
        self._trust_s = trust_s
        self._hashed_at: dict[Path, float] = {}
        self._artifacts = ThreadPoolExecutor(ARTIFACTS_AT_ONCE, thread_name_prefix="artifact")
        self._verifications: Sharing[Manifest] = Sharing(self._artifacts)
        self._fetches: Sharing[Path] = Sharing(self._artifacts)

    async def verify(self, command: VerifyArtifact, on_progress: Progress) -> Manifest:
        """The manifest of the artifact as it is now; its files are then in the cache, if there is room for them.

        ArtifactRefused when it may not be served; SourceAway when it cannot be read at present.
        """
        return await self._verifications.run(_key_of(command), lambda stop, report: self._verify(command, stop, report), on_progress)

    async def ensure(
        self, manifest: Manifest, artifact: str, prefixes: tuple[str, ...], on_progress: Progress, *, convert: bool = True
    ) -> Path:
        """The folder an engine loads: complete, and every byte as the manifest says; from the cache alone where it has it.

        convert False: a GGUF artifact is handed out as it is, for engines that read GGUF themselves.
        ArtifactRefused when the source no longer has what the manifest says, SourceAway, CacheFull.
        """
        wanted = convert and manifest.format is ModelFormat.GGUF
        return await self._fetches.run(
            f"{manifest.digest} {wanted}",
            lambda stop, report: self._ensure(manifest, artifact, prefixes, wanted, stop, report),
            on_progress,
        )

    def holds(self, manifest: Manifest) -> bool:
        """True when the artifact's files are here, by their sizes; their bytes are for `ensure` to hash."""
        folder = self._layout.model(manifest.digest)
        return folder.is_dir() and sizes(folder) == {file.path: file.size for file in manifest.files}

    def pin(self, digest: str, holder: str) -> None:
        """Keeps the artifact from being evicted while holder needs it, over restarts of this process too."""
        _check_words(digest, holder)
        self._layout.pin(digest, holder)

    def unpin(self, digest: str, holder: str) -> None:
        """Ends pin; not being pinned is fine."""
        _check_words(digest, holder)
        self._layout.unpin(digest, holder)

    async def close(self) -> None:
        """Stops all transfers and conversions; what has been transferred is kept for the next time."""
        await self._verifications.close()
        await self._fetches.close()
        self._artifacts.shutdown()

    def _verify(self, command: VerifyArtifact, stop: Stop, progress: Progress) -> Manifest:
        source = self._source(locate(command.artifact, command.prefixes), command.prefixes)
        files = source.files(stop)
        for file in files:
            check_name(file.path, allow_remote_code=command.allow_remote_code)
        check_complete(frozenset(file.path for file in files), command)
        key = _key_of(command)
        with self._layout.lock(key, stop):
            try:
                self._layout.make_room(sum(file.size for file in files))
                return self._read_all(key, source, files, command, stop, progress, keep=True)
            except CacheFull:
                # The truth about the artifact does not depend on our having room for it.
                return self._read_all(key, source, files, command, stop, progress, keep=False)

    def _read_all(
        self,
        key: str,
        source: Source,
        files: tuple[SourceFile, ...],
        command: VerifyArtifact,
        stop: Stop,
        progress: Progress,
        *,
        keep: bool,
    ) -> Manifest:
        layout = self._layout
        kept = {f.path: layout.partial(key, _hash_text(f"{f.origin}\n{f.version}")) for f in files} if keep else {}
        tally = Tally("verify", sum(file.size for file in files), progress)

        def read(file: SourceFile, part: Stop) -> tuple[ManifestFile, FileFacts]:
            check = FileCheck(file.path, file.size, allow_remote_code=command.allow_remote_code)
            sha256 = receive(source, file, kept.get(file.path), check, part, tally)
            return ManifestFile(path=file.path, size=file.size, sha256=sha256, etag=file.etag), check.finish()

        try:
            # Small files first: they hold most reasons to refuse, and the large ones may take an hour.
            found = side_by_side([partial(read, file) for file in sorted(files, key=lambda f: f.size)], stop)
            manifest = _manifest(found, command)
            check_expected(manifest, command.expected_digest)
        except (ArtifactRefused, CacheFull):
            layout.drop_partials(key)
            raise
        if keep:
            self._keep(key, manifest, kept, stop)
        return manifest

    def _keep(self, key: str, manifest: Manifest, kept: dict[str, Path], stop: Stop) -> None:
        layout = self._layout
        staged = layout.staging(key, "verify")
        for sha256, paths in _paths_by_hash(manifest.files).items():
            layout.publish_blob(kept[paths[0]], sha256, [staged / path for path in paths])
        with layout.lock(manifest.digest, stop):
            layout.publish_folder(staged, layout.model(manifest.digest))
        self._hashed_at[layout.model(manifest.digest)] = time.monotonic()
        layout.drop_partials(key)

    def _ensure(self, manifest: Manifest, artifact: str, prefixes: tuple[str, ...], convert: bool, stop: Stop, progress: Progress) -> Path:
        location = locate(artifact, prefixes)
        layout = self._layout
        with layout.lock(manifest.digest, stop):
            layout.touch(manifest.digest)
            if convert:
                ready = conversion.sealed(layout, manifest.digest)
                if ready is not None and self._intact(ready.folder, ready.files, stop, progress):
                    return ready.folder
            folder = layout.model(manifest.digest)
            if not self._intact(folder, manifest.files, stop, progress):
                self._fetch(manifest, self._source(location, prefixes), stop, progress)
            if not convert:
                return folder
            made = conversion.convert(layout, manifest, stop, progress)
            self._hashed_at[made] = time.monotonic()
            return made

    def _fetch(self, manifest: Manifest, source: Source, stop: Stop, progress: Progress) -> None:
        layout = self._layout
        staged = layout.staging(manifest.digest, "fetch")
        checking = Tally("verify", manifest.size_bytes, progress)
        missing = [file for file in manifest.files if not self._link(file, staged, stop, checking)]
        if missing:
            paths = _paths_by_hash(missing)
            wanted = [file for file in missing if file.path == paths[file.sha256][0]]

            def outstanding() -> int:
                """Bytes still to come."""
                left = [f for f in wanted if not (staged / f.path).exists()]
                return sum(f.size - _size(layout.partial(manifest.digest, f.sha256)) for f in left)

            layout.make_room(outstanding(), keep=manifest.digest)
            tally = Tally("fetch", sum(file.size for file in wanted), progress)

            def fetch(file: ManifestFile, part: Stop) -> None:
                kept = self._receive(manifest, file, source, part, tally)
                layout.publish_blob(kept, file.sha256, [staged / path for path in paths[file.sha256]])

            try:
                side_by_side([partial(fetch, file) for file in wanted], stop)
            except CacheFull as error:
                # The file that met the end of the disk says little: the whole artifact's need does.
                raise layout.full(outstanding()) from error
        layout.publish_folder(staged, layout.model(manifest.digest))
        self._hashed_at[layout.model(manifest.digest)] = time.monotonic()

    def _receive(self, manifest: Manifest, file: ManifestFile, source: Source, stop: Stop, tally: Tally) -> Path:
        """A partial file that is complete and has the bytes that were frozen; refused (DigestMismatch) when the source has others."""
        kept = self._layout.partial(manifest.digest, file.sha256)
        found = source.find(file.path, stop)
        if found.size != file.size:
            raise changed(file, found.size, receive(source, found, None, None, stop, tally))
        resumed = kept.exists()
        sha256 = receive(source, found, kept, None, stop, tally)
        if sha256 != file.sha256 and resumed:
            # What lay here before may have been the wrong part: only a reading from the start accuses the source.
            remove(kept)
            sha256 = receive(source, found, kept, None, stop, tally)
        if sha256 != file.sha256:
            remove(kept)
            raise changed(file, found.size, sha256)
        return kept

    def _link(self, file: ManifestFile, staged: Path, stop: Stop, tally: Tally) -> bool:
        """Links file from its blob; False when there is none that still has the bytes its name says."""
        blob, target = self._layout.blob(file.sha256), staged / file.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            target.hardlink_to(blob)
            if target.stat().st_size == file.size and hash_file(target, stop, tally=tally) == file.sha256:
                return True
        except FileNotFoundError:
            return False
        except OSError:
            pass  # unreadable is as good as rotten: it is fetched again
        target.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        return False

    def _intact(self, folder: Path, files: tuple[ManifestFile, ...], stop: Stop, progress: Progress) -> bool:
        """True when folder holds exactly files, byte for byte; read again unless it was hashed within trust_s."""
        if not folder.is_dir():
            return False
        if sizes(folder) != {f.path: f.size for f in files}:
            return False
        hashed_at = self._hashed_at.get(folder)
        if hashed_at is not None and time.monotonic() - hashed_at < self._trust_s:
            return True
        tally = Tally("verify", sum(f.size for f in files), progress)
        jobs = [partial(hash_file, folder / f.path, tally=tally) for f in files]
        try:
            hashes = side_by_side(jobs, stop)
        except OSError:
            return False  # unreadable is as good as rotten: it is fetched again
        if hashes != [f.sha256 for f in files]:
            return False
        self._hashed_at[folder] = time.monotonic()
        return True

    def _source(self, location: Location, prefixes: tuple[str, ...]) -> Source:
        return S3Source(location, self._s3) if location.scheme is Scheme.S3 else FileSource(location, prefixes)


def _manifest(found: list[tuple[ManifestFile, FileFacts]], command: VerifyArtifact) -> Manifest:
    files = tuple(sorted((file for file, _ in found), key=lambda f: f.path))
    kind = kind_of({file.path: facts for file, facts in found}, command)
    return Manifest(
        digest=digest_of(files),
        files=files,
        format=kind.format,
        task=kind.task,
        has_remote_code=kind.has_remote_code,
        architecture=kind.architecture,
        dtype=kind.dtype,
        context_length=kind.context_length,
    )


def _paths_by_hash(files: Iterable[ManifestFile]) -> dict[str, list[str]]:
    """SHA-256 → the paths of the files that have these bytes: they are one blob."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(file.sha256, []).append(file.path)
    return found


def _key_of(command: VerifyArtifact) -> str:
    """One verification at a time per version; two versions of one address do not share, they may declare different things."""
    return _hash_text(f"{command.version_uid}\n{command.artifact}")


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_words(digest: str, holder: str) -> None:
    if not _HEX.fullmatch(digest) or not _HOLDER.fullmatch(holder):
        raise ValueError(f"cannot pin {digest!r} for {holder!r}: both become file names")
