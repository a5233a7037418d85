"""Asking an engine who it is and whether it works. vLLM's `/health` is never proof: it stays 200 with a hung engine and in drain."""

import asyncio
import contextlib
import json
import os
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx2

from fleetform.domain.model import Task
from fleetform.domain.replica import Address, FailureReason, Loopback, Unix
from fleetform.host.processes import Identity

UP_POLL_S = 0.2
HEALTH_TIMEOUT_S = 5.0
CANARY_TIMEOUT_S = 120.0
CANARY_TRIES = 3
WARM_UP_TOKENS = 8
ANSWER_TO = "The quick brown fox jumps over"
ANSWER_TOKENS = 16
ANSWER_NUMBERS = 32
_IPV4 = ("0100007F", "00000000")
_IPV6 = ("0" * 32, "0000000000000000FFFF00000100007F")
"""Addresses that take what comes to 127.0.0.1, as /proc/net/tcp and tcp6 write them."""
_TOKENS = re.compile(r"^vllm:(?:prompt|generation)_tokens_total\{[^}]*\} (\S+)$", re.MULTILINE)


class NotServing(Exception):
    """The engine is up and is not what was started, or does not work."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@contextlib.asynccontextmanager
async def client(address: Address) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client that reaches nothing but that engine."""
    match address:
        case Unix(path=path):
            transport, base = httpx2.AsyncHTTPTransport(uds=path), "http://engine"
        case Loopback(port=port):
            transport, base = httpx2.AsyncHTTPTransport(), f"http://127.0.0.1:{port}"
        case _:
            raise ValueError(f"an engine of this host cannot be at {address}")
    async with httpx2.AsyncClient(transport=transport, base_url=base, timeout=HEALTH_TIMEOUT_S, trust_env=False) as http:
        yield http


async def is_up(http: httpx2.AsyncClient, health_path: str) -> bool:
    """True when the engine answers 200 to its health path."""
    try:
        return (await http.get(health_path)).status_code == 200
    except (httpx2.HTTPError, OSError):
        return False


async def until_up(http: httpx2.AsyncClient, health_path: str) -> None:
    """Wait until `is_up`."""
    while not await is_up(http, health_path):  # noqa: ASYNC110  # another process gives no event to wait for
        await asyncio.sleep(UP_POLL_S)


async def check_names(http: httpx2.AsyncClient, served_name: str, instance: str) -> None:
    """NotServing(WrongModel) unless the engine lists both the name that clients send and this replica's own."""
    try:
        answer = (await http.get("/v1/models")).json()
        listed = {str(model["id"]) for model in answer["data"]}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise NotServing(FailureReason.WRONG_MODEL, f"the engine does not list its models: {error!r}") from error
    for name in (served_name, instance):
        if name not in listed:
            found = ", ".join(sorted(listed)) or "nothing"
            raise NotServing(FailureReason.WRONG_MODEL, f"the engine on the socket serves {found}, not {name}")


async def check_canary(http: httpx2.AsyncClient, model: str, task: Task) -> None:
    """NotServing(CanaryFailed) unless the engine answers one token, or one embedding. Tried CANARY_TRIES times."""
    words = ""
    for attempt in range(CANARY_TRIES):
        if attempt:
            await asyncio.sleep(1)
        try:
            words = await _ask(http, model, task)
        except httpx2.HTTPError as error:
            words = repr(error)
        if not words:
            return
    raise NotServing(FailureReason.CANARY_FAILED, f"the engine is up and answers no request: {words}")


async def answer(http: httpx2.AsyncClient, model: str, task: Task) -> str:
    """What the engine answers to a question that is always the same, as one word to compare; NotServing when it answers none.

    At temperature 0. Of an embedding the first numbers: what they are rounded to leaves out the order in which threads add up.
    """
    with contextlib.suppress(httpx2.HTTPError, ValueError, LookupError, TypeError):
        if task is Task.EMBED:
            found = (await _whole(http, "/v1/embeddings", {"model": model, "input": ANSWER_TO}))["data"][0]["embedding"]
            return json.dumps([round(float(number), 3) for number in found[:ANSWER_NUMBERS]])
        asked = {"model": model, "prompt": ANSWER_TO, "max_tokens": ANSWER_TOKENS, "temperature": 0}
        return json.dumps((await _whole(http, "/v1/completions", asked))["choices"][0]["text"])
    raise NotServing(FailureReason.CANARY_FAILED, "the engine does not answer what is always asked")


