"""One Envoy's side of incremental xDS as a state machine without I/O: requests in, responses out, and what has been acknowledged.

Make before break: clusters go before assignments. One response per type is under way at a time; changes that come meanwhile
join the next one. A refused response is halved and sent again until the resource at fault stands alone; its words are kept, and the
version that Envoy had stays in force.

A change counts as in force when everything sent for it has been accepted and, for a cluster, its assignment after it: a cluster
without one does not route.
"""

import hashlib
from collections import deque
from typing import Any, NamedTuple

from envoy.service.discovery.v3 import discovery_pb2

from fleetform.gateway.filters import TYPE_FILTER
from fleetform.gateway.resources import TYPE_ASSIGNMENT, TYPE_CLUSTER, pack

TYPES = (TYPE_CLUSTER, TYPE_ASSIGNMENT, TYPE_FILTER)


class Resource(NamedTuple):
    """A named resource, ready to be sent. version: a digest of its content, so that it means the same after a restart."""

    type_url: str
    name: str
    version: str
    message: Any


def resource(type_url: str, name: str, message: Any) -> Resource:
    """message as a resource of that type and name."""
    packed = pack(message)
    version = hashlib.blake2b(packed.value, digest_size=8).hexdigest()
    return Resource(type_url, name, version, discovery_pb2.Resource(name=name, version=version, resource=packed))


