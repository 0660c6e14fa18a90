"""Turns the errors of the Hub's client around a job into ours.

Reads go by `hub_error`. A create has no idempotency key, so it counts as refused only where the Hub
itself answered so, or where nothing was sent. Whatever else happens on the way, or while the answer
is read, is `Ambiguous`: the job may exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.endpoints import without_user_info
from orchestrator.errors import Ambiguous, Conflict, OrchestratorError, RefusalKind, Refused
from orchestrator.hub_client import hub_error

#: What the answers 402 and 403 mean here, beside a missing permission.
_PAYMENT = (
    "Jobs are paid: the namespace needs credits (https://huggingface.co/settings/billing), and the "
    "token the permission to run jobs in it."
)
_QUOTA = "Wait until jobs of the namespace have ended, or ask for more of them at a time."


@contextmanager
def read_errors(doing: str) -> Iterator[None]:
    """Raise our error for any error of the client inside; `doing` says what was being tried."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        ours = hub_error(error, f"cannot {doing}")
        if ours is None:
            raise
        raise ours from error


@contextmanager
def launch_errors(doing: str) -> Iterator[None]:
    """The same around the one request that creates a job: nothing inside escapes as it is."""
    try:
        yield
    except Exception as error:
        raise launch_error(error, doing) from error


def launch_error(error: Exception, doing: str) -> OrchestratorError:
    """What an exception while a job was created says: a refusal, or that it may exist."""
    import httpx2
    from huggingface_hub import errors

    answered = isinstance(error, errors.HfHubHTTPError) and hasattr(error, "response")
    unsent = (
        errors.OfflineModeIsEnabled,
        errors.LocalTokenNotFoundError,
        httpx2.InvalidURL,
        httpx2.UnsupportedProtocol,
    )
    ours = (
        hub_error(error, f"cannot {doing}", once=True)
        if answered or isinstance(error, unsent)
        else None
    )
    # A conflict may be the echo of our own request, repeated somewhere on its way.
    if ours is None or isinstance(ours, Ambiguous | Conflict):
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Ambiguous(without_user_info(f"no clear answer to the request to {doing}: {text}"))
    if isinstance(ours, Refused) and not ours.hint:
        ours.hint = {RefusalKind.PERMISSION: _PAYMENT, RefusalKind.QUOTA: _QUOTA}.get(ours.kind, "")
    return ours
