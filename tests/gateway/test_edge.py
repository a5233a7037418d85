"""What the listener lets through and what it does not, byte by byte."""

import json
import re
import socket
import time
from collections.abc import Iterator

import openai
import pytest

from tests.gateway.engines import EchoEngine
from tests.gateway.stack import Gateway, a_route, a_track

pytestmark = pytest.mark.envoy
BODY = b'{"model": "edge"}'


@pytest.fixture(scope="module")
def engine(gateway: Gateway) -> Iterator[EchoEngine]:
    """The engine behind endpoint `edge`."""
    engine = gateway.echo("edge")
    gateway.publish(a_route("edge", a_track("v1", 100, engine.path), request_timeout_s=42))
    yield engine
    gateway.run(engine.stop())


def request(
    gateway: Gateway,
    *headers: bytes,
    line: bytes = b"POST /v1/chat/completions HTTP/1.1",
    body: bytes = BODY,
    length: bool = True,
) -> bytes:
    """An authorized request as bytes."""
    lines = [line, b"host: gateway", b"authorization: Bearer " + gateway.mint().encode(), b"connection: close", *headers]
    if length:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error(answer: bytes) -> dict[str, object]:
    """The error object of an answer; it has OpenAI's four fields."""
    found = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert isinstance(found, dict)
    return found


def test_healthz_needs_no_key(gateway: Gateway) -> None:
    assert status(gateway.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")) == 200


def test_a_plain_request(gateway: Gateway, engine: EchoEngine) -> None:
    assert status(gateway.raw(request(gateway))) == 200


def test_the_replica_never_sees_the_key_or_a_header_that_only_we_may_send(gateway: Gateway, engine: EchoEngine) -> None:
    spoofed = (
        b"x-ff-timeout-s: 99999",
        b"X-FF-Endpoint: p2/other",
        b"x-ff-project: p2",
        b"x-ff-token: token:p2:admin",
        b"x-ff-jti: ffffffffffffffff",
        b"x-ff-anything: 1",
        b"x-envoy-max-retries: 9",
        b"x-envoy-attempt-count: 9",
        b"x-envoy-upstream-rq-timeout-ms: 1",
        b"x-envoy-retry-on: 5xx",
        b"x-forwarded-for: 10.9.8.7",
        b"x-forwarded-proto: gopher",
        b"x-request-id: chosen-by-the-client",
    )
    assert status(gateway.raw(request(gateway, *spoofed))) == 200
    _, headers, _ = engine.seen[-1]
    got = dict(headers)
    assert len(got) == len(headers), f"a header came twice: {headers}"
    assert "authorization" not in got
    assert "x-ff-jti" not in got
    assert got["x-ff-timeout-s"] == "42"
    assert got["x-ff-endpoint"] == "p1/edge"
    assert got["x-ff-project"] == "p1"
    assert got["x-ff-token"] == "token:p1:app"
    assert "x-ff-anything" not in got
    assert {name: value for name, value in got.items() if name.startswith("x-envoy-")} == {"x-envoy-attempt-count": "1"}
    assert "10.9.8.7" not in got["x-forwarded-for"] or got["x-forwarded-for"].split(",")[-1].strip() != "10.9.8.7"
    assert got["x-forwarded-proto"] == "http"
    assert got["x-request-id"] != "chosen-by-the-client"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("both lengths", 400),
        ("two content-lengths", 400),
        ("a space before the colon", 400),
        ("an unknown transfer-encoding", 501),
        ("a NUL in a value", 400),
        ("an underscore in a name", 400),
        ("a negative length", 400),
    ],
)
def test_smuggling(gateway: Gateway, engine: EchoEngine, what: str, expected: int) -> None:
    """Refused, and nothing of it reaches the replica."""
    before = len(engine.seen)
    chunked = b"11\r\n" + BODY + b"\r\n0\r\n\r\n"
    attempts = {
        "both lengths": request(gateway, b"transfer-encoding: chunked", body=chunked),
        "two content-lengths": request(gateway, b"content-length: 3"),
        "a space before the colon": request(gateway, b"transfer-encoding : chunked", body=chunked),
        "an unknown transfer-encoding": request(gateway, b"transfer-encoding: xchunked", body=chunked, length=False),
        "a NUL in a value": request(gateway, b"x-a: 1\x002"),
        "an underscore in a name": request(gateway, b"x_role: admin"),
        "a negative length": request(gateway, b"content-length: -1", length=False),
    }
    answer = gateway.raw(attempts[what])
    assert status(answer) == expected
    assert len(engine.seen) == before


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b"x-a: 1\r\n x-b: 2", [("x-a", "1 x-b: 2")]),
        (b"x-a: 1\r2", [("x-a", "12")]),
        (b"x-a: 1\nx-b: 2", [("x-a", "1"), ("x-b", "2")]),
    ],
    ids=["folded", "bare CR", "bare LF"],
)
def test_odd_lines_reach_the_replica_straightened(
    gateway: Gateway, engine: EchoEngine, sent: bytes, arrives: list[tuple[str, str]]
) -> None:
    """Envoy takes them; what it sends on has one reading only."""
    assert status(gateway.raw(request(gateway, sent))) == 200
    assert [header for header in engine.seen[-1][1] if header[0] in ("x-a", "x-b")] == arrives


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/chat/completions/../../metrics",
        b"/v1/models/../../../etc/passwd",
        b"/v1/%2e%2e/metrics",
        b"/v1/..%2fmetrics",
        b"/v1/chat%5ccompletions",
        b"/v1/chat/completionsXX",
        b"/metrics",
        b"/ff/sleep",
        b"/ff/wake",
        b"/v1/../ff/sleep",
        b"/v1/chat/completions/..%2f..%2f..%2fff/wake",
        b"/pause",
        b"/collective_rpc",
        b"/invocations",
        b"/v1/load_lora_adapter",
        b"/admin",
    ],
)
def test_paths_outside_the_list(gateway: Gateway, engine: EchoEngine, path: bytes) -> None:
    """Whatever is normalised away or not, a replica sees only the four inference paths."""
    before = len(engine.seen)
    answer = gateway.raw(request(gateway, line=b"POST " + path + b" HTTP/1.1"))
    assert status(answer) in (400, 403, 404, 405)
    assert error(answer)["code"] in ("malformed_request", "unknown_url", "method_not_allowed")
    assert len(engine.seen) == before


