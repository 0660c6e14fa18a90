"""The control face: what a person or another process may change about a sandbox while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.sandbox.edge.book import FaultBook, RuleInForce
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import FaultRules, RequestRule


@dataclass(frozen=True)
class JobReport:
    """A job of Vertex or of Hugging Face, as the sandbox sees it."""

    name: str
    display_name: str
    state: str
    cost_usd: float | None = None


class ClockChange(BaseModel):
    """How much time shall pass at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    advance_s: Annotated[float, Field(ge=0, allow_inf_nan=False, le=10 * 365 * 86400)]


@dataclass(frozen=True)
class Controls:
    """What the control face reaches. `about` gives plain JSON that says what is served.

    `jobs` are those of Vertex, `hub_jobs` those of Hugging Face.
    """

    faults: FaultBook
    clock: SandboxClock
    jobs: Callable[[], list[JobReport]]
    about: Callable[[], dict[str, Any]]
    hub_jobs: Callable[[], list[JobReport]] = list


def control_app(controls: Controls) -> Starlette:
    """The face; put it behind a `Gate`, always."""
    face = _ControlFace(controls)
    return Starlette(
        routes=[
            Route("/status", face.status, methods=["GET"]),
            Route("/faults", face.rules, methods=["GET"]),
            Route("/faults", face.add_rules, methods=["POST"]),
            Route("/faults", face.clear_rules, methods=["DELETE"]),
            Route("/faults/log", face.injected, methods=["GET"]),
            Route("/clock", face.clock, methods=["GET"]),
            Route("/clock", face.move_clock, methods=["POST"]),
            Route("/vertex/jobs", face.jobs, methods=["GET"]),
            Route("/hub/jobs", face.hub_jobs, methods=["GET"]),
        ],
        exception_handlers={ValidationError: _refuse},
    )


class _ControlFace:
    def __init__(self, controls: Controls) -> None:
        self._on = controls

    async def status(self, _: Request) -> Response:
        book = self._on.faults
        counts = {"rules": len(book.rules), "faults_injected": len(book.injected)}
        return _json({**self._on.about(), "clock": self._time(), **counts})

    async def rules(self, _: Request) -> Response:
        return _json(self._rules())

    async def add_rules(self, request: Request) -> Response:
        given = FaultRules.model_validate_json(await request.body(), strict=True)
        self._on.faults.add_all(given)
        return _json(self._rules(), 201)

    async def clear_rules(self, _: Request) -> Response:
        self._on.faults.clear()
        return _json(self._rules())

    async def injected(self, _: Request) -> Response:
        return _json([asdict(one) for one in self._on.faults.injected])

    async def clock(self, _: Request) -> Response:
        return _json(self._time())

    async def move_clock(self, request: Request) -> Response:
        change = ClockChange.model_validate_json(await request.body(), strict=True)
        # In a thread of its own: whoever follows the clock is called before `advance` returns.
        await run_in_threadpool(self._on.clock.advance, change.advance_s)
        return _json(self._time())

    def jobs(self, _: Request) -> Response:
        return _json([asdict(job) for job in self._on.jobs()])

    def hub_jobs(self, _: Request) -> Response:
        return _json([asdict(job) for job in self._on.hub_jobs()])

    def _time(self) -> dict[str, Any]:
        clock = self._on.clock
        return {"now": clock.now(), "ahead_s": clock.ahead_s}

    def _rules(self) -> dict[str, Any]:
        rules = self._on.faults.rules
        requests = [_rule(one) for one in rules if isinstance(one.rule, RequestRule)]
        jobs = [_rule(one) for one in rules if not isinstance(one.rule, RequestRule)]
        return {"requests": requests, "jobs": jobs}


def _rule(one: RuleInForce) -> dict[str, Any]:
    return {
        "rule": one.rule.model_dump(mode="json", exclude_defaults=True),
        "seen": one.seen,
        "applied": one.applied,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)  # noqa: S101 (registered for nothing else)
    problems = [
        f"{'.'.join(str(part) for part in detail['loc']) or 'body'}: {detail['msg']}"
        for detail in error.errors()
    ]
    return _json({"error": "; ".join(problems)}, 400)
