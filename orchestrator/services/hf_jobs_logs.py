"""The log of a job, every line once, whatever happens to the connection.

The service streams a log as server-sent events, always from its beginning, with comments while
nothing happens. Lines are told apart by their timestamps and, where these are equal, counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from orchestrator.clock import Clock
from orchestrator.errors import Ambiguous, NotFound, OrchestratorError
from orchestrator.services.hf_jobs_errors import read_errors
from orchestrator.services.hf_jobs_messages import JobName, instant

if TYPE_CHECKING:
    import httpx2

    from orchestrator.services.hf_jobs_client import JobsClient

#: While a job runs, a comment comes every 30 s: after four of them the connection is dead.
_DEAD_AFTER_S = 120.0
#: What is there is sent at once: after this silence it was all.
QUIET_AFTER_S = 5.0
#: Failures in a row, without a new line between them, before following is given up.
_MOST_FAILURES = 5
_LONGEST_PAUSE_S = 10.0
#: The service's own first line; not the job's.
_BANNER = "===== Job started"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogPlace:
    """How far a log was read: the last line's timestamp, and how many lines with it were read."""

    at: datetime
    lines: int

    def to_json(self) -> dict[str, Any]:
        """The place as a ledger can store it."""
        return {"at": self.at.isoformat(), "lines": self.lines}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LogPlace:
        """The inverse of `to_json`."""
        return cls(datetime.fromisoformat(value["at"]), int(value["lines"]))


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log; `place` is where reading goes on after it."""

    timestamp: datetime
    text: str
    place: LogPlace


class _Ending(Enum):
    """How a stream ended."""

    WHOLE = auto()  # the server ended it
    QUIET = auto()  # nothing more came, and nothing more was waited for
    SILENT = auto()  # nothing came at all
    CUT = auto()  # the connection broke


class LogReader:
    """Reads the log of one job. `follow` goes on until the job has ended."""

    def __init__(
        self,
        client: JobsClient,
        name: JobName,
        *,
        after: LogPlace | None,
        follow: bool,
        quiet_after_s: float,
        clock: Clock,
    ) -> None:
        self._client = client
        self._name = name
        self._follow = follow
        self._quiet_after_s = quiet_after_s
        self._clock = clock
        self._seen = _Seen(after)
        self._trouble: OrchestratorError | None = None

    def lines(self) -> Iterator[LogLine]:
        """The lines, as they come. Raises `NotFound`, another `Refused`, or `Ambiguous`."""
        in_vain = 0
        # Asked before the stream is opened: what a job that has ended wrote is all in it.
        ended = self._has_ended()
        while True:
            before = self._seen.new_count
            ending = yield from self._stream(ended=ended)
            in_vain = in_vain + 1 if self._seen.new_count == before else 0
            if ending is _Ending.CUT and in_vain >= _MOST_FAILURES:
                raise self._trouble or Ambiguous(f"the log of {self._name.id} breaks off")
            enough = ending in (_Ending.WHOLE, _Ending.QUIET) or (
                ending is _Ending.SILENT and in_vain >= 2
            )
            if enough and (ended or not self._follow):
                return
            asked_s = getattr(self._trouble, "retry_after_s", None) or 0.0
            if not (ending is _Ending.QUIET and self._follow):
                self._clock.sleep(max(min(2.0**in_vain, _LONGEST_PAUSE_S), asked_s))
            ended = ended or self._has_ended(gone_counts=True)

    def _has_ended(self, *, gone_counts: bool = False) -> bool:
        try:
            return self._client.job(self._name).state.is_final
        except NotFound:
            if gone_counts:
                return True
            raise

    def _stream(self, *, ended: bool) -> Generator[LogLine, None, _Ending]:
        """One connection's new lines. One of a job that goes on is kept open through silence."""
        import httpx2

        self._seen.begin()
        self._trouble = None
        anything = False
        live = self._follow and not ended
        try:
            with (
                read_errors(f"read the log of {self._name.id}"),
                self._client.logs(
                    self._name, _DEAD_AFTER_S if live else self._quiet_after_s
                ) as response,
            ):
                # The log of a job that has ended is whole, whatever the server's clock says: the
                # date that a busy server sends may be a second old.
                until = None if self._follow or ended else _present(response)
                for raw in _whole_lines(response):
                    if raw.startswith(b":"):
                        # A comment: nothing has happened for a while.
                        if not live or self._has_ended(gone_counts=True):
                            return _Ending.QUIET
                        continue
                    event = _event(raw)
                    if event is None:
                        continue
                    anything = True
                    stamp = instant(event.get("timestamp"))
                    if until is not None and stamp is not None and stamp > until:
                        return _Ending.QUIET
                    line = self._seen.new_line(stamp, event["data"].rstrip("\r\n"))
                    if line is not None and not line.text.startswith(_BANNER):
                        yield line
        except Ambiguous as error:
            if isinstance(error.__cause__, httpx2.ReadTimeout):
                return _Ending.QUIET if anything else _Ending.SILENT
            self._trouble = error
            return _Ending.CUT
        except NotFound:
            if self._seen.new_count:
                return _Ending.WHOLE
            raise
        return _Ending.WHOLE


class _Seen:
    """Which lines were given out already, in this process and before it."""

    def __init__(self, after: LogPlace | None) -> None:
        self._after = after
        self._place = after or LogPlace(_NEVER, 0)
        self._given: Counter[int] = Counter()
        self._here: Counter[int] = Counter()
        self._at_place = 0
        self._last = _NEVER
        #: How many lines were given out.
        self.new_count = 0

    def begin(self) -> None:
        """A new connection begins, with the first line of the log."""
        self._here = Counter()
        self._at_place = 0
        self._last = _NEVER

    def new_line(self, stamp: datetime | None, text: str) -> LogLine | None:
        """The line, unless it was given out before."""
        # A line without a timestamp belongs to the one before it.
        stamp = self._last = stamp or self._last
        if self._after is not None:
            if stamp < self._after.at:
                return None
            if stamp == self._after.at:
                self._at_place += 1
                if self._at_place <= self._after.lines:
                    return None
        # Equal lines of one instant may both be real: the nth of them is compared with the nth.
        key = hash((stamp, text))
        self._here[key] += 1
        if self._here[key] <= self._given[key]:
            return None
        self._given[key] += 1
        self.new_count += 1
        if stamp > self._place.at:
            self._place = LogPlace(stamp, 1)
        elif stamp == self._place.at:
            self._place = LogPlace(stamp, self._place.lines + 1)
        return LogLine(stamp, text, self._place)


def _whole_lines(response: httpx2.Response) -> Iterator[bytes]:
    """The lines that came with their ends; `Ambiguous` if the last one is without."""
    rest = b""
    for block in response.iter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        raise Ambiguous("the stream ended in the middle of a line")


def _event(raw: bytes) -> dict[str, Any] | None:
    """The line of the log that a line of the stream holds, if it holds one."""
    if not raw.startswith(b"data:"):
        return None
    try:
        event = json.loads(raw.removeprefix(b"data:"))
    except ValueError:
        return None
    good = isinstance(event, dict) and isinstance(event.get("data"), str)
    return event if good else None


def _present(response: httpx2.Response) -> datetime | None:
    """The end of the second in which the server answered, by its own clock."""
    try:
        return parsedate_to_datetime(response.headers["date"]) + timedelta(seconds=1)
    except (KeyError, TypeError, ValueError):
        return None
