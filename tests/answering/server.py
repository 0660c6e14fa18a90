"""A server of OpenAI's protocol on loopback, with behaviour: it answers, counts, and goes wrong."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """A question as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Body


@dataclass
class FakeServer:
    """What the server is told to do. `faults` go wrong one question each, in the order they come.

    `answer` makes the reply to a body; `models` is the list it keeps, None for no list.
    """

    base_url: str
    models: list[str] | None = field(default_factory=lambda: ["router"])
    received: list[Received] = field(default_factory=list)
    faults: deque[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=deque)
    answer: Callable[[Body], Body] = field(default_factory=lambda: lambda body: said("yes", body))
    list_faults: deque[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=deque)
    let_go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def questions(self) -> list[str]:
        """What was asked, each in a line."""
        return [asked_in(one.body) for one in self.received]


def asked_in(body: Body) -> str:
    """The last thing that a user said."""
    if "prompt" in body:
        return str(body["prompt"])
    return str([turn["content"] for turn in body["messages"] if turn["role"] == "user"][-1])


def said(
    text: str | None, body: Body, *, finish_reason: str = "stop", **message: Any
) -> dict[str, Any]:
    """A reply of the protocol: to turns a message, to a text a text."""
    choice: Body = {"index": 0, "finish_reason": finish_reason}
    if "messages" in body:
        choice["message"] = {"role": "assistant", "content": text, **message}
    else:
        choice["text"] = text
    return {
        "id": "1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def status(
    code: int, value: Any = None, *, raw: bytes | None = None, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """A fault: another status, with JSON or with any bytes."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        content = json.dumps(value).encode() if raw is None else raw
        _send(handler, code, content, {k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    """A fault: half of what was promised."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def hung_up(handler: BaseHTTPRequestHandler) -> None:
    """A fault: no answer at all."""
    handler.close_connection = True


def trickling(server: FakeServer, *, in_headers: bool) -> Callable[[BaseHTTPRequestHandler], None]:
    """A fault: a byte now and then for 10 s, so that no wait for a byte is long."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        write = handler.wfile.write
        try:
            write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            write(b"X-Slow: " if in_headers else b"Content-Length: 100000\r\n\r\n")
            handler.wfile.flush()
            for _ in range(500):  # longer than any test lets it
                if server.let_go.wait(0.02):
                    return
                write(b" ")
                handler.wfile.flush()
        except OSError:
            server.let_go.set()  # the client has had enough

    return fault


def _send(
    handler: BaseHTTPRequestHandler, code: int, content: bytes, headers: Mapping[str, str]
) -> None:
    handler.send_response(code)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def serving() -> Iterator[FakeServer]:
    """Serve on a port of loopback until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
            pass

        def do_GET(self) -> None:
            if server.list_faults:
                server.list_faults.popleft()(self)
            elif server.models is None or not self.path.endswith("/models"):
                status(404, {"error": {"message": "no such path"}})(self)
            else:
                listed = [{"id": name, "object": "model"} for name in server.models]
                status(200, {"object": "list", "data": listed})(self)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.received.append(Received(self.path, dict(self.headers), body))
                fault = server.faults.popleft() if server.faults else None
            if fault is None:
                status(200, server.answer(body))(self)
            else:
                fault(self)

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    http = Threads(("127.0.0.1", 0), Handler)
    server = FakeServer(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        http.shutdown()
        http.server_close()
        thread.join()
