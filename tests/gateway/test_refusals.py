"""Who is refused, with which status and code, as the OpenAI SDK sees it."""

import concurrent.futures
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fleetform.credentials import SigningKey
from fleetform.gateway.activator import HOPELESS_RETRY_AFTER_S
from tests.gateway.stack import PEER, PEER_HOST, REGION, Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def served(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway with endpoint `open` of project p1 and `secret` of project p2."""
    engine = gateway.echo("refusals")
    gateway.publish(a_route("open", a_track("v1", 100, engine.path)), a_route("secret", a_track("v1", 100, engine.path), project="p2"))
    yield gateway
    gateway.run(engine.stop())


def refusal(gateway: Gateway, key: str | None = None, model: str = "open", **options: Any) -> openai.APIStatusError:
    """The error that one chat request ends with."""
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client(key, **options).chat.completions.create(model=model, messages=MESSAGES)
    error = caught.value
    assert error.request_id, "no x-request-id"
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["message"]
    return error


def test_a_good_key_is_served(served: Gateway) -> None:
    answer = served.client().chat.completions.create(model="open", messages=MESSAGES)
    assert answer.choices[0].message.content == "refusals"
    assert answer._request_id


@pytest.mark.parametrize("key", ["sk-1234567890", "cd-garbage", "cd-a.b.c", "cd-"])
def test_what_is_no_key(served: Gateway, key: str) -> None:
    error = refusal(served, key)
    assert (error.status_code, error.code, type(error)) == (401, "invalid_api_key", openai.AuthenticationError)
    assert "is not valid" in str(error.body)


def test_no_key(served: Gateway) -> None:
    answer = served.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 401")
    assert b'"code":"invalid_api_key"' in answer
    assert b"No API key was sent" in answer


def test_the_case_of_the_word_bearer_means_nothing(served: Gateway) -> None:
    key = served.mint().encode()
    answer = served.raw(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nAUTHORIZATION: bearer " + key + b"\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_an_empty_project_header_names_no_project(served: Gateway) -> None:
    """What the SDKs send when OPENAI_PROJECT_ID is set to nothing."""
    assert served.client(project="").chat.completions.create(model="open", messages=MESSAGES).id == "echo"


def test_an_expired_key(served: Gateway) -> None:
    assert refusal(served, served.mint(lives_s=-60)).code == "token_expired"


def test_a_key_that_lives_too_long(served: Gateway) -> None:
    assert refusal(served, served.mint(lives_s=91 * 86400)).code == "invalid_api_key"


def test_a_forged_key(served: Gateway) -> None:
    stranger = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(served, served.mint(stranger)).code == "invalid_api_key"


def test_a_key_that_a_peer_region_signed_in_our_name(served: Gateway) -> None:
    assert refusal(served, served.mint(served.peer_key)).code == "invalid_api_key"


def test_a_key_of_another_region_is_told_where_to_go(served: Gateway) -> None:
    error = refusal(served, served.mint(served.peer_key, iss=PEER))
    assert (error.status_code, error.code) == (401, "wrong_region")
    assert all(words in str(error.body) for words in (PEER, REGION, PEER_HOST))


def test_a_key_of_a_region_nobody_knows(served: Gateway) -> None:
    assert refusal(served, served.mint(iss="atlantis")).code == "invalid_api_key"


def test_a_key_of_another_project(served: Gateway) -> None:
    """Without OpenAI-Project the other project's endpoint is simply not there."""
    error = refusal(served, model="secret")
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("model", ["open", "secret", "nowhere"])
def test_naming_another_project(served: Gateway, model: str) -> None:
    """401 whether or not the endpoint exists there, and never a word about what does."""
    error = refusal(served, model=model, project="p2")
    assert (error.status_code, error.code) == (401, "wrong_scope")
    assert "p1" in str(error.body)
    assert "secret" not in str(error.body)


def test_naming_the_keys_own_project(served: Gateway) -> None:
    answer = served.client(project="p1").chat.completions.create(model="open", messages=MESSAGES)
    assert answer.choices[0].message.content == "refusals"


@pytest.mark.parametrize(
    "claims",
    [{"endpoints": ("other",)}, {"endpoints": ()}, {"roles": ("inference.viewer",)}, {"roles": ()}, {"jti": ""}, {"project": ""}],
    ids=str,
)
def test_a_key_that_is_limited(served: Gateway, claims: dict[str, Any]) -> None:
    error = refusal(served, served.mint(**claims))
    assert (error.status_code, error.code, type(error)) == (403, "endpoint_not_allowed", openai.PermissionDeniedError)


def test_a_scoped_key_reaches_its_endpoint(served: Gateway) -> None:
    key = served.mint(endpoints=("other", "open"))
    assert served.client(key).chat.completions.create(model="open", messages=MESSAGES).id == "echo"


def test_a_revoked_key_is_refused_within_seconds_and_others_are_not(served: Gateway) -> None:
    revoked, kept = served.mint(jti="feedfeedfeedfeed"), served.mint(jti="beefbeefbeefbeef")
    served.client(revoked).chat.completions.create(model="open", messages=MESSAGES)
    served.revoked["feedfeedfeedfeed"] = int(time.time()) + 3600
    served.publish()
    error = refusal(served, revoked)
    assert (error.status_code, error.code) == (401, "token_revoked")
    served.client(kept).chat.completions.create(model="open", messages=MESSAGES)


def test_ten_thousand_revoked_keys(served: Gateway) -> None:
    expiry = int(time.time()) + 3600
    served.revoked.update({f"{number:016x}": expiry for number in range(10_000)})
    begun = time.monotonic()
    served.publish()
    assert time.monotonic() - begun < 5
    assert refusal(served, served.mint(jti=f"{9_999:016x}")).code == "token_revoked"
    served.client(served.mint(jti="f" * 16)).chat.completions.create(model="open", messages=MESSAGES)
    served.revoked.clear()
    served.publish()
    served.client(served.mint(jti=f"{9_999:016x}")).chat.completions.create(model="open", messages=MESSAGES)


def test_a_model_that_is_not_declared(served: Gateway) -> None:
    error = refusal(served, model="nowhere")
    assert (error.status_code, error.code, type(error)) == (404, "model_not_found", openai.NotFoundError)
    assert "nowhere" in str(error.body)


@pytest.mark.parametrize("model", ["../p2/secret", "p2/secret", "", "ads", "activator", "a\r\nb", "ঢাকা", "open\0", "x" * 100_000], ids=repr)
def test_a_model_name_that_tries_something(served: Gateway, model: str) -> None:
    assert refusal(served, model=model).status_code in (400, 404)


def test_a_declared_endpoint_without_a_replica(served: Gateway) -> None:
    served.publish(a_route("cold", phase="Fetching", retry_after_s=7, request_timeout_s=1))
    error = refusal(served, model="cold")
    assert (error.status_code, error.code) == (503, "model_loading")
    assert error.response.headers["retry-after"] == "7"
    assert error.response.headers["x-ff-activator"] == "1"
    assert "Fetching" in str(error.body)


def test_the_activator_is_not_ejected_by_its_own_503s(served: Gateway) -> None:
    served.publish(a_route("cold-again", request_timeout_s=1))
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda _: refusal(served, model="cold-again").code, range(30)))
    assert codes == ["model_loading"] * 30


