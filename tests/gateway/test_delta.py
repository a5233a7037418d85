"""One Envoy's stream as a state machine, against a pretended Envoy that may refuse, unsubscribe and come back."""

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import wrappers_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.gateway.delta import Catalogue, Resource, Stream, resource
from fleetform.gateway.filters import TYPE_FILTER
from fleetform.gateway.resources import TYPE_ASSIGNMENT, TYPE_CLUSTER

BAD = "bad"


def a_resource(type_url: str, name: str, content: str) -> Resource:
    return resource(type_url, name, wrappers_pb2.StringValue(value=content))


def endpoint(name: str, content: str = "1", assignment: str = "1") -> list[Resource]:
    return [a_resource(TYPE_CLUSTER, name, content), a_resource(TYPE_ASSIGNMENT, name, assignment)]


class PretendedEnvoy:
    """Takes responses as Envoy does: refuses a whole response for one bad resource, asks for the assignment of each new cluster,
    and calls a cluster warm only when its assignment has come after it."""

    def __init__(self) -> None:
        self.have: dict[str, dict[str, Any]] = {TYPE_CLUSTER: {}, TYPE_ASSIGNMENT: {}, TYPE_FILTER: {}}
        self.warm: set[str] = set()
        self.requests: list[Any] = []
        self.refusals = 0

    def connect(self) -> None:
        """Begin a new stream, saying what is here already."""
        self.requests = [self._request(TYPE_CLUSTER, self.have[TYPE_CLUSTER])]
        filters = self._request(TYPE_FILTER, self.have[TYPE_FILTER])
        filters.resource_names_subscribe.extend(["ff.jwt", "ff.revoked"])
        self.requests.append(filters)
        if self.have[TYPE_CLUSTER]:
            assignments = self._request(TYPE_ASSIGNMENT, self.have[TYPE_ASSIGNMENT])
            assignments.resource_names_subscribe.extend(self.have[TYPE_CLUSTER])
            self.requests.append(assignments)

    def take(self, response: Any) -> None:
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        refused = [item.name for item in response.resources if _content(item) == BAD]
        if refused:
            self.refusals += 1
            answer.error_detail.message = f"refused: {', '.join(refused)}"
        else:
            self._apply(response)
        self.requests.append(answer)

    def _apply(self, response: Any) -> None:
        have = self.have[response.type_url]
        new = [item.name for item in response.resources if item.name not in have]
        have.update({item.name: item for item in response.resources})
        gone = [name for name in response.removed_resources if have.pop(name, None) is not None]
        if response.type_url == TYPE_CLUSTER:
            self.warm -= {item.name for item in response.resources} | set(gone)
            if new or gone:
                change = discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE_ASSIGNMENT)
                change.resource_names_subscribe.extend(new)
                change.resource_names_unsubscribe.extend(gone)
                for name in gone:
                    self.have[TYPE_ASSIGNMENT].pop(name, None)
                self.requests.append(change)
        elif response.type_url == TYPE_ASSIGNMENT:
            self.warm |= {item.name for item in response.resources} & self.have[TYPE_CLUSTER].keys()

    def _request(self, type_url: str, have: dict[str, Any]) -> Any:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url)
        request.initial_resource_versions.update({name: item.version for name, item in have.items()})
        return request


def _content(item: Any) -> str:
    value = wrappers_pb2.StringValue()
    item.resource.Unpack(value)
    return str(value.value)


def settle(stream: Stream, envoy: PretendedEnvoy) -> list[Any]:
    """Exchange messages until nothing is left to say; the responses."""
    said = []
    for _ in range(1000):
        responses = stream.take()
        said.extend(responses)
        for response in responses:
            envoy.take(response)
        if not envoy.requests and not responses:
            return said
        requests, envoy.requests = envoy.requests, []
        for request in requests:
            stream.receive(request)
    raise AssertionError("they never stop talking")


def connected(catalogue: Catalogue) -> tuple[Stream, PretendedEnvoy]:
    stream, envoy = Stream(catalogue), PretendedEnvoy()
    envoy.connect()
    settle(stream, envoy)
    return stream, envoy


def catalogue_of(*resources: Resource) -> Catalogue:
    catalogue = Catalogue()
    catalogue.put([a_resource(TYPE_FILTER, "ff.jwt", "k"), a_resource(TYPE_FILTER, "ff.revoked", "r"), *resources], [])
    return catalogue


def change(catalogue: Catalogue, stream: Stream, resources: list[Resource], removed: tuple[str, ...] = ()) -> None:
    gone = [(type_url, name) for name in removed for type_url in (TYPE_CLUSTER, TYPE_ASSIGNMENT)]
    stream.changed(catalogue.put(resources, gone))


def test_a_new_envoy_gets_everything_and_is_then_in_step() -> None:
    catalogue = catalogue_of(*endpoint("a"), *endpoint("b"))
    stream, envoy = connected(catalogue)
    assert envoy.warm == {"a", "b"}
    assert set(envoy.have[TYPE_FILTER]) == {"ff.jwt", "ff.revoked"}
    assert stream.synced
    assert stream.acknowledged() == catalogue.sequence


