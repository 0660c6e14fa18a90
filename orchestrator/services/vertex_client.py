"""Connections to Vertex AI tuning: the real service, or a sandbox on this machine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from orchestrator.errors import InputError, RefusalKind, Refused
from orchestrator.services.vertex_errors import SIGN_IN, google_errors

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


def host_of(location: str) -> str:
    """The API host that serves a location."""
    return (
        "aiplatform.googleapis.com"
        if location == "global"
        else (f"{location}-aiplatform.googleapis.com")
    )


@dataclass(frozen=True)
class Endpoint:
    """A port of this machine, and the token that its server asks for; never printed."""

    target: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """Read `127.0.0.1:PORT` or `http://USER:TOKEN@127.0.0.1:PORT`."""
        address = text.removeprefix("http://").rstrip("/")
        user_info, _, target = address.rpartition("@")
        host, _, port = target.rpartition(":")
        if "://" in address or host not in _LOOPBACK_HOSTS or not port.isdigit():
            # Only the host: the rest may be a token, or hold one.
            raise InputError(
                f"the Vertex endpoint at {host or target!r} is not a port of this machine",
                hint="Write 127.0.0.1:PORT or http://USER:TOKEN@127.0.0.1:PORT for the sandbox, "
                "or leave it unset for Google's.",
            )
        return cls(target, unquote(user_info.partition(":")[2]) or None)


class VertexClients:
    """One tuning client a location, made when it is first needed.

    Importing the client takes more than a second, so it is imported here, inside the call.
    """

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = None if endpoint is None else Endpoint.of(endpoint)
        self._credentials: Any = None
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def of(self, location: str) -> Any:
        """The client for a location. Raises `Refused` (credentials) or `Ambiguous`."""
        with self._lock, google_errors("connect to Vertex AI"):
            # The sandbox serves every location at one port.
            key = location if self._endpoint is None else ""
            if key not in self._clients:
                self._clients[key] = self._connect(location)
            if self._credentials is not None:
                refresh(self._credentials)
            return self._clients[key]

    def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.transport.close()
            self._clients.clear()

    def _connect(self, location: str) -> Any:
        from google.cloud.aiplatform_v1beta1.services.gen_ai_tuning_service import (
            GenAiTuningServiceClient,
            transports,
        )

        if self._endpoint is not None:
            channel = _channel(self._endpoint)
            return GenAiTuningServiceClient(
                transport=transports.GenAiTuningServiceGrpcTransport(channel=channel)
            )
        if self._credentials is None:
            self._credentials = _default_credentials()
        return GenAiTuningServiceClient(
            credentials=self._credentials, client_options={"api_endpoint": host_of(location)}
        )


def _channel(endpoint: Endpoint) -> Any:
    """A connection to the sandbox, which sends its token with every call."""
    import grpc

    channel = grpc.insecure_channel(
        endpoint.target,
        options=[
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ],
    )
    if endpoint.token is None:
        return channel
    authorization = ("authorization", f"Bearer {endpoint.token}")

    class SendToken(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            metadata = [*(details.metadata or ()), authorization]
            return continuation(details._replace(metadata=metadata), request)

    return grpc.intercept_channel(channel, SendToken())


def _default_credentials() -> Any:
    import google.auth

    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except OSError as error:
        raise Refused(
            f"cannot read the Google Cloud credentials: {error}",
            kind=RefusalKind.CREDENTIALS,
            hint=SIGN_IN,
        ) from error
    return credentials


def refresh(credentials: Any) -> None:
    """Renew credentials that have expired, before a request is sent rather than inside it.

    Inside gRPC a failed renewal looks like an unreachable service, and a create that was never
    sent would count as ambiguous. Service accounts sign for themselves: nothing to renew.
    """
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    if isinstance(credentials, service_account.Credentials) or credentials.valid:
        return
    with google_errors("sign in to Google Cloud"):
        credentials.refresh(Request())
