"""Responses that hold no answer, sorted: try again, give up the row, or stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from orchestrator.answering.client import Response, without_token
from orchestrator.answering.endpoint import Endpoint
from orchestrator.answering.questions import COMPLETION
from orchestrator.answering.replies import CONTENT_FILTER, REFUSED, TOO_LONG
from orchestrator.clock import Clock
from orchestrator.errors import Ambiguous, NotFound, OrchestratorError, RefusalKind, Refused
from orchestrator.visible_text import visible_line

_SHOWN_CHARACTERS = 300
#: Statuses that speak of the one request: other rows may well be answered.
_OF_THE_ROW = frozenset({400, 413, 422})
_FILTERED = frozenset({"content_filter", "content_policy_violation", "responsible_ai_policy"})
_LENGTH_WORDS = ("context length", "context size", "maximum context", "context window", "too long")
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_credits"})


@dataclass(frozen=True)
class RowRefused:
    """The endpoint will not answer this question: why in a word, and as it said it."""

    stopped_by: str
    said: str


def success_of(
    response: Response, endpoint: Endpoint, token: str | None, path: str, clock: Clock
) -> Mapping[str, Any] | RowRefused:
    """The JSON of a success, or the refusal of one row.

    Raises `Ambiguous` for what may go well the next time, other errors for what will not.
    """
    value = response.json()
    status = response.status
    error = value.get("error") if isinstance(value, Mapping) else None
    if 200 <= status < 300:
        if isinstance(value, Mapping) and not (error and "choices" not in value):
            return value
        if not error:
            raise _no_json(response, endpoint)
        status = _status_in(error)  # some report what went wrong behind a 200
    said = visible_line(without_token(_said(error, response), token))[:_SHOWN_CHARACTERS]
    code = _code(error)
    if status in _OF_THE_ROW:
        return RowRefused(_why(status, code, said), f"{status}: {said}")
    raise _error(status, code, said, response, endpoint, path, clock)


def _error(
    status: int,
    code: str,
    said: str,
    response: Response,
    endpoint: Endpoint,
    path: str,
    clock: Clock,
) -> OrchestratorError:
    message = f"{endpoint.base_url} answers {status}: {said}"
    if _may_pass(status, code):
        return Ambiguous(message, retry_after_s=_retry_after_s(response, clock))
    if 300 <= status < 400:
        return _redirected(response, endpoint)
    if status == 401:
        name = endpoint.token_variable
        hint = f"Is {name} right?" if name else "It wants a token: name its variable."
        return Refused(message, kind=RefusalKind.CREDENTIALS, hint=hint)
    if status in (402, 429):
        return Refused(message, kind=RefusalKind.QUOTA, hint="The account has nothing left.")
    if status == 403:
        return Refused(message, kind=RefusalKind.PERMISSION)
    if status in (404, 405, 501):
        texts = " Where texts cannot be completed, let them be asked as chats."
        return NotFound(
            message,
            hint=f"{path} of {endpoint.model} was asked for: are address and model right?"
            + (texts if path == COMPLETION else ""),
        )
    return Refused(message, kind=RefusalKind.INVALID)


def _may_pass(status: int, code: str) -> bool:
    """Whether the same request may be answered a little later."""
    if status == 429:
        return not _SPENT & set(code.split())
    return status == 408 or (status >= 500 and status != 501)


def _no_json(response: Response, endpoint: Endpoint) -> OrchestratorError:
    if response.is_page:
        return Refused(
            f"{endpoint.base_url} answers with a web page",
            kind=RefusalKind.INVALID,
            hint="Write the address of the API; it often ends in /v1.",
        )
    return Ambiguous(f"{endpoint.base_url} answers with something that is not a JSON object")


def _redirected(response: Response, endpoint: Endpoint) -> Refused:
    try:
        parts = urlsplit(response.headers.get("location", ""))
        place = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"
    except ValueError:
        place = "somewhere"
    return Refused(
        f"{endpoint.base_url} sends us on to {visible_line(place)[:_SHOWN_CHARACTERS]}",
        kind=RefusalKind.INVALID,
        hint="It was not followed, so that no rows and no token go there. If that is the "
        "endpoint, write its address.",
    )


def _said(error: Any, response: Response) -> str:
    """What the server says is wrong, in one line."""
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        return str(error["message"])
    if isinstance(error, str):
        return error
    value = response.json()
    if isinstance(value, Mapping):
        for name in ("message", "detail"):
            if isinstance(value.get(name), str):
                return str(value[name])
        if value.get("detail"):
            return str(value["detail"])
    if response.is_page:
        return "(a web page)"
    text = " ".join(response.content.decode("utf-8", "replace").split())
    return text or "(nothing)"


def _code(error: Any) -> str:
    if not isinstance(error, Mapping):
        return ""
    return " ".join(str(error[name]) for name in ("code", "type") if error.get(name))


def _status_in(error: Any) -> int:
    """The status that an error behind a 200 speaks of; 502 where it says none."""
    code = error.get("code") if isinstance(error, Mapping) else None
    text = str(code)
    return int(text) if text.isdecimal() and 400 <= int(text) < 600 else 502


def _why(status: int, code: str, said: str) -> str:
    if _FILTERED & set(code.split()):
        return CONTENT_FILTER
    lowered = said.lower()
    long = "context_length" in code or "exceed_context" in code
    if status == 413 or long or any(words in lowered for words in _LENGTH_WORDS):
        return TOO_LONG
    return REFUSED


def _retry_after_s(response: Response, clock: Clock) -> float | None:
    """Seconds, given as such or as a date; None where neither is."""
    text = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text)) if text[:1].isdigit() else _until(text, clock)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(text: str, clock: Clock) -> float | None:
    return max(0.0, (parsedate_to_datetime(text) - clock.now()).total_seconds()) if text else None