def test_no_cluster_at_all_is_answered_too() -> None:
    stream, envoy = Stream(catalogue_of()), PretendedEnvoy()
    envoy.connect()
    assert TYPE_CLUSTER in {response.type_url for response in settle(stream, envoy)}


def test_what_has_not_changed_is_not_sent_again() -> None:
    catalogue = catalogue_of(*endpoint("a"), *endpoint("b"))
    stream, envoy = connected(catalogue)
    change(catalogue, stream, endpoint("a", assignment="2"))
    (response,) = settle(stream, envoy)
    assert [item.name for item in response.resources] == ["a"]
    assert response.type_url == TYPE_ASSIGNMENT


def test_a_changed_cluster_gets_its_assignment_again() -> None:
    catalogue = catalogue_of(*endpoint("a"))
    stream, envoy = connected(catalogue)
    change(catalogue, stream, endpoint("a", content="2"))
    assert [response.type_url for response in settle(stream, envoy)] == [TYPE_CLUSTER, TYPE_ASSIGNMENT]
    assert envoy.warm == {"a"}


def test_a_cluster_counts_only_with_its_assignment() -> None:
    catalogue = catalogue_of(*endpoint("a"))
    stream, envoy = connected(catalogue)
    change(catalogue, stream, endpoint("b"))
    (response,) = stream.take()
    envoy.take(response)
    subscription, acknowledgement = envoy.requests
    envoy.requests = []
    stream.receive(acknowledgement)
    assert stream.acknowledged() == catalogue.sequence - 1
    stream.receive(subscription)
    settle(stream, envoy)
    assert stream.acknowledged() == catalogue.sequence


def test_a_refusal_is_found_and_the_rest_goes_through() -> None:
    catalogue = catalogue_of()
    stream, envoy = connected(catalogue)
    change(catalogue, stream, [item for n in range(16) for item in endpoint(f"e{n}", content=BAD if n == 11 else "1")])
    settle(stream, envoy)
    assert envoy.warm == {f"e{n}" for n in range(16) if n != 11}
    assert stream.rejected() == {"e11": "refused: e11"}
    assert stream.acknowledged() == catalogue.sequence
    assert envoy.refusals <= 6
    change(catalogue, stream, endpoint("e11"))
    settle(stream, envoy)
    assert stream.rejected() == {}
    assert "e11" in envoy.warm


def test_the_answer_to_an_older_response_is_no_answer() -> None:
    catalogue = catalogue_of(*endpoint("a"))
    stream, envoy = connected(catalogue)
    change(catalogue, stream, endpoint("a", assignment="2"))
    (response,) = stream.take()
    stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE_ASSIGNMENT, response_nonce="of another time"))
    assert stream.acknowledged() == catalogue.sequence - 1
    envoy.take(response)
    settle(stream, envoy)
    assert stream.acknowledged() == catalogue.sequence


names = st.sampled_from(["a", "b", "c", "d"])
contents = st.sampled_from(["1", "2", "3", BAD])
steps = st.one_of(
    st.tuples(st.just("put"), names, contents, contents),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("exchange")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=30))
def test_whatever_happens_both_agree_in_the_end(story: list[tuple[str, ...]]) -> None:
    """Envoy has the catalogue, but for what it refuses; each of its clusters is warm; everything is acknowledged."""
    catalogue = catalogue_of()
    stream, envoy = connected(catalogue)
    for step in story:
        match step:
            case ("put", name, content, assignment):
                change(catalogue, stream, endpoint(name, content, assignment))
            case ("remove", name):
                change(catalogue, stream, [], (name,))
            case ("reconnect",):
                stream = Stream(catalogue)
                envoy.connect()
            case ("settle",):
                settle(stream, envoy)
            case _:
                for response in stream.take():
                    envoy.take(response)
                requests, envoy.requests = envoy.requests, []
                for request in requests:
                    stream.receive(request)
    settle(stream, envoy)
    assert stream.acknowledged() == catalogue.sequence
    assert stream.synced
    for name, wanted in catalogue.resources[TYPE_CLUSTER].items():
        refused = BAD in (_content(wanted.message), _content(catalogue.resources[TYPE_ASSIGNMENT][name].message))
        assert (name in stream.rejected()) == refused
        if not refused:
            assert envoy.have[TYPE_CLUSTER][name].version == wanted.version
            assert envoy.have[TYPE_ASSIGNMENT][name].version == catalogue.resources[TYPE_ASSIGNMENT][name].version
            assert name in envoy.warm
    assert set(envoy.have[TYPE_CLUSTER]) <= set(catalogue.resources[TYPE_CLUSTER])
    assert set(stream.rejected()) <= set(catalogue.resources[TYPE_CLUSTER])
