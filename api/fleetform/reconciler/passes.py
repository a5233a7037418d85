"""One pass over one key (load → plan → record → apply), and what its outcome means for the key."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from fleetform.errors import AppError, NotLeader, StalledError, TemporaryError
from fleetform.planner.backoff import delay_s
from fleetform.reconciler.deps import ENDPOINT
from fleetform.reconciler.endpoints import EndpointLoop
from fleetform.reconciler.outcome import Done, InProgress, Outcome, Stalled, TemporaryFailure
from fleetform.reconciler.queue import WorkQueue
from fleetform.reconciler.versions import VersionLoop
from fleetform.store.recording import Overtaken

log = structlog.get_logger(__name__)
OVERTAKEN_AT_ONCE = 3
"""How often a plan that was overtaken is made anew without a pause."""


class Passes:
    """Passes over keys that the queue has given. failures: of the keys whose last pass failed, how many did in a row."""

    def __init__(self, queue: WorkQueue, endpoints: EndpointLoop, versions: VersionLoop, now: Callable[[], datetime]) -> None:
        self.failures: dict[str, int] = {}
        self._queue = queue
        self._endpoints = endpoints
        self._versions = versions
        self._now = now

    async def make(self, key: str) -> None:
        """Look at the object once, give the key back, and ask for it again where something is left to do. NotLeader."""
        try:
            outcome = await self._attempt(key)
        finally:
            self._queue.done(key)
        self._act(key, outcome)

    async def _attempt(self, key: str) -> Outcome:
        """One pass over one key. What one object does wrong stays with it; only NotLeader goes further."""
        for _ in range(OVERTAKEN_AT_ONCE):
            try:
                return await self._pass(key)
            except NotLeader:
                raise
            except Overtaken as error:
                last: AppError = error
            except TemporaryError as error:
                return TemporaryFailure(reason=error.reason, message=error.message)
            except StalledError as error:
                return Stalled(reason=error.reason, message=error.message)
            except Exception as error:
                log.exception("pass_failed", key=key)
                await self._tell_poison(key, error)
                return TemporaryFailure(reason="InternalError", message=type(error).__name__)
        return TemporaryFailure(reason=last.reason, message=last.message)

    async def _pass(self, key: str) -> Outcome:
        kind, _, uid = key.partition(" ")
        log.debug("pass", key=key)
        if kind == ENDPOINT:
            return await self._endpoints.reconcile(uid)
        outcome, concerned = await self._versions.reconcile(uid)
        for endpoint_uid in concerned:
            self._queue.hint(f"{ENDPOINT} {endpoint_uid}")
        await self._versions.spread(uid)
        return outcome

    async def _tell_poison(self, key: str, error: Exception) -> None:
        """Show on the endpoint that it cannot be looked after, once per row of failures."""
        kind, _, uid = key.partition(" ")
        if kind != ENDPOINT or key in self.failures:
            return
        try:
            await self._endpoints.tell_poison(uid, type(error).__name__)
        except NotLeader:
            raise
        except Exception:
            log.exception("poison_not_told", key=key)

    def _act(self, key: str, outcome: Outcome) -> None:
        match outcome:
            case Done():
                self.failures.pop(key, None)
            case InProgress():
                self.failures.pop(key, None)
                self._queue.later(key, self._now() + timedelta(seconds=outcome.after_s))
            case TemporaryFailure():
                failures = self.failures[key] = self.failures.get(key, 0) + 1
                again_s = delay_s(failures)
                log.warning("pass_again", key=key, reason=outcome.reason, message=outcome.message, in_s=again_s)
                self._queue.later(key, self._now() + timedelta(seconds=again_s))
            case Stalled():
                log.warning("pass_stalled", key=key, reason=outcome.reason, message=outcome.message)
            case _:
                assert_never(outcome)
