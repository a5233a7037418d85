"""How often one request has come here, and how often replicas have failed it: what it is bounced for, and when no more.

Envoy tries two times where it finds a host, then elsewhere, and so on in pairs (`previous_priorities`). So a request may be back at once
though a replica waits for it; and one that breaks every replica that takes it must not be handed round for ever.
"""

from collections import OrderedDict

from fleetform.gateway.routing import RETRIES

FAILURES_MAX = 4
_PAUSE_S, _FAILED_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.25, 4.0
_KEPT = 10_000


class Try:
    """One request. attempt: Envoy's count of attempts. arrivals: how many of them came here. failures: how many failed at replicas."""

    def __init__(self) -> None:
        self.attempt = 0
        self.arrivals = 0
        self.failures = 0

    @property
    def is_over(self) -> bool:
        """True when it is not to be tried any more."""
        return self.attempt > RETRIES or self.failures >= FAILURES_MAX

    @property
    def pause_s(self) -> float:
        """How long to wait before it is bounced again. Twice it is done at once: Envoy may have had to try in the wrong place.

        Not when replicas have failed it: what ails them for a moment, a full queue of connections say, would use up its tries.
        """
        if self.failures:
            return min(_FAILED_PAUSE_S * 2.0 ** (self.arrivals - 1), _LONGEST_PAUSE_S)
        return 0.0 if self.arrivals <= 2 else min(_PAUSE_S * 2.0 ** (self.arrivals - 3), _LONGEST_PAUSE_S)


class Tries:
    """Requests by id, the latest ten thousand."""

    def __init__(self) -> None:
        self._tries: OrderedDict[str, Try] = OrderedDict()

    def arrived(self, request_id: str, attempt: int) -> Try:
        """Note that it is here, at Envoy's attempt number `attempt`, from 1."""
        found = self._tries.setdefault(request_id, Try())
        self._tries.move_to_end(request_id)
        between = attempt - found.attempt - 1
        # Of what was before the first arrival, an earlier activator may have had more than these two.
        found.failures += max(0, between if found.arrivals else min(between, 2))
        found.attempt = attempt
        found.arrivals += 1
        if len(self._tries) > _KEPT:
            self._tries.popitem(last=False)
        return found
