"""The learned start times in the leader's memory: read once, then kept up with what it writes, so that no pass reads them again."""

import asyncio
from collections import deque
from collections.abc import Iterable

from fleetform.domain.rollout import StartTimes
from fleetform.planner.starts import learned
from fleetform.store import starts
from fleetform.store.fleet import EndpointFacts
from fleetform.store.starts import KEPT, Started


class Starts:
    """Only the leader writes start times, so what one term has in memory is what the table says."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], deque[float]] | None = None
        self._times: dict[tuple[str, str], StartTimes] = {}
        self._reading = asyncio.Lock()

    async def of(self, facts: EndpointFacts) -> dict[str, StartTimes]:
        """By track id, of the endpoint's tracks of which any start is known."""
        if facts.rollout is None:
            return {}
        await self._read()
        versions = facts.desired.versions
        keys = {
            track_id: (versions[track.model_version].uid, track.instance_type)
            for track_id, track in facts.rollout.tracks.items()
            if track.model_version in versions
        }
        return {track_id: self._times[key] for track_id, key in keys.items() if key in self._times}

    def learn(self, started: Iterable[Started]) -> None:
        """What has just been written."""
        if self._seconds is not None:
            for start in started:
                self._add(self._seconds, start)

    async def _read(self) -> None:
        async with self._reading:
            if self._seconds is None:
                found: dict[tuple[str, str], deque[float]] = {}
                for start in await starts.known():
                    self._add(found, start)
                self._seconds = found

    def _add(self, seconds: dict[tuple[str, str], deque[float]], start: Started) -> None:
        key = (start.version_uid, start.instance_type)
        seconds.setdefault(key, deque(maxlen=KEPT)).append(start.seconds)
        self._times[key] = learned(seconds[key])
