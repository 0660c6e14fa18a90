"""How the Vertex face says no: a code, a message, and details as google.rpc messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
from google.protobuf import json_format  # type: ignore[import-untyped]  # it has no stubs
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"
_SERVICE = "aiplatform.googleapis.com"
#: Status and details share a header block of 8 KiB with everything else in the answer.
_MESSAGE_LIMIT = 1000

_Code = grpc.StatusCode
#: The HTTP status of each code, as google/rpc/code.proto maps them.
_HTTP_STATUS = {
    _Code.CANCELLED: 499,
    _Code.INVALID_ARGUMENT: 400,
    _Code.DEADLINE_EXCEEDED: 504,
    _Code.NOT_FOUND: 404,
    _Code.ALREADY_EXISTS: 409,
    _Code.PERMISSION_DENIED: 403,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.FAILED_PRECONDITION: 400,
    _Code.ABORTED: 409,
    _Code.OUT_OF_RANGE: 400,
    _Code.UNIMPLEMENTED: 501,
    _Code.UNAVAILABLE: 503,
    _Code.UNAUTHENTICATED: 401,
}
_CODE_OF_STATUS = {
    400: _Code.INVALID_ARGUMENT,
    401: _Code.UNAUTHENTICATED,
    403: _Code.PERMISSION_DENIED,
    404: _Code.NOT_FOUND,
    409: _Code.ABORTED,
    416: _Code.OUT_OF_RANGE,
    429: _Code.RESOURCE_EXHAUSTED,
    499: _Code.CANCELLED,
    500: _Code.INTERNAL,
    501: _Code.UNIMPLEMENTED,
    502: _Code.UNAVAILABLE,
    503: _Code.UNAVAILABLE,
    504: _Code.DEADLINE_EXCEEDED,
}


def code_of(http_status: int) -> grpc.StatusCode:
    """The gRPC code that stands for an HTTP status of an error."""
    other = _Code.FAILED_PRECONDITION if http_status < 500 else _Code.UNKNOWN
    return _CODE_OF_STATUS.get(http_status, other)


class Rejected(Exception):
    """A request that the face refuses. `http_status` is the code's own unless given."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        details: tuple[Any, ...] = (),
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:_MESSAGE_LIMIT]
        self.details = details
        self.http_status = http_status or _HTTP_STATUS.get(code, 500)

    def _status(self) -> Any:
        rich = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            rich.details.add().Pack(detail)
        return rich

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The whole status, as google.rpc.Status travels beside a gRPC code."""
        return ((_DETAILS, self._status().SerializeToString()),)

    def to_json(self) -> dict[str, Any]:
        """The error as the REST API writes it."""
        error: dict[str, Any] = {
            "code": self.http_status,
            "message": self.message,
            "status": self.code.name,
        }
        details = json_format.MessageToDict(self._status()).get("details")
        return {"error": {**error, "details": details} if details else error}


class Garbled(Rejected):
    """A refusal whose details are not a status at all, as after a careless proxy."""

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return ((_DETAILS, b"\xff\xff\xff"),)


def _reason(reason: str, domain: str = _SERVICE, **metadata: str) -> Any:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def invalid(field: str, message: str) -> Rejected:
    """INVALID_ARGUMENT that names the field of the request."""
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=field, description=message[:_MESSAGE_LIMIT]
    )
    return Rejected(
        _Code.INVALID_ARGUMENT,
        message,
        (
            _reason("INVALID_ARGUMENT", field=field),
            error_details_pb2.BadRequest(field_violations=[violation]),
        ),
    )


def not_found(name: str) -> Rejected:
    """NOT_FOUND for a job."""
    return Rejected(
        _Code.NOT_FOUND,
        f"Tuning job {name} does not exist.",
        (_reason("RESOURCE_NOT_FOUND", resource=name),),
    )


def no_such_method(path: str) -> Rejected:
    """NOT_FOUND for a path that the REST API does not have."""
    return Rejected(_Code.NOT_FOUND, f"Nothing is served at {path}.")


def not_served(what: str) -> Rejected:
    """UNIMPLEMENTED for a part of the API that the sandbox leaves out."""
    return Rejected(_Code.UNIMPLEMENTED, f"The sandbox does not serve {what}.")


def already_ended(name: str, state: str) -> Rejected:
    """FAILED_PRECONDITION for cancelling what has ended."""
    return Rejected(
        _Code.FAILED_PRECONDITION,
        f"Tuning job {name} cannot be cancelled: it is in state {state}.",
        (_reason("FAILED_PRECONDITION", resource=name),),
    )


def permission_denied(method: str, resource: str) -> Rejected:
    """PERMISSION_DENIED with the permission that is missing, as IAM reports it."""
    permission = f"aiplatform.tuningJobs.{method}"
    full_name = f"//{_SERVICE}/{resource}"
    return Rejected(
        _Code.PERMISSION_DENIED,
        f"Permission '{permission}' denied on resource '{full_name}' (or it may not exist).",
        (_reason("IAM_PERMISSION_DENIED", permission=permission, resource=full_name),),
    )


def unauthenticated(*, given: bool) -> Rejected:
    """UNAUTHENTICATED for a request without a token, or with another one."""
    wrong = "is not the token of this sandbox" if given else "is missing"
    return Rejected(
        _Code.UNAUTHENTICATED,
        f"The access token {wrong}: orchestrator sandbox env",
        (
            _reason(
                "ACCESS_TOKEN_TYPE_UNSUPPORTED" if given else "CREDENTIALS_MISSING",
                "googleapis.com",
                service=_SERVICE,
            ),
        ),
    )


def retry_info(delay_s: float) -> Any:
    """The detail that asks a client to come back later."""
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromTimedelta(timedelta(seconds=delay_s))
    return info


def quota_exceeded(project: str, limit: int, retry_after_s: float) -> Rejected:
    """RESOURCE_EXHAUSTED for one concurrent job too many."""
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"project:{project}",
        description=(
            "Global concurrent managed OSS model fine-tuning jobs per project "
            f"is limited to {limit}."
        ),
    )
    return Rejected(
        _Code.RESOURCE_EXHAUSTED,
        "The project's quota of concurrent tuning jobs is used up.",
        (
            _reason(
                "RATE_LIMIT_EXCEEDED",
                consumer=f"projects/{project}",
                service=_SERVICE,
                quota_limit_value=str(limit),
            ),
            error_details_pb2.QuotaFailure(violations=[violation]),
            retry_info(retry_after_s),
        ),
    )
