"""How the Vertex face says no: a code, a message, and details as google.rpc messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"
_DOMAIN = "aiplatform.googleapis.com"
#: Status and details share a header block of 8 KiB with everything else in the answer.
_MESSAGE_LIMIT = 1000


class Rejected(Exception):
    """A request that the face refuses."""

    def __init__(self, code: grpc.StatusCode, message: str, details: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:_MESSAGE_LIMIT]
        self.details = details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The whole status, as google.rpc.Status travels beside a gRPC code."""
        rich = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            rich.details.add().Pack(detail)
        return ((_DETAILS, rich.SerializeToString()),)


class Garbled(Rejected):
    """A refusal whose details are not a status at all, as after a careless proxy."""

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return ((_DETAILS, b"\xff\xff\xff"),)


def _reason(reason: str, **metadata: str) -> Any:
    return error_details_pb2.ErrorInfo(reason=reason, domain=_DOMAIN, metadata=metadata)


def invalid(field: str, message: str) -> Rejected:
    """INVALID_ARGUMENT that names the field of the request."""
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=field, description=message[:_MESSAGE_LIMIT]
    )
    return Rejected(
        grpc.StatusCode.INVALID_ARGUMENT,
        message,
        (_reason("INVALID_ARGUMENT", field=field), _bad_request(violation)),
    )


def _bad_request(violation: Any) -> Any:
    return error_details_pb2.BadRequest(field_violations=[violation])


def not_found(name: str) -> Rejected:
    """NOT_FOUND for a job."""
    return Rejected(
        grpc.StatusCode.NOT_FOUND,
        f"Tuning job {name} does not exist.",
        (_reason("RESOURCE_NOT_FOUND", resource=name),),
    )


def already_ended(name: str, state: str) -> Rejected:
    """FAILED_PRECONDITION for cancelling what has ended."""
    return Rejected(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Tuning job {name} cannot be cancelled: it is in state {state}.",
        (_reason("FAILED_PRECONDITION", resource=name),),
    )


def quota_exceeded(project: str, limit: int, retry_after_s: float) -> Rejected:
    """RESOURCE_EXHAUSTED for one concurrent job too many."""
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"project:{project}",
        description=(
            "Global concurrent managed OSS model fine-tuning jobs per project "
            f"is limited to {limit}."
        ),
    )
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after_s))
    return Rejected(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The project's quota of concurrent tuning jobs is used up.",
        (
            _reason("RATE_LIMIT_EXCEEDED", consumer=f"projects/{project}"),
            error_details_pb2.QuotaFailure(violations=[violation]),
            retry,
        ),
    )
