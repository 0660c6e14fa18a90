"""One connection to an endpoint: a request is sent once, and ends within its time.

Redirects are never followed, so that neither rows nor the token go to another host.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2

from orchestrator.answering.endpoint import Endpoint
from orchestrator.errors import Ambiguous, InputError, RefusalKind, Refused

_CONNECT_S = 10.0
#: No answer is longer.
_MOST_BYTES = 32 << 20
_CONNECTED = ("connect_tcp.complete", "start_tls.complete")


class TookTooLong(Ambiguous):
    """The whole answer was not there in time: asked again, it would be paid for again."""


@dataclass(frozen=True)
class Response:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people, of a proxy or of another server."""
        kind = self.headers.get("content-type", "").lower()
        return "html" in kind or self.content.lstrip()[:1] == b"<"

    def json(self) -> Any:
        """The JSON it holds; None where it holds none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class EndpointConnection:
    """A connection that one thread uses. It raises `Ambiguous` where no whole answer came."""

    def __init__(self, endpoint: Endpoint, token: str | None) -> None:
        self._endpoint = endpoint
        self._socket: socket.socket | None = None
        headers = {"User-Agent": "orchestrator", "Accept-Encoding": "identity"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.token = token
        self._client = httpx2.Client(
            headers=headers,
            follow_redirects=False,
            # What is said to this machine goes through no proxy.
            trust_env=not endpoint.is_local,
            timeout=httpx2.Timeout(endpoint.timeout_s, connect=min(_CONNECT_S, endpoint.timeout_s)),
            verify=_trust(),
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
        )

    def __enter__(self) -> EndpointConnection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Response:
        """Send a request and read its whole answer, whatever its status."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            if self._socket is not None:
                with suppress(OSError):
                    # Below TLS, which must not be touched by two threads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

        # The client's own limits begin anew with every byte that trickles in.
        timer = threading.Timer(self._endpoint.timeout_s, cut)
        timer.daemon = True
        timer.start()
        try:
            return self._send(method, path, body)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            if late.is_set() or isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
                raise TookTooLong(
                    f"{self._endpoint.base_url} gave no whole answer within "
                    f"{self._endpoint.timeout_s:g} s",
                    hint="Ask fewer at a time, let answers be shorter, or give it longer.",
                ) from error
            raise self._worded(error) from error
        except httpx2.InvalidURL as error:
            raise InputError(
                f"{self._endpoint.base_url} is not an address: {error}", hint="Write it again."
            ) from error
        finally:
            timer.cancel()

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Response:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        with self._client.stream(
            method,
            f"{self._endpoint.base_url}{path}",
            content=content,
            headers=headers,
            extensions={"trace": self._note_socket},
        ) as response:
            found = bytearray()
            for piece in response.iter_bytes():
                found += piece
                if len(found) > _MOST_BYTES:
                    raise Refused(
                        f"{self._endpoint.base_url} answers with more than {_MOST_BYTES >> 20} MiB",
                        kind=RefusalKind.INVALID,
                        hint="Is this the address of a model?",
                    )
            return Response(response.status_code, dict(response.headers), bytes(found))

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the newest socket: a thread has one connection at a time."""
        if event.endswith(_CONNECTED):
            self._socket = info["return_value"].get_extra_info("socket")

    def _worded(self, error: Exception) -> Ambiguous | Refused:
        where = urlsplit(self._endpoint.base_url).netloc
        said = without_token(" ".join(str(error).split()) or type(error).__name__, self.token)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return Refused(
                f"{where} cannot prove who it is: {said}",
                kind=RefusalKind.INVALID,
                hint="Use an address whose certificate this machine trusts.",
            )
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Ambiguous(
                f"nothing answers at {where}: {said}", hint="Is the server running there?"
            )
        return Ambiguous(f"the connection to {where} broke: {said}")


@cache
def _trust() -> ssl.SSLContext:
    """Whom we trust; made once, for reading all certificates takes a while."""
    return httpx2.create_ssl_context()


def without_token(text: str, token: str | None) -> str:
    """The text without the token: servers repeat it in what they complain about."""
    return text.replace(token, "(token)") if token else text
