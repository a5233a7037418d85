"""An OpenAI-shaped engine made of the standard library, run as a process of its own; starts in a tenth of a second.

It behaves as vLLM does where that matters: it lists its served name and its instance name, drains on SIGTERM (new requests get
500, running ones finish), and can have child processes that outlive it. Options come from the command line, and from `stub.json`
in the model directory, so that one version of a model can misbehave while another serves.

With `child_title`, its children call themselves so, as vLLM's processes do.
With `fails_beyond_tokens`, whatever asks for more tokens than that gets 500: a canary of one token does not notice.
With `device_directory` it holds memory of pretended devices (tests/host/warm.py), gives most of it back when it is asked to sleep, and
takes it again when it is woken. `sleep_mode` says how that goes wrong.

With `told_directory`, `GET /metrics` and `GET /ff/statistics` answer what its files `metrics` and `statistics` hold at the time.

With `pace_directory`, a file there that is named as its pid says how many seconds more it takes for each answer.

A request may steer its own answer: `max_tokens` words come back (default 3), `stub_delay_s` passes before the first,
`stub_token_delay_s` between them. A stream goes wrong after `stub_error_after` words as vLLM's do (an error event, then `[DONE]`), after
`stub_cut_after` by a closed connection, after `stub_stall_after` by silence.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

MODES = ("serve", "crash", "crash-later", "oom", "hang", "wrong-model", "wrong-instance", "bad-canary", "health-never")

SLEEP_MODES = ("sleep", "no-sleep", "no-wake", "dies-waking", "keeps-memory", "wakes-dumb", "no-forget")


def main() -> None:
    options = _options()
    print(f"stub engine starts: mode={options.mode} served={options.served_name}", flush=True)
    for _ in range(options.children):
        _start_child(options.child_directory, options.child_title, stubborn=options.stubborn_children)
    if options.mode == "crash":
        for number in range(80):
            print(f"Traceback line {number}: HF_TOKEN=hf_abcdefghijklmnopqrstuvwx", file=sys.stderr, flush=True)
        print("ValueError: the weights do not fit this architecture", file=sys.stderr, flush=True)
        sys.exit(options.exit_code)
    if options.mode == "oom":
        print("Killed", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if options.mode == "hang":
        signal.pause()
    asyncio.run(Engine(options).run())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket")
    parser.add_argument("--port", type=int)
    parser.add_argument("--model-dir", default="")
    parser.add_argument("--served-name", default="stub")
    parser.add_argument("--instance", default="0")
    parser.add_argument("--context-length", default="2048")
    parser.add_argument("--mode", choices=MODES, default="serve")
    parser.add_argument("--word", default="word")
    parser.add_argument("--start-delay-s", type=float, default=0.0)
    parser.add_argument("--first-token-delay-s", type=float, default=0.0)
    parser.add_argument("--token-delay-s", type=float, default=0.0)
    parser.add_argument("--shutdown-timeout", type=float, default=5.0)
    parser.add_argument("--crash-after-s", type=float, default=0.2)
    parser.add_argument("--exit-code", type=int, default=3)
    parser.add_argument("--children", type=int, default=0)
    parser.add_argument("--stubborn-children", action="store_true")
    parser.add_argument("--child-directory", default="")
    parser.add_argument("--child-title", default="")
    parser.add_argument("--told-directory", default="")
    parser.add_argument("--pace-directory", default="")
    parser.add_argument("--fails-beyond-tokens", type=int, default=0)
    parser.add_argument("--sleep-mode", choices=SLEEP_MODES, default="sleep")
    parser.add_argument("--device-directory", default="")
    parser.add_argument("--awake-mib", type=int, default=20_000)
    parser.add_argument("--asleep-mib", type=int, default=700)
    options = parser.parse_args()
    file = Path(options.model_dir) / "stub.json"
    if options.model_dir and file.is_file():
        for name, value in json.loads(file.read_text()).items():
            setattr(options, name.replace("-", "_"), value)
    return options


def _start_child(directory: str, title: str, *, stubborn: bool) -> None:
    if os.fork() == 0:
        if directory:
            os.chdir(directory)
        if title:
            os.execv("/bin/sleep", [title, "infinity"])  # what it is called is all that matters
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()


class Engine:
    """The HTTP side. in_flight counts completions that have begun and not ended."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.in_flight = 0
        self.draining = False
        self.asleep = False
        self.has_slept = False
        self.stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        await asyncio.sleep(self.options.start_delay_s)
        self.hold(self.options.awake_mib)
        if self.options.socket:
            server = await asyncio.start_unix_server(self.serve_connection, self.options.socket)
        else:
            server = await asyncio.start_server(self.serve_connection, "127.0.0.1", self.options.port)
        print("stub engine is ready", flush=True)
        if self.options.mode == "crash-later":
            loop.call_later(self.options.crash_after_s, os._exit, self.options.exit_code)
        await self.stop.wait()
        self.draining = True
        deadline = time.monotonic() + self.options.shutdown_timeout
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        server.close()
        print("stub engine ends", flush=True)
        os._exit(0)  # open keep-alive connections would hold an orderly end back

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.serve_request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await _read_body(reader, headers)
        await self.answer_while_wanted(self.answer(method, path.partition("?")[0], body, writer), reader)
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def answer_while_wanted(self, answer: Coroutine[Any, Any, None], reader: asyncio.StreamReader) -> None:
        """Stop working for a client that has left, as vLLM does."""
        work = asyncio.ensure_future(answer)
        while not (await asyncio.wait({work}, timeout=0.05))[0]:
            if reader.at_eof():
                work.cancel()
                await asyncio.wait({work})
                print("a request was abandoned", flush=True)
                raise ConnectionError("the client has left")
        try:
            work.result()
        except (ConnectionResetError, BrokenPipeError):
            print("a request was abandoned", flush=True)
            raise

    async def answer(self, method: str, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path in ("/health", "/ping"):
            _send(writer, 503 if self.options.mode == "health-never" else 200, {})
        elif path == "/v1/models":
            _send(writer, 200, {"object": "list", "data": [_model(name) for name in self.names()]})
        elif path in ("/metrics", "/ff/statistics") and self.options.told_directory:
            text = (Path(self.options.told_directory) / path.rpartition("/")[2]).read_bytes()
            writer.write(b"HTTP/1.1 200 Stub\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
        elif method != "POST":
            _send(writer, 404, _error(404, f"no route {path}"))
        elif path in ("/ff/sleep", "/ff/wake"):
            self.answer_host(path == "/ff/sleep", writer)
        elif path == "/ff/forget":
            print("asked to forget", flush=True)
            _send(writer, 500 if self.options.sleep_mode == "no-forget" else 200, {})
        else:
            await self.answer_inference(path, body, writer)

    def answer_host(self, sleeps: bool, writer: asyncio.StreamWriter) -> None:
        print("asked to sleep" if sleeps else "asked to wake", flush=True)
        mode = self.options.sleep_mode
        if mode == "dies-waking" and not sleeps:
            os._exit(5)
        if mode == ("no-sleep" if sleeps else "no-wake"):
            _send(writer, 500, {"error": "RuntimeError: CUDA Error: out of memory"})
            return
        self.asleep, self.has_slept = sleeps, True
        self.hold(self.options.asleep_mib if sleeps and mode != "keeps-memory" else self.options.awake_mib)
        _send(writer, 200, {"asleep": sleeps})

    def hold(self, mib: int) -> None:
        """Hold so much of each device that is ours, as long as we live."""
        for device in filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) if self.options.device_directory else ():
            file = Path(self.options.device_directory) / f"{device}.{os.getpid()}"
            file.with_suffix(".new").write_text(str(mib))
            file.with_suffix(".new").rename(file)

    async def answer_inference(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if self.draining:
            _send(writer, 500, _error(500, "cannot schedule new futures after shutdown"))
            return
        if self.asleep or (self.has_slept and self.options.sleep_mode == "wakes-dumb"):
            _send(writer, 500, _error(500, "the weights are not on the device"))
            return
        if self.options.mode == "bad-canary":
            _send(writer, 500, _error(500, "the engine is broken"))
            return
        try:
            request = json.loads(body)
        except ValueError:
            _send(writer, 400, _error(400, "not JSON"))
            return
        if request.get("model") not in self.names():
            _send(writer, 404, _error(404, f"The model `{request.get('model')}` does not exist."))
            return
        self.in_flight += 1
        print("a request began", flush=True)
        try:
            await self.complete(path, request, writer)
        finally:
            self.in_flight -= 1

    async def complete(self, path: str, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/v1/embeddings":
            texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
            _send(writer, 200, _embeddings(request["model"], texts))
            return
        if path not in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
            _send(writer, 404, _error(404, f"no route {path}"))
            return
        if 0 < self.options.fails_beyond_tokens < _wanted(request):
            _send(writer, 500, _error(500, "CUDA error: an illegal memory access was encountered"))
            return
        words = self.words(request)
        if request.get("stream"):
            await _stream(path, request, words, writer, self.options.instance)
            return
        text = "".join([word async for word in words])
        _send(writer, 200, _completion(path, request["model"], text, self.options.instance))

    async def words(self, request: dict[str, Any]) -> AsyncIterator[str]:
        """The answer, word by word: the instance's name first, so that a test can tell which replica spoke."""
        await asyncio.sleep(request.get("stub_delay_s", self.options.first_token_delay_s) + self.more_s())
        between = request.get("stub_token_delay_s", self.options.token_delay_s)
        for index in range(_wanted(request)):
            if index:
                await asyncio.sleep(between)
            yield f"{self.options.instance}" if index == 0 else f" {self.options.word}{index}"

    def more_s(self) -> float:
        file = Path(self.options.pace_directory) / str(os.getpid())
        return float(file.read_text()) if self.options.pace_directory and file.is_file() else 0.0

    def names(self) -> tuple[str, str]:
        if self.options.mode == "wrong-model":
            return ("somebody-else", f"ff-{self.options.instance}")
        if self.options.mode == "wrong-instance":
            return (self.options.served_name, "ff-somebody-else")
        return (self.options.served_name, f"ff-{self.options.instance}")


def _wanted(request: dict[str, Any]) -> int:
    """How many tokens a request asks for."""
    return int(request.get("max_tokens") or request.get("max_completion_tokens") or request.get("max_output_tokens") or 3)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readline()).strip() or b"0", 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(headers.get("content-length", "0")))


def _send(writer: asyncio.StreamWriter, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    writer.write(f"HTTP/1.1 {status} Stub\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)


async def _stream(path: str, request: dict[str, Any], words: AsyncIterator[str], writer: asyncio.StreamWriter, instance: str) -> None:
    """Headers leave with the first word, as vLLM's do: until then nothing has been answered."""
    count = 0
    async for word in words:
        if await _goes_wrong(request, count, writer):
            return
        if count == 0:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
        count += 1
        _chunk(writer, f"data: {json.dumps(_delta(path, request['model'], word, instance))}\n\n")
        await writer.drain()
    final = _delta(path, request["model"], "", instance, finish="stop")
    _chunk(writer, f"data: {json.dumps(final)}\n\n")
    if (request.get("stream_options") or {}).get("include_usage"):
        _chunk(writer, f"data: {json.dumps({**final, 'choices': [], 'usage': _usage(count)})}\n\n")
    _chunk(writer, "data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


async def _goes_wrong(request: dict[str, Any], count: int, writer: asyncio.StreamWriter) -> bool:
    """Whether the stream has ended here, count words in, as the request wishes."""
    if request.get("stub_error_after") == count:
        _chunk(writer, f"data: {json.dumps(_error(500, 'EngineCore encountered an issue'))}\n\ndata: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
    elif request.get("stub_cut_after") == count:
        writer.close()
        raise ConnectionError("cut, as the request wished")
    elif request.get("stub_stall_after") == count:
        await asyncio.sleep(3600)
    else:
        return False
    return True


def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _delta(path: str, model: str, text: str, instance: str, finish: str | None = None) -> dict[str, Any]:
    chat = path == "/v1/chat/completions"
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice |= {"delta": {"role": "assistant", "content": text}} if chat else {"text": text}
    kind = "chat.completion.chunk" if chat else "text_completion"
    base = {"id": "stub-1", "object": kind, "created": int(time.time()), "model": model, "system_fingerprint": instance}
    return {**base, "choices": [choice]}


def _completion(path: str, model: str, text: str, instance: str) -> dict[str, Any]:
    base = {"id": "stub-1", "created": int(time.time()), "model": model, "system_fingerprint": instance, "usage": _usage(len(text.split()))}
    if path == "/v1/responses":
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"type": "message", "id": "msg-1", "role": "assistant", "status": "completed", "content": content}
        return {**base, "object": "response", "created_at": base["created"], "status": "completed", "output": [message]}
    if path == "/v1/chat/completions":
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {**base, "object": "chat.completion", "choices": [choice]}
    return {**base, "object": "text_completion", "choices": [{"index": 0, "finish_reason": "stop", "text": text}]}


def _embeddings(model: str, texts: list[str]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0, 0.0]} for i, text in enumerate(texts)]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "stub"}


def _usage(completion_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": completion_tokens, "total_tokens": completion_tokens + 1}


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "stub_error", "param": None, "code": status}}


if __name__ == "__main__":
    main()