async def check_answer(http: httpx2.AsyncClient, model: str, task: Task, expected: str) -> None:
    """NotServing(CanaryFailed) unless the engine answers as it did before."""
    if await answer(http, model, task) != expected:
        raise NotServing(FailureReason.CANARY_FAILED, "the engine answers otherwise than it did before")


async def _whole(http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    found = await http.post(path, json=body, timeout=CANARY_TIMEOUT_S)
    return found.raise_for_status().json()


async def answered(address: Address, model: str, task: Task, health_path: str | None) -> None:
    """Return once the engine has answered a request of one token; it is asked until then, for as long as the caller waits.

    Any answer will do: an engine that refuses because it is full, or cannot do what it is asked, is not hung. health_path: what an
    engine without OpenAI routes is asked for in its place.
    """
    while True:
        with contextlib.suppress(httpx2.HTTPError, OSError):
            async with client(address) as http:
                if health_path is None:
                    await _ask(http, model, task)
                else:
                    await http.get(health_path, timeout=CANARY_TIMEOUT_S)
                return
        await asyncio.sleep(UP_POLL_S)


async def tokens(address: Address, timeout_s: float) -> float | None:
    """Tokens that vLLM has read and made since it started, by its `/metrics`; None when it does not say."""
    try:
        async with client(address) as http:
            text = (await http.get("/metrics", timeout=timeout_s)).text
    except (httpx2.HTTPError, OSError):
        return None
    found = [float(value) for value in _TOKENS.findall(text)]
    return sum(found) if found else None


async def warm_up(http: httpx2.AsyncClient, model: str, task: Task) -> None:
    """A request of some tokens, so that the first client does not wait for what is done once. Whether it works, the canary says."""
    with contextlib.suppress(httpx2.HTTPError):
        await _ask(http, model, task, max_tokens=WARM_UP_TOKENS)


async def _ask(http: httpx2.AsyncClient, model: str, task: Task, max_tokens: int = 1) -> str:
    """Empty when the answer is right, else what is wrong with it."""
    if task is Task.EMBED:
        return await _post(http, "/v1/embeddings", {"model": model, "input": "ping"}, ("data", 0, "embedding", 0))
    chat = {"model": model, "messages": [{"role": "user", "content": "ping"}], "max_tokens": max_tokens, "temperature": 0}
    wrong = await _post(http, "/v1/chat/completions", chat, ("choices", 0, "message"))
    if not wrong:
        return ""
    # A base model has no chat template; it must still complete.
    plain = {"model": model, "prompt": "ping", "max_tokens": max_tokens, "temperature": 0}
    return "" if not await _post(http, "/v1/completions", plain, ("choices", 0, "text")) else wrong


async def _post(http: httpx2.AsyncClient, path: str, body: dict[str, Any], wanted: tuple[str | int, ...]) -> str:
    answer = await http.post(path, json=body, timeout=CANARY_TIMEOUT_S)
    if answer.status_code != 200:
        return f"{path} answered {answer.status_code}: {answer.text[:300]}"
    try:
        value = answer.json()
        for key in wanted:
            value = value[key]
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{path} answered 200 without {'/'.join(map(str, wanted))}"
    return ""


def listener(address: Address, members: Iterable[Identity]) -> int | None:
    """The pid of the process that listens there: by the kernel's word for a socket, by its open files for a port. None when unknown."""
    match address:
        case Unix(path=path):
            return _socket_listener(path)
        case Loopback(port=port):
            return _port_listener(port, members)
        case _:
            return None


def _socket_listener(path: str) -> int | None:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(HEALTH_TIMEOUT_S)
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _port_listener(port: int, members: Iterable[Identity]) -> int | None:
    """The member that holds a socket which takes what comes to that port; None when there is none, or somebody else holds one too.

    Those who set SO_REUSEPORT share a port, and what comes to it: an engine could pass the proof and a stranger get its requests.
    """
    listening = _listening("tcp", port, _IPV4) or _listening("tcp6", port, _IPV6)
    held: dict[str, int] = {}
    for member in members:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{member.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    held[os.readlink(link).removeprefix("socket:[").removesuffix("]")] = member.pid  # noqa: PTH115  # not a path
    return next((held[socket_] for socket_ in listening), None) if listening <= held.keys() else None


def _listening(table: str, port: int, addresses: tuple[str, ...]) -> set[str]:
    """The sockets that listen on that port at one of these addresses, as the kernel numbers them."""
    try:
        lines = Path("/proc/net", table).read_text().splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return set()
    wanted = {f"{address}:{port:04X}" for address in addresses}
    return {fields[9] for fields in map(str.split, lines) if fields[1] in wanted and fields[3] == "0A"}
