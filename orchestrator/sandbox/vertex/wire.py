"""The gRPC side of the Vertex face: real messages, real status details."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.cloud.aiplatform_v1beta1.types import (
    CancelTuningJobRequest,
    CreateTuningJobRequest,
    GetTuningJobRequest,
    ListTuningJobsRequest,
    ListTuningJobsResponse,
    TuningJob,
)

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.gate import is_token, token_in
from orchestrator.sandbox.vertex.calls import Calls, Dropped
from orchestrator.sandbox.vertex.conduct import Method
from orchestrator.sandbox.vertex.refusals import Rejected, unauthenticated

SERVICE = "google.cloud.aiplatform.v1beta1.GenAiTuningService"
_LOOPBACK = "127.0.0.1"
_THREADS = 32
_STOP_S = 2.0
#: How gRPC names a connection that was closed under it.
_LOST = "Socket closed"


class TuningServer:
    """Serves `calls` on a loopback port to who has the token; port 0 picks a free one."""

    def __init__(self, calls: Calls, port: int, token: str | None) -> None:
        self._calls = calls
        self._token = token
        self._stalled: set[threading.Event] = set()
        _probe(port)
        self._executor = ThreadPoolExecutor(max_workers=_THREADS)
        self._server = grpc.server(
            self._executor,
            # Two servers on one port would take turns answering, without an error.
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
            handlers=(grpc.method_handlers_generic_handler(SERVICE, self._handlers()),),
        )
        try:
            self.port: int = self._server.add_insecure_port(f"{_LOOPBACK}:{port}")
        except RuntimeError as error:
            raise _taken(port) from error

    def start(self) -> None:
        """Serve."""
        self._server.start()

    def stop(self) -> None:
        """Finish open requests (2 s at most) and close the port."""
        for stalled in list(self._stalled):
            stalled.set()
        self._server.stop(grace=_STOP_S).wait()
        self._executor.shutdown(wait=False)

    def _handlers(self) -> dict[str, Any]:
        job = TuningJob.pb().SerializeToString
        page = ListTuningJobsResponse.pb().SerializeToString
        return {
            "CreateTuningJob": self._unary("create", CreateTuningJobRequest, job),
            "GetTuningJob": self._unary("get", GetTuningJobRequest, job),
            "ListTuningJobs": self._unary("list", ListTuningJobsRequest, page),
            "CancelTuningJob": self._unary("cancel", CancelTuningJobRequest, lambda _none: b""),
        }

    def _unary(self, method: Method, request_type: Any, serialize: Callable[[Any], bytes]) -> Any:
        def handle(request: Any, context: Any) -> bytes:
            try:
                self._admit(context)
                answer = self._calls.answer(method, request, lambda: self._until_gone(context))
                # Half a message is none: the client sees a lost connection.
                if answer.cut_after_bytes is None:
                    return answer.corrupted(serialize(answer.message))
            except Dropped:
                pass
            except Rejected as rejected:
                context.set_trailing_metadata(rejected.trailing_metadata())
                context.abort(rejected.code, rejected.message)
            context.abort(grpc.StatusCode.UNAVAILABLE, _LOST)
            raise AssertionError("unreachable: abort raises")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.pb().FromString,
            response_serializer=lambda content: content,
        )

    def _admit(self, context: Any) -> None:
        if self._token is None:
            return
        metadata = dict(context.invocation_metadata() or ())
        given = token_in(metadata.get("authorization", ""), metadata.get("x-goog-api-key", ""))
        if not is_token(given, self._token):
            raise unauthenticated(given=bool(given))

    def _until_gone(self, context: Any) -> None:
        gone = threading.Event()
        self._stalled.add(gone)
        try:
            if context.add_callback(gone.set):
                gone.wait()
        finally:
            self._stalled.discard(gone)


def _probe(port: int) -> None:
    """Refuse a port that is taken. gRPC would write a line of its own to standard error."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As gRPC does it: connections that linger after a server's end do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            raise _taken(port) from error


def _taken(port: int) -> InputError:
    return InputError(
        f"cannot listen on {_LOOPBACK}:{port}",
        hint="Another program uses the port: choose another one, or 0 for any free port.",
    )
