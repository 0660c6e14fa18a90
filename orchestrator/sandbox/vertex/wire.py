"""The gRPC side of the Vertex face: real messages, real status details, faults at the edge."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

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
from orchestrator.sandbox.vertex.faults import VertexFaults
from orchestrator.sandbox.vertex.refusals import Rejected

SERVICE = "google.cloud.aiplatform.v1beta1.GenAiTuningService"
_LOOPBACK = "127.0.0.1"
_THREADS = 8
_STOP_S = 2.0


class Methods(Protocol):
    """What the face answers, in plain protobuf messages. Raises `Rejected`."""

    def create(self, request: Any) -> Any:
        """CreateTuningJob."""
        ...

    def get(self, request: Any) -> Any:
        """GetTuningJob."""
        ...

    def list(self, request: Any) -> Any:
        """ListTuningJobs."""
        ...

    def cancel(self, request: Any) -> None:
        """CancelTuningJob."""
        ...


class TuningServer:
    """Serves `methods` on a loopback port; port 0 picks a free one."""

    def __init__(self, methods: Methods, faults: VertexFaults, port: int) -> None:
        self._faults = faults
        self._executor = ThreadPoolExecutor(max_workers=_THREADS)
        self._server = grpc.server(
            self._executor,
            # Two servers on one port would take turns answering, without an error.
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
            handlers=(grpc.method_handlers_generic_handler(SERVICE, self._handlers(methods)),),
        )
        try:
            self.port: int = self._server.add_insecure_port(f"{_LOOPBACK}:{port}")
        except RuntimeError as error:
            raise InputError(
                f"cannot listen on {_LOOPBACK}:{port}",
                hint="Another program uses the port: choose another one, or 0 for any free port.",
            ) from error

    def start(self) -> None:
        """Serve."""
        self._server.start()

    def stop(self) -> None:
        """Finish open requests (2 s at most) and close the port."""
        self._server.stop(grace=_STOP_S).wait()
        self._executor.shutdown(wait=False)

    def _handlers(self, methods: Methods) -> dict[str, Any]:
        job = TuningJob.pb().SerializeToString
        page = ListTuningJobsResponse.pb().SerializeToString
        return {
            "CreateTuningJob": self._unary("create", methods.create, CreateTuningJobRequest, job),
            "GetTuningJob": self._unary("get", methods.get, GetTuningJobRequest, job),
            "ListTuningJobs": self._unary("list", methods.list, ListTuningJobsRequest, page),
            "CancelTuningJob": self._unary(
                "cancel", methods.cancel, CancelTuningJobRequest, _empty
            ),
        }

    def _unary(
        self,
        method: str,
        answer: Callable[[Any], Any],
        request_type: Any,
        serialize: Callable[[Any], bytes],
    ) -> Any:
        def handle(request: Any, context: Any) -> Any:
            try:
                return self._answer(method, answer, request, context)
            except Rejected as rejected:
                context.set_trailing_metadata(rejected.trailing_metadata())
                context.abort(rejected.code, rejected.message)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.pb().FromString,
            response_serializer=lambda message: serialize(message),
        )

    def _answer(self, method: str, answer: Callable[[Any], Any], request: Any, context: Any) -> Any:
        fault = self._faults.take(method)
        if fault is None:
            return answer(request) or _EMPTY
        if fault.after_effect:
            answer(request)
        if fault.rejected is not None:
            raise fault.rejected
        client_gone = threading.Event()
        if context.add_callback(client_gone.set):
            client_gone.wait()
        raise Rejected(grpc.StatusCode.CANCELLED, "stalled")


#: Stands for google.protobuf.Empty, which has no bytes.
_EMPTY = object()


def _empty(_message: object) -> bytes:
    return b""
