"""The first step of a start: the files that an engine loads, verified."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.errors import AppError, ArtifactRefused, CacheFull, TemporaryError
from fleetform.host.failing import Failed
from fleetform.host.record import utc_now
from fleetform.host.recorded import Recorded

FETCH_RETRY_S = 5.0


async def fetch(replica: Recorded) -> Path:
    """The verified files. A source that is away is tried again until the start has taken too long."""
    start = replica.record.start
    track = start.track
    await replica.enter("fetch", state=HostReplicaState.FETCHING)
    deadline = replica.started_at("fetch") + timedelta(seconds=start.start_timeout_s)
    replica.host.artifacts.pin(track.manifest.digest, replica.record.replica_id)
    convert = track.command is None
    while True:
        try:
            return await replica.host.artifacts.ensure(track.manifest, track.artifact, start.prefixes, replica.progress, convert=convert)
        except ArtifactRefused as error:
            raise Failed(_artifact_reason(error), error.message) from error
        except CacheFull as error:
            raise Failed(FailureReason.CACHE_FULL, error.message) from error
        except TemporaryError as error:
            if utc_now() >= deadline:
                raise Failed(FailureReason.ARTIFACT_MISSING, error.message) from error
            replica.log.warning("fetch_again", reason=error.reason, message=error.message)
            await asyncio.sleep(FETCH_RETRY_S)


def _artifact_reason(error: AppError) -> FailureReason:
    with contextlib.suppress(ValueError):
        return FailureReason(error.details.get("condition_reason", ""))
    return FailureReason.LAUNCH_REFUSED
