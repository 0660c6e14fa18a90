"""How many requests the Hub takes, what it says of that, and the id that it gives each of them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.clock import Clock
from orchestrator.sandbox.hub.wire import Account, HubError, account_of, error_reply

API, RESOLVERS = "api", "resolvers"


@dataclass(frozen=True)
class RateLimits:
    """Requests in each window, as the Hub's public table has them for free users (2025-09).

    A user's tokens share their limits; so do all the anonymous of one address.
    """

    api: int = 1000
    resolvers: int = 5000
    anonymous_api: int = 500
    anonymous_resolvers: int = 3000
    window_s: int = 300

    def of(self, bucket: str, *, anonymous: bool) -> int:
        """The limit of one bucket."""
        if bucket == RESOLVERS:
            return self.anonymous_resolvers if anonymous else self.resolvers
        return self.anonymous_api if anonymous else self.api


@dataclass(frozen=True)
class Quota:
    """What is left in a window: requests, and seconds until the next window."""

    bucket: str
    limit: int
    window_s: int
    used: int
    reset_s: int

    @property
    def exhausted(self) -> bool:
        """Whether the request that was counted last was one too many."""
        return self.used > self.limit

    def headers(self) -> dict[str, str]:
        """The fields of the IETF draft, as the Hub sends them."""
        left = max(0, self.limit - self.used)
        return {
            "RateLimit": f'"{self.bucket}";r={left};t={self.reset_s}',
            "RateLimit-Policy": (
                f'"fixed window";"{self.bucket}";q={self.limit};w={self.window_s}'
            ),
        }


class RequestCounts:
    """Counts requests in fixed windows, which begin with the first request. Safe for threads."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def count(self, bucket: str, who: str, *, anonymous: bool) -> Quota:
        """Count one request."""
        now_s, window_s = self._clock.elapsed_s(), self._limits.window_s
        with self._lock:
            start_s, used = self._windows.get((bucket, who), (now_s, 0))
            if now_s - start_s >= window_s:
                start_s, used = now_s, 0
            self._windows[bucket, who] = (start_s, used + 1)
        # Rounded up: who waits that long finds the next window.
        reset_s = -int(-(start_s + window_s - now_s) // 1)
        limit = self._limits.of(bucket, anonymous=anonymous)
        return Quota(bucket, limit, window_s, used + 1, reset_s)


class RateLimiter:
    """ASGI middleware: counts each request for the API or for a file, and refuses what is over."""

    def __init__(
        self, app: ASGIApp, counts: RequestCounts, accounts: Mapping[str, Account]
    ) -> None:
        self._app = app
        self._counts = counts
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bucket = bucket_of(scope["path"]) if scope["type"] == "http" else None
        if bucket is None:
            await self._app(scope, receive, send)
            return
        quota = self._count(Request(scope), bucket)
        answer = with_headers(send, quota.headers())
        if quota.exhausted:
            await too_many(quota)(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _count(self, request: Request, bucket: str) -> Quota:
        try:
            account = account_of(request, self._accounts)
        except HubError:  # a wrong token is refused further in, and counts for its address
            account = None
        if account is None:
            address = request.client.host if request.client else ""
            return self._counts.count(bucket, f"address {address}", anonymous=True)
        return self._counts.count(bucket, f"user {account.name}", anonymous=False)


class RequestIds:
    """ASGI middleware: an id in every answer, with the client's own at its end, as the Hub's."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id = f"Root=1-{int(self._clock.now().timestamp()):08x}-{secrets.token_hex(12)}"
            given = Request(scope).headers.get("x-amzn-trace-id", "")
            if given.isascii() and given.isprintable() and 0 < len(given) <= 200:
                request_id = f"{request_id};{given}"
            send = with_headers(send, {"X-Request-Id": request_id})
        await self._app(scope, receive, send)


def bucket_of(path: str) -> str | None:
    """Which limit a request counts for; None for the signed addresses of bytes."""
    if "/resolve/" in path or path.startswith("/api/resolve-cache/"):
        return RESOLVERS
    return API if path.startswith("/api/") or ".git/" in path else None


def too_many(quota: Quota) -> JSONResponse:
    """The answer to a request that is over the limit."""
    text = (
        f"We had to rate limit you, you hit the quota of {quota.limit} {quota.bucket} requests"
        f" per {quota.window_s} seconds. Try again in {quota.reset_s} seconds."
    )
    return error_reply(HubError(429, text))


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """`send`, with further headers in the answer."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sending
