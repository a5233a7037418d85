"""A bucket on loopback that misbehaves as it is told: slow, broken off, stalled, away, overwritten."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

BUCKET = "acme"


class Bucket:
    """objects: key → bytes. misbehave is asked before each body with (key, offset) and may send something else, or wait.

    refuses_with: the status of every answer, 0 for the real ones. gets: every (key, offset) that was asked for, in order.
    asked: some body was. released: what waits goes on, or gives up.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gets: list[tuple[str, int]] = []
        self.misbehave: Callable[[BaseHTTPRequestHandler, str, int, bytes], bool] = lambda *_: False
        self.refuses_with = 0
        self.released = threading.Event()
        self.asked = threading.Event()
        self.url = ""

    def pause_half_way(self, key: str) -> threading.Event:
        """The next body of key breaks off after its half, once it is released; the event says that the half has been sent."""
        half_sent = threading.Event()

        def pause(handler: BaseHTTPRequestHandler, asked: str, _offset: int, data: bytes) -> bool:
            if asked != key or half_sent.is_set():
                return False
            begin_body(handler, data, data[: len(data) // 2])
            half_sent.set()
            self.released.wait(30)
            handler.close_connection = True
            return True

        self.misbehave = pause
        return half_sent


@contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    """bucket under bucket.url, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            if "list-type=2" in self.path:
                self._list()
            else:
                self._answer(body=True)

        def log_message(self, *_: object) -> None:
            """Silent."""

        def _answer(self, *, body: bool) -> None:
            key = self.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
            data = bucket.objects.get(key)
            if bucket.refuses_with or data is None:
                self._send(bucket.refuses_with or 404, b"")
                return
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            begin, end = (int(found[1]), int(found[2]) + 1) if found else (0, len(data))
            if self.headers.get("If-Match", _etag(data)) != _etag(data):
                self._send(412, b"")
                return
            if body:
                bucket.gets.append((key, begin))
                bucket.asked.set()
                if bucket.misbehave(self, key, begin, data[begin:end]):
                    return
            self.send_response(206 if found else 200)
            self.send_header("Content-Length", str(end - begin))
            self.send_header("ETag", _etag(data))
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
            self.end_headers()
            if body:
                self.wfile.write(data[begin:end])

        def _list(self) -> None:
            if bucket.refuses_with:
                self._send(bucket.refuses_with, b"")
                return
            found = re.search(r"prefix=([^&]*)", self.path)
            prefix = found[1].replace("%2F", "/") if found else ""
            items = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{_etag(data)}</ETag></Contents>"
                for key, data in sorted(bucket.objects.items())
                if key.startswith(prefix)
            )
            self._send(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode())

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        bucket.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def begin_body(handler: BaseHTTPRequestHandler, whole: bytes, part: bytes) -> None:
    """The head of an answer of whole, and only part of its body."""
    handler.send_response(206)
    handler.send_header("Content-Length", str(len(whole)))
    handler.send_header("ETag", _etag(b""))
    handler.end_headers()
    handler.wfile.write(part)
    handler.wfile.flush()


def _etag(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'
