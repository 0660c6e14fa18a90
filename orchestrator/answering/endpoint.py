"""Where questions are asked, and how: an endpoint that speaks OpenAI's protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from orchestrator.endpoints import without_user_info
from orchestrator.errors import InputError

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_AT_A_TIME = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Fields of a request that are decided by the row and the endpoint, never by `Asking.extra`.
_OURS = frozenset({"model", "messages", "prompt", "tools", "stream", "n"})


@dataclass(frozen=True)
class Endpoint:
    """A server that answers POST {base_url}/chat/completions and /completions.

    `base_url` goes up to and with what stands before those, often /v1. The token is read from the
    environment variable `token_variable` when it is needed and is kept nowhere. `timeout_s` is for
    one whole answer. `answers_as` is the model's name in answers, where the server has another one
    for it. Raises `InputError` for an address that must not be used.
    """

    base_url: str
    model: str
    token_variable: str | None = None
    answers_as: str | None = None
    timeout_s: float = 120.0
    concurrency: int = 4
    #: Times that one request is sent, if the server is busy or cannot be reached, and how long all
    #: of them may take together.
    attempts: int = 5
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", checked_base_url(self.base_url))
        if not self.model.strip():
            raise InputError(
                f"no model is named for the endpoint {self.base_url}",
                hint=f"Write the id that {self.base_url}/models lists.",
            )
        if self.token_variable is not None and not _NAME.fullmatch(self.token_variable):
            # What is no name may be the token itself, so it is not shown.
            raise InputError(
                "the endpoint's token must be given as the name of an environment variable",
                hint="For example MY_ENDPOINT_TOKEN; the token itself is written nowhere.",
            )
        _within("concurrency", self.concurrency, 1, _MOST_AT_A_TIME)
        _within("attempts", self.attempts, 1, 10)
        _within("timeout_s", self.timeout_s, 0.01, 3600)
        _within("patience_s", self.patience_s, 0, 7200)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return (urlsplit(self.base_url).hostname or "") in _LOOPBACK


@dataclass(frozen=True)
class Asking:
    """How the model is asked, the same for every row.

    `texts` says what becomes of prompts that are plain texts: they go to /completions as they are,
    or to /chat/completions as the one turn of a user, for endpoints that have nothing else.
    `extra` are further fields of the request as the server knows them; None leaves out one that is
    sent otherwise (`{"max_tokens": None, "max_completion_tokens": 300}`).
    """

    max_tokens: int = 256
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = 0
    texts: Literal["completion", "chat"] = "completion"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _within("max_tokens", self.max_tokens, 1, 1_000_000)
        _within("temperature", self.temperature, 0, 2)
        if "" in self.stop:
            raise InputError(
                "an empty text among `stop` would end every answer at once",
                hint="Leave it out.",
            )
        taken = sorted(_OURS & self.extra.keys())
        if taken:
            raise InputError(
                f"`extra` must not hold {', '.join(taken)}",
                hint="The row and the endpoint decide that.",
            )

    @property
    def draws(self) -> bool:
        """Whether the same question may be answered differently each time."""
        return bool(self.fields().get("temperature", 1))  # 1 is what servers take without it

    def fields(self) -> dict[str, Any]:
        """The fields of a request that do not come from the row."""
        made: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        if self.stop:
            made["stop"] = list(self.stop)
        if self.seed is not None:
            made["seed"] = self.seed
        made |= self.extra
        return {name: value for name, value in made.items() if value is not None}


def checked_base_url(text: str) -> str:
    """An endpoint's address without a slash at its end. Raises `InputError` if it must not be used.

    Only https, except on this machine: questions and tokens go there. What the address holds
    before an `@` is not repeated, for it may be a token.
    """
    shown = without_user_info(text)
    hint = "Write it like https://host/v1; the token is the name of an environment variable."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"{shown!r} is not an address", hint=hint) from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or re.search(r"\s", text):
        raise InputError(f"{shown!r} is not an address of http or https", hint=hint)
    if "@" in parts.netloc:
        raise InputError(f"the address {shown!r} holds a name or a token before its @", hint=hint)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise InputError(f"the address {parts.scheme}://{host}… ends in a query", hint=hint)
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise InputError(
            f"{shown!r} is not encrypted: rows and tokens would be readable on the way",
            hint="Use https; http is for servers on this machine (127.0.0.1, localhost).",
        )
    base = text.rstrip("/")
    for ending in ("/chat/completions", "/completions", "/models"):
        if base.endswith(ending):
            raise InputError(
                f"{shown!r} leads to one of the endpoint's paths",
                hint=f"Write what stands before it: {base.removesuffix(ending)}",
            )
    return base


def token_of(endpoint: Endpoint, environment: Mapping[str, str]) -> str | None:
    """The endpoint's token; None where it needs none. Raises `InputError` if it is not set."""
    name = endpoint.token_variable
    if name is None:
        return None
    token = environment.get(name, "").strip()
    if not token:
        raise InputError(
            f"the token for {endpoint.base_url} is not set",
            hint=f"Set the environment variable {name}.",
        )
    if not re.fullmatch(r"[!-~]+", token):
        raise InputError(
            f"{name} holds characters that no token has",
            hint="Set it again, on one line and without quotation marks that belong to nobody.",
        )
    return token


def _within(name: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"`{name}` is {value}", hint=f"It goes from {least:g} to {most:g}.")
