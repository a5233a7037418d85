"""WHERE WEIGHTS COME FROM: sources, the manifest that freezes them, what they may contain, and the cache engines load from.

    cache = ArtifactCache(root)                                       # one per host; root is FLEETFORM_HOME/cache
    manifest = await cache.verify(command, on_progress)               # VerifyArtifact: read all of it once, freeze it, fill the cache
    folder = await cache.ensure(manifest, artifact, prefixes, on_progress)   # the folder an engine loads, checked just now
    cache.pin(manifest.digest, replica_id); cache.unpin(manifest.digest, replica_id)   # pinned models are never evicted
    await cache.close()                                               # stops transfers and conversions; partial files resume later

on_progress(phase, done, total) is called on the event loop with phase `fetch`, `verify` or `convert` and bytes (total 0: not known).
Cancelling a caller stops the transfer only when nobody else waits for it. Pin before ensure; pins survive a restart.

Errors: ArtifactRefused (its details["condition_reason"] is a reason of the Verified condition, the same word as the replica's
FailureReason where it has one), SourceAway and CacheFull (both temporary; CacheFull has needed_bytes and free_bytes).

location.py     artifact addresses and the prefixes they must lie below
sources.py      what a source is; folders and single files
s3.py           buckets: ranged, resumed, retried, with a deadline
safetensors.py  the header of a safetensors file, read with bounds
gguf.py         the header of a GGUF file, read with bounds
content.py      what a file may contain, judged while it is read
kinds.py        what a set of files is: format, task, architecture, dtype, context length; what is missing
refusal.py      how a refusal is made
sharing.py      work that many wait for and that is done once
manifest.py     the digest, and comparing what is found with what was frozen
transfer.py     one file into the cache: hashed, checked and written in one reading
layout.py       the folders of the cache, locks, links, room, eviction
conversion.py   the process that converts GGUF, as the cache sees it
convert.py      the program that converts GGUF (`python -m fleetform.host.artifacts.convert SOURCE TARGET`)
cache.py        ArtifactCache
"""

from fleetform.host.artifacts.cache import ArtifactCache as ArtifactCache
from fleetform.host.artifacts.sharing import Progress as Progress
