"""The Hub's client as this package needs it, and its errors as ours."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.endpoints import without_user_info
from orchestrator.errors import (
    Ambiguous,
    Conflict,
    InputError,
    NotFound,
    OrchestratorError,
    RefusalKind,
    Refused,
)

if TYPE_CHECKING:
    import httpx2

LOGIN_HINT = "Log in with a write token (hf auth login), or set HF_TOKEN."
_lock = threading.Lock()
_timeout_s: float | None = None
#: When the requests of `ended_within` must have ended, by the clock that counts suspension.
_end_s: ContextVar[float | None] = ContextVar("orchestrator_request_end_s", default=None)
#: What a request's phases get of the time that is left: together all of it.
_SHARES = {"connect": 0.25, "pool": 0.05, "write": 0.2, "read": 0.5}


def prepare_client(timeout_s: float) -> None:
    """Import the client as this package needs it, and give its connections a timeout.

    Without Xet, because Xet moves bytes through a library and a protocol of its own: no timeout
    reaches them, and the client may split one upload into several commits. The client reads the
    variable when it is imported; if something else imported it before, its constant is changed.
    Connections are shared by the whole process, so the last timeout asked for holds for all.
    """
    global _timeout_s
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import httpx2
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    constants.HF_HUB_DISABLE_XET = True

    def limit(request: httpx2.Request) -> None:
        # Not the client's own timeout: some calls pass an explicit None, which would undo it.
        given = request.extensions.get("timeout", {})
        default = httpx2.Timeout(timeout_s).as_dict()
        limits = {k: given.get(k) or v for k, v in default.items()}
        end_s = _end_s.get()
        if end_s is not None:
            # Redirects come by here as well, with less time left each.
            left_s = max(end_s - SYSTEM_CLOCK.elapsed_s(), 0.001)
            limits = {phase: share * left_s for phase, share in _SHARES.items()}
        request.extensions["timeout"] = limits

    def client() -> httpx2.Client:
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "request": [*hooks["request"], limit]}
        return made

    with _lock:
        if _timeout_s != timeout_s:
            # Closes the shared client, so only when something changes.
            set_client_factory(client)
            _timeout_s = timeout_s


@contextmanager
def ended_within(timeout_s: float) -> Iterator[None]:
    """Let this thread's requests in the context end within `timeout_s` seconds, all together.

    For calls of the client that take no timeout. The limits are set as each request begins: an
    answer that trickles may take longer.
    """
    token = _end_s.set(SYSTEM_CLOCK.elapsed_s() + timeout_s)
    try:
        yield
    finally:
        _end_s.reset(token)


def hub_error(error: Exception, doing: str, *, once: bool = False) -> OrchestratorError | None:
    """Our error for one of the client's, or None if it is not the client's (a bug of ours).

    `once` tells that the request is not sent again: being asked to slow down is then a refusal.
    """
    import httpx2
    from huggingface_hub import errors

    # Either may name the address that the settings gave, and that may hold a token.
    message = without_user_info(f"{doing}: {_one_line(error)}")
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        # The client wraps what went wrong with an upload.
        return hub_error(error.__cause__, doing, once=once)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError(message, hint="Unset HF_HUB_OFFLINE.")
    if isinstance(error, errors.HfHubHTTPError) and hasattr(error, "response"):
        return _answer_error(error, message, once=once)
    login = (errors.LocalTokenNotFoundError, errors.OIDCError, errors.DeviceCodeError)
    if isinstance(error, login):
        return Refused(message, kind=RefusalKind.CREDENTIALS, hint=LOGIN_HINT)
    if isinstance(error, errors.EntryNotFoundError):
        return NotFound(message)
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return InputError(message, hint="HF_ENDPOINT must be like https://huggingface.co")
    # An answer that is not JSON, or lacks what it must have, came from something in between.
    no_answer = httpx2.HTTPError | httpx2.StreamError | json.JSONDecodeError | KeyError
    if isinstance(error, no_answer | ConnectionError | TimeoutError):
        return Ambiguous(message)
    if type(error).__module__ == errors.__name__ and not isinstance(error, ValueError):
        # Parsing, verifying, or the client's own loss of the connection: nothing to rely on.
        return Ambiguous(message)
    if isinstance(error, ValueError):
        return Refused(message, kind=RefusalKind.INVALID)
    if isinstance(error, OSError) and error.filename is not None:
        return InputError(f"{error.filename}: {error.strerror}")
    return None


def _answer_error(error: Any, message: str, *, once: bool) -> OrchestratorError:
    """Our error for an answer of the Hub other than success."""
    from huggingface_hub import errors

    response: httpx2.Response = error.response
    status = response.status_code
    if isinstance(error, errors.GatedRepoError | errors.DisabledRepoError):
        return Refused(message, kind=RefusalKind.PERMISSION)
    if isinstance(error, errors.RepositoryNotFoundError):
        # The Hub answers the anonymous with 401 for what it will not tell them about.
        return NotFound(message, hint=f"If it is private: {LOGIN_HINT}")
    missing = (
        errors.RevisionNotFoundError
        | errors.EntryNotFoundError
        | errors.BucketNotFoundError
        | errors.JobNotFoundError
    )
    if status in (404, 410) or isinstance(error, missing):
        return NotFound(message)
    if status == 401:
        return Refused(message, kind=RefusalKind.CREDENTIALS, hint=LOGIN_HINT)
    if status in (402, 403):
        return Refused(message, kind=RefusalKind.PERMISSION)
    if status in (409, 412):
        return Conflict(message)
    if status == 429:
        wait_s = _retry_after_s(response)
        if once:
            return Refused(message, kind=RefusalKind.QUOTA, retry_after_s=wait_s)
        return Ambiguous(message, retry_after_s=wait_s)
    if status >= 500 or status == 408:
        return Ambiguous(message, retry_after_s=_retry_after_s(response))
    return Refused(message, kind=RefusalKind.INVALID)


def _retry_after_s(response: httpx2.Response) -> float | None:
    from huggingface_hub.utils._http import parse_ratelimit_headers

    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    limit = parse_ratelimit_headers(response.headers)
    return float(limit.reset_in_seconds) if limit and limit.remaining == 0 else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
