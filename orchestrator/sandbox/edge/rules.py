"""What shall go wrong on purpose: rules for requests, and for the outcome of jobs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Face = Literal["storage", "hub", "vertex", "jobs"]
#: A hundred years: as good as never, and what Python's timers and dates can still take.
LONGEST_S = 100 * 365 * 86400
_Seconds = Annotated[float, Field(ge=0, le=LONGEST_S)]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
#: The statuses of gRPC that are errors.
Code = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class Effect(StrEnum):
    """What becomes of a request."""

    #: An error is answered (`status`, or `code` for gRPC).
    ERROR = "error"
    #: The connection is closed without an answer.
    DROP = "drop"
    #: The answer comes `delay_s` later.
    DELAY = "delay"
    #: No answer ever comes; the client's own timeout ends the call.
    STALL = "stall"
    #: The connection is closed after `keep_bytes` of the answer's body.
    CUT = "cut"
    #: The byte after the first `keep_bytes` of the answer's body is changed.
    CORRUPT = "corrupt"


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The first match that the rule applies to, from 1.
    nth: Annotated[int, Field(ge=1)] = 1
    #: How many matches in a row it applies to; None for all that follow.
    times: Annotated[int, Field(ge=1)] | None = 1
    #: How likely it is to apply to each of them; drawn from the seed.
    chance: Annotated[float, Field(gt=0, le=1)] = 1.0


class RequestRule(_Rule):
    """Applies to requests. `operation` is the HTTP method, or create, get, list, cancel of Vertex.

    The face jobs is served at the Hub's address: requests below `/api/jobs` are its, not the Hub's.

    `target` is a regular expression searched in the path as it was sent, with its query; for
    Vertex in the name of the parent or job.
    """

    face: Face
    operation: Annotated[str, Field(min_length=1)] = "*"
    target: Pattern = ""
    effect: Effect = Effect.ERROR
    #: Whether the request has its effect before it goes wrong (error, drop, stall).
    after: bool = False
    status: Annotated[int, Field(ge=400, le=599)] = 503
    #: The gRPC status by name, for Vertex; without it `status` is translated.
    code: Code | None = None
    message: str = "a fault was injected"
    retry_after_s: _Seconds | None = None
    delay_s: _Seconds = 1.0
    keep_bytes: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.code is not None and self.face != "vertex":
            raise ValueError("code is of gRPC, which only the face vertex speaks: give a status")
        if self.after and self.effect in (Effect.DELAY, Effect.CUT, Effect.CORRUPT):
            raise ValueError(f"after means nothing for {self.effect}: the answer is always made")
        return self

    @property
    def fault(self) -> str:
        """What goes wrong, in the words of the log."""
        words = {
            Effect.ERROR: f"error {self.code or self.status}",
            Effect.DELAY: f"delay of {self.delay_s:g} s",
            Effect.CUT: f"cut after {self.keep_bytes} bytes",
            Effect.CORRUPT: f"byte {self.keep_bytes} changed",
        }.get(self.effect, str(self.effect))
        return f"{words} after the effect" if self.after else words


class Outcome(StrEnum):
    """How a job ends, or what it leaves: at Vertex, and on Hugging Face Jobs."""

    #: JOB_STATE_FAILED with `message`; nothing but the log is left. Jobs: ERROR, nothing was run.
    FAILED = "failed"
    #: JOB_STATE_EXPIRED. Jobs: ERROR with the message of a timeout, nothing was run.
    EXPIRED = "expired"
    #: JOB_STATE_PARTIALLY_SUCCEEDED: the checkpoints are there, the final one is not. Jobs:
    #: COMPLETED with nothing to show, for nothing was run.
    PARTIAL = "partial"
    #: Success, with not-a-number among the adapter's weights.
    NAN_WEIGHTS = "nan-weights"
    #: Success, without the files that match `files`.
    MISSING_FILES = "missing-files"
    #: Success, with the last bytes of the files that match `files` missing.
    CUT_FILES = "cut-files"
    #: Success, with a LoRA of next to no effect, so that it answers like its base model.
    WEAKEN = "weaken"
    #: Runs for ever, until it is cancelled. Jobs: until its timeout too.
    STUCK = "stuck"


class JobRule(_Rule):
    """Applies to jobs in the order in which they were created, at Vertex and Hugging Face alike."""

    outcome: Outcome
    #: Where the jobs are; None for both.
    face: Literal["vertex", "jobs"] | None = None
    #: A regular expression searched in the job's display name and labels (`key=value`), and in the
    #: command of jobs at Hugging Face.
    target: Pattern = ""
    message: str = "Internal error occurred."
    #: Glob patterns of paths below the job's output.
    files: tuple[str, ...] = ("*adapter_model.safetensors",)


class FaultRules(BaseModel):
    """Rules for both, as the control face takes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: tuple[RequestRule, ...] = ()
    jobs: tuple[JobRule, ...] = ()


class FaultPlan(FaultRules):
    """The rules that a sandbox starts with: `faults:` in the file of `sandbox up --config`."""

    seed: int = 0
