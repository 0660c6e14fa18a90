"""Turns every error of Google's SDK into one of ours.

A create has no idempotency key, so only codes that mean "not done" are refusals. Whatever else
arrives, also codes that nobody expects here, is `Ambiguous`: the job may exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import Ambiguous, NotFound, OrchestratorError, RefusalKind, Refused

SIGN_IN = "Sign in: gcloud auth application-default login"
_PERMISSION = (
    "The caller needs roles/aiplatform.user in the project and access to the bucket's objects."
)
_QUOTA = (
    "By default a project runs one open-model tuning job at a time: "
    "wait for it to end, or ask for more quota."
)

#: gRPC itself reports these under codes of refusals: the *answer* was too large for this side, or
#: the stream was reset on the way (HTTP/2 errors 11 and 12 count as RESOURCE_EXHAUSTED and
#: PERMISSION_DENIED in its protocol). The request may well have been carried out.
_OF_THE_TRANSPORT = ("larger than max", "metadata size exceeds", "RST_STREAM")


@contextmanager
def google_errors(doing: str) -> Iterator[None]:
    """Raise our error for any SDK error inside; `doing` says what was being tried."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        ours = to_error(error, doing)
        if ours is None:
            raise
        raise ours from error


def to_error(error: Exception, doing: str) -> OrchestratorError | None:
    """Our error for an error of google.api_core, google.auth or grpc; None if it is none of them.

    `doing` completes "cannot ...": "create the tuning job".
    """
    import grpc
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, grpc.RpcError):
        return _from_rpc(error, doing)
    if isinstance(error, api.GoogleAPIError):
        return _from_api(error, doing)
    if isinstance(error, auth.GoogleAuthError):
        return _from_auth(error, doing)
    if isinstance(error.__context__, grpc.RpcError):
        # The SDK failed while it read the details of this answer; its code still counts.
        return _from_rpc(error.__context__, doing)
    return None


def _from_rpc(error: Any, doing: str) -> OrchestratorError:
    from google.api_core import exceptions as api

    try:
        return _from_api(api.from_grpc_error(error), doing)
    except Exception:  # whatever its details hold (contradictions, broken bytes), the code counts
        return _from_api(api.from_grpc_status(error.code(), str(error.details())), doing)


def _from_api(error: Any, doing: str) -> OrchestratorError:
    from google.api_core import exceptions as api

    text = _text(error)
    message = f"cannot {doing}: {text}"
    retry_after_s = _retry_after_s(error)
    match error:
        case api.GoogleAPIError() if any(sign in text for sign in _OF_THE_TRANSPORT):
            return Ambiguous(
                f"no clear answer to the request to {doing}: {text}", retry_after_s=retry_after_s
            )
        case api.NotFound():
            return NotFound(message)
        case api.BadRequest():
            return Refused(message, kind=RefusalKind.INVALID)
        case api.Unauthorized():
            return Refused(message, kind=RefusalKind.CREDENTIALS, hint=SIGN_IN)
        case api.Forbidden():
            return Refused(message, kind=RefusalKind.PERMISSION, hint=_PERMISSION)
        case api.TooManyRequests():
            return Refused(
                message, kind=RefusalKind.QUOTA, hint=_QUOTA, retry_after_s=retry_after_s
            )
        case _:
            # Conflicts too: an "already exists" may be the echo of our own first request.
            return Ambiguous(
                f"no clear answer to the request to {doing}: {text}", retry_after_s=retry_after_s
            )


def _from_auth(error: Any, doing: str) -> OrchestratorError:
    from google.auth import exceptions as auth

    unreachable = (auth.TransportError, auth.TimeoutError, auth.ResponseError)
    if isinstance(error, unreachable) or error.retryable:
        return Ambiguous(f"cannot {doing}: the sign-in service did not answer: {error}")
    return Refused(
        f"cannot {doing}: no valid Google Cloud credentials: {error}",
        kind=RefusalKind.CREDENTIALS,
        hint=SIGN_IN,
    )


def _text(error: Any) -> str:
    """The message, its code, and what the details add about fields and quotas."""
    from google.api_core import exceptions as api

    if not isinstance(error, api.GoogleAPICallError):
        return str(error) or type(error).__name__
    text = str(error.message or "no message")
    for detail in error.details:
        for violation in getattr(detail, "violations", ()):
            text = _with(text, violation.subject, violation.description)
        for violation in getattr(detail, "field_violations", ()):
            text = _with(text, violation.field, violation.description)
    code = error.grpc_status_code
    return f"{text} ({code.name})" if code is not None else f"{text} ({type(error).__name__})"


def _with(text: str, subject: str, said: str) -> str:
    """`text` and what a violation adds to it, without saying anything twice."""
    news = [part for part in (subject, said) if part and part not in text]
    return f"{text}; {': '.join(news)}" if news else text


def _retry_after_s(error: Any) -> float | None:
    """The pause that a google.rpc.RetryInfo among the details asks for, in seconds."""
    for detail in getattr(error, "details", ()):
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds) + float(delay.nanos) / 1e9
    return None