def test_double_slashes_and_queries_still_arrive(gateway: Gateway, engine: EchoEngine) -> None:
    answer = gateway.raw(request(gateway, line=b"POST //v1//chat/completions?beta=1 HTTP/1.1"))
    assert status(answer) == 200
    assert engine.seen[-1][0] == "POST /v1/chat/completions?beta=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("line", "expected", "allow"),
    [
        (b"GET /v1/chat/completions HTTP/1.1", 405, b"POST"),
        (b"DELETE /v1/embeddings HTTP/1.1", 405, b"POST"),
        (b"POST /v1/models HTTP/1.1", 405, b"GET"),
    ],
)
def test_a_wrong_method(gateway: Gateway, engine: EchoEngine, line: bytes, expected: int, allow: bytes) -> None:
    answer = gateway.raw(request(gateway, line=line))
    assert status(answer) == expected
    assert error(answer)["code"] == "method_not_allowed"
    assert b"\r\nallow: " + allow + b"\r\n" in answer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "missing_model"),
        (b"{}", "missing_model"),
        (b'{"model": null}', "missing_model"),
        (b'{"model": {"a": 1}}', "missing_model"),
        (b'{"model"', "invalid_json"),
        (b"hello", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"\xff\xfe\x00", "invalid_json"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_body_that_is_wrong(gateway: Gateway, engine: EchoEngine, body: bytes, code: str) -> None:
    answer = gateway.raw(request(gateway, body=body))
    assert status(answer) == 400
    assert error(answer)["code"] == code


@pytest.mark.parametrize("body", [b"[]", b'["model"]', b'"model"', b"1", b"null"])
def test_json_that_is_no_object(gateway: Gateway, engine: EchoEngine, body: bytes) -> None:
    answer = gateway.raw(request(gateway, body=body))
    assert status(answer) == 400
    assert error(answer)["code"] in ("invalid_json", "missing_model")


def test_two_models_in_one_body_are_read_as_the_replica_reads_them(gateway: Gateway, engine: EchoEngine) -> None:
    """Scope, route and replica agree on the last one."""
    gateway.publish(a_route("decoy", request_timeout_s=1))
    assert status(gateway.raw(request(gateway, body=b'{"model": "decoy", "model": "edge"}'))) == 200
    assert status(gateway.raw(request(gateway, body=b'{"model": "edge", "model": "decoy"}'))) == 503


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"text/plain", b"", b"application/x-www-form-urlencoded"])
def test_the_content_type_is_not_what_decides(gateway: Gateway, engine: EchoEngine, kind: bytes) -> None:
    assert status(gateway.raw(request(gateway, b"content-type: " + kind))) == 200


def test_a_large_prompt_passes(gateway: Gateway, engine: EchoEngine) -> None:
    answer = gateway.client().chat.completions.create(model="edge", messages=[{"role": "user", "content": "x" * (15 << 20)}])
    assert answer.id == "echo"


def test_a_large_answer_passes(gateway: Gateway, engine: EchoEngine) -> None:
    answer = gateway.client().chat.completions.create(model="edge", messages=[], extra_body={"answer_bytes": 40 << 20})
    assert len(answer.padding) == 40 << 20  # type: ignore[attr-defined]  # a field of the echo engine


def test_a_body_of_100_mb(gateway: Gateway, engine: EchoEngine) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client().chat.completions.create(model="edge", messages=[{"role": "user", "content": "x" * 100_000_000}])
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"
    assert "16 MiB" in str(caught.value.body)


@pytest.mark.parametrize("headers", [[b"x-a: " + b"y" * 40_000], [b"x-%d: 1" % number for number in range(150)]], ids=["large", "many"])
def test_headers_that_are_too_much(gateway: Gateway, engine: EchoEngine, headers: list[bytes]) -> None:
    answer = gateway.raw(request(gateway, *headers))
    assert status(answer) == 431
    assert error(answer)["code"] == "headers_too_large"


def test_http_1_0(gateway: Gateway) -> None:
    answer = gateway.raw(request(gateway, line=b"POST /v1/chat/completions HTTP/1.0"))
    assert status(answer) == 426
    assert error(answer)["code"] == "upgrade_required"


def test_headers_that_never_end(gateway: Gateway) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.settings.gateway_port), timeout=20) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        answer = connection.recv(65536)
    assert status(answer) == 408
    assert error(answer)["code"] == "request_timeout"
    assert time.monotonic() - begun < 15


def test_every_answer_has_a_request_id(gateway: Gateway, engine: EchoEngine) -> None:
    answers = [
        gateway.raw(request(gateway)),
        gateway.raw(request(gateway, body=b"{}")),
        gateway.raw(request(gateway, line=b"GET /v1/models HTTP/1.1", body=b"")),
        gateway.raw(request(gateway, line=b"GET /nothing HTTP/1.1", body=b"")),
    ]
    assert all(re.search(rb"\r\nx-request-id: [0-9a-f-]{36}\r\n", answer) for answer in answers)
