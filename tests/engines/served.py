"""An OpenAI-shaped engine behind uvicorn and our own middleware, as vLLM is: what they do together with a stream is shown with it.

`max_tokens` words come back, `stub_token_delay_s` between them, each with `stub_padding` bytes; after `stub_stall_after`
nothing comes. A stream ends with `[DONE]` or `response.completed`.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "api"))

import uvicorn
from starlette.middleware.errors import ServerErrorMiddleware

from fleetform.host.middleware import STREAM_PAUSE_S, RequestTimeout

Ask = Callable[[], Awaitable[Any]]


class App:
    def __init__(self, served_name: str, instance: str) -> None:
        self.served_name, self.instance = served_name, instance

    async def __call__(self, scope: Any, receive: Ask, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while scope["method"] == "POST" and (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        wish = json.loads(body) if body else {}
        if wish.get("stream"):
            await self._stream(scope["path"], wish, send)
            return
        answer: dict[str, Any] = {
            "object": "list",
            "data": [{"id": name, "object": "model"} for name in (self.served_name, f"ff-{self.instance}")],
        }
        if scope["method"] == "POST":
            message = {"role": "assistant", "content": self.instance}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": self.served_name, "choices": [choice], "usage": usage}
        data = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def _stream(self, path: str, wish: dict[str, Any], send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]})
        for number in range(wish.get("max_tokens") or wish.get("max_output_tokens") or 3):
            text = f" word{number}" if number else self.instance
            await send({"type": "http.response.body", "body": _event(path, number, text, wish), "more_body": True})
            await asyncio.sleep(3600 if wish.get("stub_stall_after") == number else wish.get("stub_token_delay_s", 0))
        await send({"type": "http.response.body", "body": _end(path), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event(path: str, number: int, text: str, wish: dict[str, Any]) -> bytes:
    padding = "x" * wish.get("stub_padding", 0)
    if path == "/v1/responses":
        event: dict[str, Any] = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": text}
        data = json.dumps({**event, "logprobs": [], "sequence_number": number, "padding": padding})
        return f"event: response.output_text.delta\ndata: {data}\n\n".encode()
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    data = json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], "padding": padding})
    return f"data: {data}\n\n".encode()


def _end(path: str) -> bytes:
    if path == "/v1/responses":
        return b'event: response.completed\ndata: {"type": "response.completed", "sequence_number": 99, "response": {"id": "1"}}\n\n'
    return b"data: [DONE]\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--served-name", default="m")
    parser.add_argument("--instance", default="0")
    parser.add_argument("--http", default="httptools")
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--stream-pause-s", type=float, default=STREAM_PAUSE_S)
    options = parser.parse_args()
    app = ServerErrorMiddleware(RequestTimeout(App(options.served_name, options.instance), options.stream_pause_s))
    uvicorn.run(app, uds=options.socket, http=options.http, loop=options.loop, lifespan="off", log_level="warning")


if __name__ == "__main__":
    main()
