"""Manners on the wire: retries, timeouts, secrets.

The synchronous client is made from the asynchronous one; both are tried where it can matter.
"""

import traceback

import httpx2
import pytest

import fleetform_sdk as sdk
from tests.sdk import bodies
from tests.sdk.fake_api import TOKEN, FakeApi, problem

ENDPOINT = "/v1/projects/acme/endpoints/prod"
UNAVAILABLE = (503, problem(503, "unavailable", "the database is away"))


def test_a_get_is_repeated_until_it_succeeds() -> None:
    api = FakeApi().on("GET", ENDPOINT, UNAVAILABLE, httpx2.ReadError("reset"), (200, bodies.endpoint()))
    assert api.client().endpoints.get("prod").metadata.name == "prod"
    assert len(api.requests) == 3
    assert 0.375 <= api.slept[0] <= 0.5
    assert 0.75 <= api.slept[1] <= 1.0


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same() -> None:
    api = FakeApi().on("GET", ENDPOINT, UNAVAILABLE, (200, bodies.endpoint()))
    async with api.async_client() as client:
        assert (await client.endpoints.get("prod")).status.url == "http://127.0.0.1:7080/v1"
    assert len(api.requests) == 2


def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    api = FakeApi().on("GET", ENDPOINT, UNAVAILABLE)
    with pytest.raises(sdk.InternalServerError) as caught:
        api.client(max_retries=1).endpoints.get("prod")
    assert len(api.requests) == 2
    assert caught.value.request_id == "req-1"


def test_retry_after_of_the_server_is_waited_for() -> None:
    busy = httpx2.Response(429, json=problem(429, "rate-limited", "too many calls"), headers={"retry-after": "7"})
    api = FakeApi().on("GET", ENDPOINT, busy, (200, bodies.endpoint()))
    api.client().endpoints.get("prod")
    assert api.slept == [7.0]


def test_a_mint_is_not_repeated_when_it_may_have_happened() -> None:
    path = "/v1/projects/acme/tokens/rag-app/credentials"
    api = FakeApi().on("POST", path, httpx2.ReadTimeout("slow"))
    with pytest.raises(sdk.APITimeoutError):
        api.client().tokens.mint("rag-app")
    assert len(api.requests) == 1


def test_a_mint_is_repeated_when_the_server_was_never_reached() -> None:
    path = "/v1/projects/acme/tokens/rag-app/credentials"
    api = FakeApi().on("POST", path, httpx2.ConnectError("refused"), (201, bodies.credential()))
    assert api.client().tokens.mint("rag-app", ttl="1h").secret == "cd-minted"
    assert api.body() == {"ttl_s": 3600}


def test_a_delete_whose_answer_was_lost_is_done() -> None:
    gone = (404, problem(404, "not-found", "no endpoint 'prod'"))
    api = FakeApi().on("DELETE", ENDPOINT, httpx2.ReadError("reset"), gone)
    api.client().endpoints.delete("prod")
    assert api.asked() == [f"DELETE {ENDPOINT}"] * 2


def test_a_delete_of_what_never_was_is_told() -> None:
    with pytest.raises(sdk.NotFoundError):
        FakeApi().client().endpoints.delete("prod")


def test_connection_errors_name_the_address_and_keep_their_cause() -> None:
    api = FakeApi().on("GET", ENDPOINT, httpx2.ConnectError("refused"))
    with pytest.raises(sdk.APIConnectionError, match=r"http://api\.test cannot be reached: refused") as caught:
        api.client(max_retries=0).endpoints.get("prod")
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)


def test_a_long_poll_has_its_own_time_on_top() -> None:
    api = FakeApi().on("GET", ENDPOINT, (200, bodies.endpoint()))
    api.client(timeout=10).endpoints.wait_until_ready("prod", generation=1)
    timeout = api.requests[-1].extensions["timeout"]
    assert timeout["read"] == 12.0
    assert timeout["connect"] == 5.0


def test_the_token_is_sent_and_never_shown() -> None:
    api = FakeApi().on("GET", ENDPOINT, (401, problem(401, "unauthenticated", "the token has expired")))
    client = api.client()
    with pytest.raises(sdk.AuthenticationError) as caught:
        client.endpoints.get("prod")
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    shown = "".join(traceback.format_exception(caught.value)) + repr(client) + str(client) + repr(vars(caught.value))
    assert TOKEN not in shown


def test_names_cannot_leave_their_place_in_the_path() -> None:
    api = FakeApi()
    for name in ("../../quotas/x", "..", "a/b", "a?b=c", "a#b", "ä"):
        with pytest.raises(sdk.NotFoundError):
            api.client().endpoints.get(name)
        raw = api.requests[-1].url.raw_path.decode()
        assert raw.startswith("/v1/projects/acme/endpoints/")
        assert raw.count("/") == 5
        assert "?" not in raw


@pytest.mark.parametrize("content", [b"<html>hello</html>", b'{"metadata": 5}', b'{"metadata": '])
def test_another_server_at_the_address_is_told(content: bytes) -> None:
    api = FakeApi().on("GET", ENDPOINT, httpx2.Response(200, content=content))
    with pytest.raises(sdk.InvalidResponseError, match="get_endpoint"):
        api.client().endpoints.get("prod")


def test_members_that_a_newer_server_adds_are_ignored() -> None:
    body = bodies.endpoint()
    body["status"]["conditions"][0]["reason"] = "AReasonOfTomorrow"
    body["status"]["novelty"] = {"a": 1}
    api = FakeApi().on("GET", ENDPOINT, (200, body))
    assert api.client().endpoints.get("prod").status.conditions[0].reason == "AReasonOfTomorrow"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (200, {"content-encoding": "gzip"}, "get_endpoint: the answer cannot be read"),
        (302, {"location": "https://login.test/"}, "302: .* sends us on to 'https://login.test/'"),
    ],
)
def test_somebody_in_between_is_told(status: int, headers: dict[str, str], said: str) -> None:
    answer = httpx2.Response(status, stream=httpx2.ByteStream(b"no gzip"), headers=headers)
    api = FakeApi().on("GET", ENDPOINT, answer)
    with pytest.raises(sdk.FleetformError, match=said):
        api.client().endpoints.get("prod")
    assert len(api.requests) == 1


@pytest.mark.parametrize("name", ["", "\udcff"])
def test_a_name_that_cannot_be_sent_is_told_before_anything_is(name: str) -> None:
    api = FakeApi()
    with pytest.raises(sdk.InvalidRequest, match="name"):
        api.client().endpoints.delete(name)
    assert api.requests == []


def test_text_that_is_not_unicode_is_told_before_anything_is_sent() -> None:
    api = FakeApi()
    with pytest.raises(sdk.InvalidRequest, match="put_token"):
        api.client().tokens.apply("app", roles=["inference.invoker"], labels={"a": "\udcff"})
    assert api.requests == []
