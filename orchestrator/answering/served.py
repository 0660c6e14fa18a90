"""Whether an endpoint serves the model that is meant, by its list and by what its answers say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.answering.client import EndpointConnection
from orchestrator.answering.endpoint import Endpoint
from orchestrator.answering.refusals import success_of
from orchestrator.clock import Clock
from orchestrator.errors import Ambiguous, InputError, RefusalKind, Refused
from orchestrator.retry import retry_request
from orchestrator.visible_text import visible_line

MODELS = "/models"
_SHOWN = 5
#: What answers add to the name that was asked for: the date or number of the build.
_BUILD = re.compile(r"(@[\w.-]+|-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|\d{3}))$")
#: What is asked for and not answered: the newest one, or who is to serve it.
_WISH = re.compile(r"(:[\w.-]+|-latest)$")


def same_model(asked: str, named: str) -> bool:
    """Whether a server may call the model that is asked for by this name.

    Capitals do not count, nor do what stands before a name that the other has without it
    (`models/x`, `x`), `:provider` and `-latest` of the one asked for, and the build or revision
    of the one named (`x-2026-01-31`, `x@main`) where none was asked for.
    """
    wanted = _WISH.sub("", asked.casefold())
    return any(
        _ends_alike(one, other)
        for one in {asked.casefold(), wanted}
        for other in {named.casefold(), _WISH.sub("", named.casefold())}
        | {_BUILD.sub("", named.casefold())}
    )


def check_listed(connection: EndpointConnection, endpoint: Endpoint, clock: Clock) -> str | None:
    """Raise `InputError` if the endpoint lists its models and not this one; a warning, or None.

    Not every endpoint keeps a list, and some fail over it; then only what answers say is checked.
    """
    unknown = (
        f"{endpoint.base_url} gives no list of models: whether it serves {endpoint.model} is known "
        "by its answers alone"
    )
    response = retry_request(
        lambda: connection.send("GET", MODELS),
        attempts=endpoint.attempts,
        total_s=endpoint.patience_s,
        clock=clock,
    )
    try:
        found = success_of(response, endpoint, connection.token, MODELS, clock)
    except Ambiguous:
        return unknown
    except Refused as error:
        if error.kind in (RefusalKind.CREDENTIALS, RefusalKind.QUOTA):
            raise
        return unknown
    listed = found.get("data") if isinstance(found, Mapping) else None
    if not isinstance(listed, list):
        return unknown
    ids = [
        visible_line(str(one["id"]))[:200]
        for one in listed
        if isinstance(one, Mapping) and one.get("id")
    ]
    if not ids:
        return unknown
    if not any(same_model(endpoint.model, one) for one in ids):
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        raise InputError(
            f"{endpoint.base_url} does not serve {endpoint.model}",
            hint=f"It serves: {', '.join(ids[:_SHOWN])}{more}.",
        )
    return None


def is_answered_by(endpoint: Endpoint, model: str | None) -> bool:
    """Whether an answer that names this model is the endpoint's; one that names none may be."""
    return model is None or same_model(endpoint.answers_as or endpoint.model, model)


def check_answered(endpoint: Endpoint, model: str | None) -> None:
    """Raise `InputError` if an answer says that another model gave it."""
    if not is_answered_by(endpoint, model):
        raise InputError(
            f"{endpoint.base_url} was asked for {endpoint.model}, and {model} answered",
            hint=f"If that is the one that is meant, name it so: {model}.",
        )


def _ends_alike(one: str, other: str) -> bool:
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return longer == shorter or longer.endswith(f"/{shorter}")
