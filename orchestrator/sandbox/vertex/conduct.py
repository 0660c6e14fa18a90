"""How the Vertex face behaves: how long jobs take, what is allowed, what lists show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.sandbox.edge.rules import LONGEST_S
from orchestrator.sandbox.standins.layout import Layout

Method = Literal["create", "get", "list", "cancel"]
_Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]


class VertexConduct(BaseModel):
    """Durations count on the sandbox's clock, and are the least that a state lasts.

    A job is RUNNING for as long as its training takes, and for `running_s` where that is longer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queued_s: _Seconds = 0.0
    pending_s: _Seconds = 0.0
    running_s: _Seconds = 0.0
    #: A job that has not ended so long after its creation becomes EXPIRED.
    expires_after_s: Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)] | None = None
    #: How many jobs of a project may be PENDING or RUNNING at once.
    running_quota: Annotated[int, Field(ge=1)] = 1
    #: What becomes of one job more: it waits as QUEUED, or is refused with RESOURCE_EXHAUSTED.
    quota_mode: Literal["refuse", "queue"] = "queue"
    #: A created job can be read at once, but no list shows it for so long.
    visibility_lag_s: _Seconds = 0.0
    #: Methods that the caller has no permission for.
    denied: frozenset[Method] = frozenset()
    #: The projects that the caller may use; None for all.
    projects: frozenset[str] | None = None
    #: The locations that offer tuning; None for those that the service documents.
    locations: frozenset[str] | None = None
    #: Where the final adapter is left, below the folder of the checkpoints.
    layout: Layout = Layout.FINAL
