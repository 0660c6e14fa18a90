"""How the Jobs face behaves: how long jobs wait and run, who pays, what lists show."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.sandbox.edge.rules import LONGEST_S

_Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]


class JobsConduct(BaseModel):
    """Durations count on the sandbox's clock, but for the keep-alive of connections.

    A job is RUNNING for as long as its command runs, and for `running_s` where that is longer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The least time in SCHEDULING.
    scheduling_s: _Seconds = 0.0
    running_s: _Seconds = 0.0
    #: How many jobs of a namespace may be RUNNING at once; the others wait in SCHEDULING.
    running_quota: Annotated[int, Field(ge=1)] = 4
    #: A created job can be read at once, but no list shows it for so long.
    visibility_lag_s: _Seconds = 0.0
    #: When a job is stopped that was created without a timeout; the service documents 30 minutes.
    default_timeout_s: Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)] = 1800.0
    #: From SIGTERM to SIGKILL; not documented, 30 seconds is what Kubernetes gives.
    grace_s: _Seconds = 30.0
    #: Whether the account has credits; without, creating a job is refused with 402.
    can_pay: bool = True
    #: The flavors on offer; None for all that are known.
    flavors: frozenset[str] | None = None
    #: How many jobs a page of the list holds; the service documents none.
    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    #: Between comments in a stream in which nothing else happens; the machine's own time.
    keep_alive_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
