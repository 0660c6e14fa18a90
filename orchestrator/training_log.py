"""The log that a job writes while it trains: an object that is replaced as it grows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.clock import Clock
from orchestrator.connections import Connections
from orchestrator.errors import Ambiguous, NotFound
from orchestrator.ledger import ADOPTED, Facts, Metric, Target
from orchestrator.services.base import Handle
from orchestrator.stores.base import ObjectStore, StoredObject

_BLOCK_BYTES = 1 << 20
#: A line that goes on for longer (a bar that is drawn again and again) is given in pieces.
_LONGEST_LINE_BYTES = 1 << 20
#: How much of what was read is compared when the object was replaced.
_KNOWN_BYTES = 256
#: How often an object is looked at again that is replaced between look and read.
_LOOKS = 5
_LOSS = re.compile(r"""["']loss["']: ['"]?([-+.\deE]+)""")
#: How scripts of jobs say what is wrong.
_SAID = re.compile(r"(?:sft|generate|merge|export_[a-z]+|job)\.py: (.+)")
_STEP = re.compile(r"""["']step["']: ['"]?(\d+)""")


@dataclass(frozen=True)
class JobLog:
    """Where the log of an attempt is. `uri` is None where the service keeps no such object."""

    attempt_id: str
    handle: Handle
    uri: str | None
    link: str
    target: Target


class LogReader:
    """Gives every complete line of a growing object once, read by ranges."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store = store
        self._uri = uri
        self._offset = 0
        self._unfinished = b""
        #: What was read just before the offset, and from which generation.
        self._known = b""
        self._generation = 0

    def exists(self) -> bool:
        """Whether anything was written yet."""
        return self._store.stat(self._uri) is not None

    def skip_to_last(self, lines: int) -> None:
        """Begin with the last `lines` lines that are there now, reading no more than that takes."""
        for _ in range(_LOOKS):
            stored = self._store.stat(self._uri)
            if stored is None:
                return
            try:
                self._offset = self._start_of_last(stored, lines)
            except NotFound:
                continue  # replaced this very moment
            return

    def new_lines(self) -> Iterator[str]:
        """The complete lines that were added since the last call."""
        for _ in range(_LOOKS):
            stored = self._store.stat(self._uri)
            if stored is None:
                return
            try:
                yield from self._lines_of(stored)
            except NotFound:
                continue  # replaced this very moment
            return

    def _lines_of(self, stored: StoredObject) -> Iterator[str]:
        """The complete lines of one generation from the offset on."""
        if stored.size_bytes < self._offset or self._was_begun_again(stored):
            self._offset, self._unfinished, self._known = 0, b"", b""
        while self._offset < stored.size_bytes:
            block = self._store.read_range(stored, self._offset, _BLOCK_BYTES)
            if not block:
                return
            self._offset += len(block)
            self._known = (self._known + block)[-_KNOWN_BYTES:]
            self._generation = stored.generation
            *complete, self._unfinished = (self._unfinished + block).split(b"\n")
            yield from map(_text, complete)
            if len(self._unfinished) > _LONGEST_LINE_BYTES:
                yield from self.rest()

    def _was_begun_again(self, stored: StoredObject) -> bool:
        """Whether other bytes stand where the last ones were read: a job that began anew."""
        grown = stored.size_bytes > self._offset and stored.generation != self._generation
        if not grown or not self._known:
            return False
        size_bytes = len(self._known)
        there = self._store.read_range(stored, self._offset - size_bytes, size_bytes)
        return there != self._known

    def _start_of_last(self, stored: StoredObject, lines: int) -> int:
        """Where the last `lines` lines begin, by looking for line breaks from the end on."""
        if lines == 0:
            return stored.size_bytes
        end = stored.size_bytes
        while end:
            begin = max(0, end - _BLOCK_BYTES)
            block = self._store.read_range(stored, begin, end - begin)
            # The break that ends the last line is none of those before the lines that are wanted.
            stop = len(block) - (end == stored.size_bytes and block.endswith(b"\n"))
            breaks = block.count(b"\n", 0, stop)
            if breaks >= lines:
                for _ in range(lines):
                    stop = block.rfind(b"\n", 0, stop)
                return begin + stop + 1
            lines -= breaks
            end = begin
        return 0

    def rest(self) -> Iterator[str]:
        """What follows the last line break, once nothing more is awaited."""
        if self._unfinished:
            rest, self._unfinished = self._unfinished, b""
            yield _text(rest)


def follow(
    reader: LogReader,
    is_over: Callable[[], bool],
    *,
    clock: Clock,
    interval_s: float,
    trouble: Callable[[Ambiguous], None],
) -> Iterator[str]:
    """Each line once, until the attempt is over. `trouble` is told when nobody answered."""
    while True:
        over = False
        try:
            # Asked first: what was written before the end is then read for certain.
            over = is_over()
            yield from reader.new_lines()
        except Ambiguous as problem:
            trouble(problem)
            over = False
        if over:
            yield from reader.rest()
            return
        clock.sleep(interval_s)


def latest_loss(store: ObjectStore, uri: str, *, last_bytes: int = 8192) -> str | None:
    """The newest training loss near the end of a log, for people; None if none is found there.

    Knows lines that trainers write: JSON objects, or Python's spelling of them.
    """
    stored: StoredObject | None = store.stat(uri)
    if stored is None:
        return None
    start = max(0, stored.size_bytes - last_bytes)
    try:
        text = _text(store.read_range(stored, start, last_bytes))
    except NotFound:
        return None
    for line in reversed(text.splitlines()):
        loss = _LOSS.search(line)
        if loss is not None:
            step = _STEP.search(line)
            return f"loss {loss[1]}" + (f" at step {step[1]}" if step else "")
    return None


def metric_points(lines: Iterable[str]) -> list[Metric]:
    """The time series in what `sft.py` prints: events as JSON lines; other lines are skipped."""
    points: dict[tuple[str, int], Metric] = {}
    for line in lines:
        event = _json_object(line)
        step = event.get("step")
        if event.get("event") != "log" or not isinstance(step, int):
            continue
        epoch = _number(event.get("epoch"))
        for name, value in event.items():
            number = _number(value)
            if name not in ("event", "step", "epoch") and number is not None:
                points[name, step] = Metric(name, step, number, epoch)
    return list(points.values())


def failure_reason(lines: Iterable[str]) -> str | None:
    """What a script said last of why it failed: an event, or `script.py: message`."""
    reason = None
    for line in lines:
        event = _json_object(line)
        if event.get("event") in ("failed", "nothing_to_show"):
            reason = str(event.get("message") or event["event"])
        elif (said := _SAID.fullmatch(line)) is not None:
            reason = said[1]
    return reason


def _json_object(line: str) -> Mapping[str, object]:
    if not line.startswith("{"):
        return {}
    try:
        value = json.loads(line)
    except ValueError:  # a line that was cut, or no event
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    """A finite number; the trainer writes others as strings."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


def locate(facts: Facts, connections: Connections) -> JobLog | None:
    """Where the log of the newest job of a run is; None if the run has no job."""
    jobs = [
        (one, one.handle) for one in facts.attempts if one.handle and one.handle.service != ADOPTED
    ]
    if not jobs:
        return None
    attempt, handle = jobs[-1]
    # The answers of a run of vertex are generated elsewhere than it is trained.
    target = facts.run.target.of(attempt.kind)
    found = connections.service(target).logs(handle)
    return JobLog(attempt.id, handle, found.uri, found.link, target)
