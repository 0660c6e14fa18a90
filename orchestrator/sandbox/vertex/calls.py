"""A call of the Vertex face, whatever it came over: counted, met by faults, carried out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import Effect, RequestRule
from orchestrator.sandbox.vertex.conduct import Method
from orchestrator.sandbox.vertex.faults import VertexFaults, refusal_of
from orchestrator.sandbox.vertex.refusals import Garbled, Rejected

_OK = 200
#: Waits for the client of a request to hang up.
UntilGone = Callable[[], None]


class Methods(Protocol):
    """What the face answers, in plain protobuf messages. Raises `Rejected`."""

    def create(self, request: Any) -> Any:
        """CreateTuningJob."""
        ...

    def get(self, request: Any) -> Any:
        """GetTuningJob."""
        ...

    def list(self, request: Any) -> Any:
        """ListTuningJobs."""
        ...

    def cancel(self, request: Any) -> None:
        """CancelTuningJob."""
        ...


class Dropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Answer:
    """A message (None where the method returns nothing), and what shall become of its bytes."""

    message: Any
    damage: RequestRule | None = None

    @property
    def cut_after_bytes(self) -> int | None:
        """After how many bytes the connection is to be closed, if it is."""
        rule = self.damage
        return rule.keep_bytes if rule is not None and rule.effect is Effect.CUT else None

    def corrupted(self, content: bytes) -> bytes:
        """The bytes of the message, with one of them changed if a rule says so."""
        rule = self.damage
        if rule is None or rule.effect is not Effect.CORRUPT or len(content) <= rule.keep_bytes:
            return content
        place = rule.keep_bytes
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class Calls:
    """Carries out calls of `methods` under the rules of `book`. Safe for threads."""

    def __init__(
        self, methods: Methods, faults: VertexFaults, book: FaultBook, clock: SandboxClock
    ) -> None:
        self._methods = methods
        self._faults = faults
        self._book = book
        self._clock = clock
        self._moved = threading.Condition()
        self._closed = False
        clock.on_advance(self._wake)

    def close(self) -> None:
        """End all delays, those still to come too."""
        self._closed = True
        self._wake()

    def answer(self, method: Method, request: Any, until_gone: UntilGone) -> Answer:
        """The answer to a request. Raises `Rejected`, or `Dropped` for a fault that leaves none."""
        call = {
            "create": self._methods.create,
            "get": self._methods.get,
            "list": self._methods.list,
            "cancel": self._methods.cancel,
        }[method]
        target = str(request.parent if method in ("create", "list") else request.name)
        rule = self._book.request("vertex", method, target)
        # Counted after the book did, so that a fault planned in between is for the next one.
        self._faults.count(method)
        if rule is None:
            return Answer(call(request))
        if rule.effect is Effect.DELAY:
            try:
                return Answer(call(request))
            finally:
                self._book.record("vertex", method, target, rule.fault)
                self._pass_s(rule.delay_s)
        if rule.effect in (Effect.CUT, Effect.CORRUPT):
            self._book.record("vertex", method, target, rule.fault)
            return self._damaged(rule, call, request)
        hidden = self._status_of(call, request) if rule.after else None
        self._book.record("vertex", method, target, rule.fault, hidden)
        if rule.effect is Effect.ERROR:
            raise refusal_of(rule)
        if rule.effect is Effect.STALL:
            until_gone()
        raise Dropped

    def _damaged(self, rule: RequestRule, call: Callable[[Any], Any], request: Any) -> Answer:
        try:
            return Answer(call(request), rule)
        except Rejected as rejected:
            if rule.effect is Effect.CUT:
                raise Dropped from rejected
            raise Garbled(rejected.code, rejected.message) from rejected

    def _status_of(self, call: Callable[[Any], Any], request: Any) -> int:
        """Carry a request out; the HTTP status of the answer that nobody gets to see."""
        try:
            call(request)
        except Rejected as rejected:
            return rejected.http_status
        return _OK

    def _pass_s(self, seconds: float) -> None:
        until_s = self._clock.elapsed_s() + seconds
        with self._moved:
            while not self._closed and (left_s := until_s - self._clock.elapsed_s()) > 0:
                self._moved.wait(left_s)

    def _wake(self) -> None:
        with self._moved:
            self._moved.notify_all()
