"""Ejects outliers by latency: looks every second who they are, and has them taken out of rotation and put back.

All by itself on every machine with a proxy, whether or not a server lives. Nothing of it is kept: the next worker measures anew.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from fleetform.gateway.outliers import Outliers, Sibling
from fleetform.gateway.snapshot import EndpointRoute

EVERY_S = 1.0

log = structlog.get_logger(__name__)


class Ejection:
    """`run` looks for ever. routes: what is routed now. is_well: a replica runs and answers. in_flight: under way at it, None: unknown.

    turn is called with all that are ejected, replica → why, whenever that has changed.
    """

    def __init__(
        self,
        outliers: Outliers,
        routes: Callable[[], Mapping[str, EndpointRoute]],
        is_well: Callable[[str], bool],
        in_flight: Callable[[str], int | None],
        turn: Callable[[Mapping[str, str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outliers = outliers
        self._routes = routes
        self._is_well = is_well
        self._in_flight = in_flight
        self._turn = turn
        self._clock = clock
        self._ejected: dict[str, str] = {}

    async def run(self) -> None:
        """Look every second, for ever."""
        while True:
            try:
                self.look()
            except Exception:
                log.exception("outliers_not_judged")
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Judge once, and have done what follows."""
        ejected = self._outliers.judge(self._versions(), self._clock())
        if ejected != self._ejected:
            self._turn(ejected)
            self._ejected = ejected

    def _versions(self) -> list[list[Sibling]]:
        """The replicas of each track that has traffic. One that drains gets nothing new either."""
        tracks = (track for route in self._routes().values() for track in route.tracks if track.weight > 0)
        return [
            [
                Sibling(
                    replica_id=target.replica_id,
                    well=not target.draining and self._is_well(target.replica_id),
                    in_flight=self._in_flight(target.replica_id) or 0,
                )
                for target in track.targets
            ]
            for track in tracks
        ]