class Catalogue:
    """What every Envoy should have. sequence: counts changes; it grows by one with each set of them."""

    def __init__(self) -> None:
        self.sequence = 0
        self.resources: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}

    def put(self, resources: list[Resource], removed: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Take a set of changes; the (type, name) of those that really differ."""
        self.sequence += 1
        changed = []
        for new in resources:
            old = self.resources[new.type_url].get(new.name)
            if old is None or old.version != new.version:
                self.resources[new.type_url][new.name] = new
                changed.append((new.type_url, new.name))
        for type_url, name in removed:
            if self.resources[type_url].pop(name, None) is not None:
                changed.append((type_url, name))
        return changed


class _Sent(NamedTuple):
    """One name in a response under way. completes: it is the assignment that a cluster sent before it waits for."""

    name: str
    sequence: int
    version: str | None
    completes: bool


class _Type:
    """The state of one resource type on one stream. known: name → version that Envoy has. dirty: name → sequence of the change."""

    def __init__(self) -> None:
        self.wildcard = False
        self.begun = False
        self.subscribed: set[str] = set()
        self.known: dict[str, str] = {}
        self.dirty: dict[str, int] = {}
        self.owes_answer = False
        self.halves: deque[list[tuple[str, int]]] = deque()
        self.nonce = ""
        self.under_way: list[_Sent] = []
        self.rejected: dict[str, str] = {}

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.subscribed

    def sequences(self) -> list[int]:
        halves = [sequence for half in self.halves for _, sequence in half]
        return [*self.dirty.values(), *(sent.sequence for sent in self.under_way), *halves]


class Stream:
    """One Envoy's stream. synced: it has once had everything, so that it carries traffic by our word."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.synced = False
        self._catalogue = catalogue
        self._types = {type_url: _Type() for type_url in TYPES}
        self._without_assignment: dict[str, int] = {}
        self._nonces = 0

    def changed(self, names: list[tuple[str, str]]) -> None:
        """The catalogue's resources of these (type, name) have changed, with its present sequence."""
        for type_url, name in names:
            self._mark(type_url, name)

    def receive(self, request: Any) -> None:
        """A DeltaDiscoveryRequest: subscriptions, and perhaps the answer to what is under way."""
        state = self._types.get(request.type_url)
        if state is None:
            return
        if not state.begun:
            self._begin(request, state)
        if request.response_nonce and request.response_nonce == state.nonce:
            self._answered(request, state)
        self._subscribe(request, state)
        self._note_sync()

    def take(self) -> list[Any]:
        """The responses to send now, in order."""
        responses = []
        for type_url in TYPES:
            state = self._types[type_url]
            if state.begun and not state.nonce:
                response = self._next(type_url, state)
                if response is not None:
                    responses.append(response)
        self._note_sync()
        return responses

    def acknowledged(self) -> int:
        """The highest sequence up to which everything is in force here, or has been refused."""
        pending = [sequence for state in self._types.values() for sequence in state.sequences()]
        pending.extend(self._without_assignment.values())
        return min(pending) - 1 if pending else self._catalogue.sequence

    def rejected(self) -> dict[str, str]:
        """Name → Envoy's words, for what it has refused."""
        return {name: words for state in self._types.values() for name, words in state.rejected.items()}

    def _begin(self, request: Any, state: _Type) -> None:
        """The first request of a type. A reconnecting Envoy says what it has; what is the same is not sent again."""
        state.begun = True
        state.known.update(request.initial_resource_versions)
        if request.type_url != TYPE_CLUSTER:
            return
        state.wildcard = True
        for name in state.known.keys() | self._catalogue.resources[TYPE_CLUSTER].keys():
            self._mark(TYPE_CLUSTER, name)
        state.owes_answer = True  # even an empty one: Envoy waits for it

    def _subscribe(self, request: Any, state: _Type) -> None:
        for name in request.resource_names_unsubscribe:
            state.subscribed.discard(name)
            for held in (state.known, state.dirty):
                held.pop(name, None)
        for name in request.resource_names_subscribe:
            if name == "*":
                continue
            state.subscribed.add(name)
            if name not in request.initial_resource_versions:
                state.known.pop(name, None)
            self._mark(request.type_url, name)

    def _mark(self, type_url: str, name: str) -> None:
        state = self._types[type_url]
        if not state.begun or not state.wants(name):
            return
        state.dirty.setdefault(name, self._catalogue.sequence)
        if name not in self._catalogue.resources[type_url]:
            state.rejected.pop(name, None)
            if type_url == TYPE_CLUSTER:
                self._without_assignment.pop(name, None)

    def _next(self, type_url: str, state: _Type) -> Any:
        """The next response of a type, or None."""
        while state.halves or state.dirty or state.owes_answer:
            names = state.halves.popleft() if state.halves else list(state.dirty.items())
            for name, _ in names:
                state.dirty.pop(name, None)
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, system_version_info=str(self._catalogue.sequence))
            state.under_way = [
                sent for name, sequence in names if (sent := self._put(response, type_url, state, name, sequence)) is not None
            ]
            if state.under_way or state.owes_answer:
                state.owes_answer = False
                self._nonces += 1
                state.nonce = response.nonce = str(self._nonces)
                return response
        return None

    def _put(self, response: Any, type_url: str, state: _Type, name: str, sequence: int) -> _Sent | None:
        """Put one resource into response; None when Envoy has it already."""
        found = self._catalogue.resources[type_url].get(name)
        if found is None:
            if state.wildcard and name not in state.known:
                return None
            response.removed_resources.append(name)  # also for a name that never was: Envoy waits for a word about it
            return _Sent(name, sequence, None, completes=False)
        completes = type_url == TYPE_ASSIGNMENT and name in self._without_assignment
        if state.known.get(name) == found.version and not completes:
            state.rejected.pop(name, None)  # what was refused has been taken back
            return None
        response.resources.append(found.message)
        if type_url == TYPE_CLUSTER:
            self._await_assignment(name, sequence)
        return _Sent(name, sequence, found.version, completes)

    def _await_assignment(self, name: str, sequence: int) -> None:
        """A cluster, new or changed, is warm only when its assignment has come after it."""
        self._without_assignment[name] = sequence
        assignments = self._types[TYPE_ASSIGNMENT]
        if name in assignments.subscribed:
            assignments.dirty.setdefault(name, sequence)

    def _answered(self, request: Any, state: _Type) -> None:
        sent, state.under_way, state.nonce = state.under_way, [], ""
        if not request.HasField("error_detail"):
            for item in sent:
                self._accepted(state, item)
        elif len(sent) > 1:
            middle = len(sent) // 2
            state.halves.extend([(item.name, item.sequence) for item in half] for half in (sent[:middle], sent[middle:]))
        else:
            for item in sent:
                state.rejected[item.name] = request.error_detail.message
                self._without_assignment.pop(item.name, None)

    def _accepted(self, state: _Type, item: _Sent) -> None:
        state.rejected.pop(item.name, None)
        if item.version is None:
            state.known.pop(item.name, None)
        else:
            state.known[item.name] = item.version
        if item.completes:
            self._without_assignment.pop(item.name, None)

    def _note_sync(self) -> None:
        asked = all(self._types[type_url].begun for type_url in (TYPE_CLUSTER, TYPE_FILTER))
        if asked and self.acknowledged() == self._catalogue.sequence:
            self.synced = True