@pytest.mark.parametrize("phase", ["Stalled", "Deleting"])
def test_an_endpoint_that_is_not_worth_waiting_for(served: Gateway, phase: str) -> None:
    served.publish(a_route("broken", phase=phase))
    error = refusal(served, model="broken", max_retries=2)
    assert (error.status_code, error.code) == (503, "no_ready_replica")
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["retry-after"] == HOPELESS_RETRY_AFTER_S


def test_models_are_those_of_the_key(served: Gateway) -> None:
    everything = {model.id for model in served.client().models.list()}
    assert "open" in everything
    assert "secret" not in everything
    scoped = served.client(served.mint(endpoints=("open", "absent")))
    assert [(model.id, model.owned_by, model.created) for model in scoped.models.list()] == [("open", "p1", 1_700_000_000)]
    assert scoped.models.retrieve("open").id == "open"
    with pytest.raises(openai.NotFoundError) as missing:
        scoped.models.retrieve("absent")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.PermissionDeniedError) as denied:
        scoped.models.retrieve("cold")
    assert denied.value.code == "endpoint_not_allowed"


def test_what_this_gateway_does_not_have(served: Gateway) -> None:
    client = served.client()
    for call in (
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.responses.cancel("resp_1"),
        lambda: client.responses.delete("resp_1"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "response_not_found"
    for listing in (client.files.list, client.batches.list):
        with pytest.raises(openai.NotFoundError) as caught:
            listing()
        assert caught.value.code == "unsupported"
    with pytest.raises(openai.NotFoundError) as caught:
        client.moderations.create(input="x")
    assert caught.value.code == "unknown_url"


def test_a_rotated_signing_key(served: Gateway) -> None:
    """Keys of the old one stop, keys of the new one work, by one push."""
    old, before = served.key, served.mint()
    served.key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    try:
        served.publish()
        assert refusal(served, before).code == "invalid_api_key"
        served.client().chat.completions.create(model="open", messages=MESSAGES)
    finally:
        served.key = old
        served.publish()
    until("the old key works again", lambda: served.client(before).models.list().data)
