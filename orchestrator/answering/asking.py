"""Many questions asked of one endpoint: a few at a time, each paid for once, none lost.

What threads share is small: a line of questions, a pause that the server asked for, and the cache.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.answering.cache import AnswerCache
from orchestrator.answering.client import EndpointConnection, TookTooLong
from orchestrator.answering.endpoint import Endpoint
from orchestrator.answering.questions import Request
from orchestrator.answering.refusals import RowRefused, success_of
from orchestrator.answering.replies import Reply, read_reply
from orchestrator.answering.served import check_answered, check_listed, is_answered_by
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import Ambiguous, OrchestratorError, RefusalKind, Refused
from orchestrator.retry import retry_request

#: So many questions in a row that nobody answers, or that are all refused, and it is not the rows.
_ENOUGH = 5
_LOOK_UP_S = 1.0

OnProgress = Callable[[int, int], None]
Outcome = Reply | RowRefused | OrchestratorError


@dataclass
class Asked:
    """What became of questions, by the digests of their requests.

    `failed` are those that got no answer although they were asked again; another time they may.
    `paid` counts the answers that came now, `kept` those that were there before.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    refused: dict[str, RowRefused] = field(default_factory=dict)
    failed: dict[str, Ambiguous] = field(default_factory=dict)
    paid: int = 0
    kept: int = 0
    warnings: list[str] = field(default_factory=list)


class _Progress:
    """How many questions have their outcome, of all."""

    def __init__(self, done: int, every: int, told: OnProgress | None) -> None:
        self._done = done
        self._every = every
        self._told = told

    def step(self) -> None:
        """One more has its outcome."""
        self._done += 1
        self.tell()

    def tell(self) -> None:
        """Say it, also where nothing is new."""
        if self._told is not None:
            self._told(self._done, self._every)


class _StoppedError(Exception):
    """Nobody waits for this answer any more."""


class _Line:
    """The questions that wait, and what is said about all of them."""

    def __init__(self, waiting: Sequence[Request], clock: Clock) -> None:
        self._waiting = deque(waiting)
        self._lock = threading.Lock()
        self._clock = clock
        self._not_before_s = clock.elapsed_s()
        self.stopped = threading.Event()
        self.outcomes: queue.SimpleQueue[tuple[str, Outcome | BaseException]] = queue.SimpleQueue()

    def next(self) -> Request | None:
        with self._lock:
            return None if self.stopped.is_set() or not self._waiting else self._waiting.popleft()

    def pause(self, seconds: float | None, most_s: float) -> None:
        """Let nobody ask for so long: the server told one of us, and means all.

        Nobody waits for what is longer than any of us may wait: all would wait in vain.
        """
        if seconds is not None and seconds <= most_s:
            until_s = self._clock.elapsed_s() + seconds
            with self._lock:
                self._not_before_s = max(self._not_before_s, until_s)

    def await_turn(self) -> None:
        with self._lock:
            left_s = self._not_before_s - self._clock.elapsed_s()
        if left_s > 0:
            self._clock.sleep(left_s)
        if self.stopped.is_set():
            raise _StoppedError


def ask(
    requests: Sequence[Request],
    endpoint: Endpoint,
    token: str | None,
    cache: AnswerCache,
    *,
    clock: Clock = SYSTEM_CLOCK,
    on_progress: OnProgress | None = None,
) -> Asked:
    """Ask what the cache does not hold, each request once however often it stands there.

    Answers are in the cache as soon as they come. `on_progress` is told before the first question
    and with every outcome, and every second while none comes, so that a lease can be kept; what it
    raises ends the asking. Raises for what concerns all questions: another model, a token that is
    not taken, an endpoint that nobody can reach.
    """
    asked, waiting = Asked(), {}
    for request in requests:
        reply = cache.get(request.key)
        if reply is not None and is_answered_by(endpoint, reply.model):
            asked.replies[request.key] = reply
        else:
            waiting[request.key] = request
    asked.kept = len(asked.replies)
    if not waiting:
        return asked
    cache.check_writable()
    with EndpointConnection(endpoint, token) as connection:
        warning = check_listed(connection, endpoint, clock)
    asked.warnings += [warning] if warning else []
    progress = _Progress(asked.kept, asked.kept + len(waiting), on_progress)
    progress.tell()  # whoever has lost the lease by now pays for nothing
    line = _Line(list(waiting.values()), clock)
    # Daemons: whoever interrupts this does not wait for answers that are on their way.
    threads = [
        threading.Thread(
            target=_work,
            args=(line, endpoint, token, cache, clock),
            name=f"ask-{number}",
            daemon=True,
        )
        for number in range(min(endpoint.concurrency, len(waiting)))
    ]
    for thread in threads:
        thread.start()
    try:
        fields = sorted({name for one in waiting.values() for name in one.body})
        _collect(asked, len(waiting), fields, line, progress)
    except OrchestratorError:
        line.stopped.set()
        end_s = clock.elapsed_s() + endpoint.timeout_s
        for thread in threads:  # what they have paid for is kept
            thread.join(max(0.0, end_s - clock.elapsed_s()))
        raise
    finally:
        line.stopped.set()
    for thread in threads:
        thread.join()
    return asked


def _work(
    line: _Line, endpoint: Endpoint, token: str | None, cache: AnswerCache, clock: Clock
) -> None:
    """Ask, question by question, until none waits; what comes is in the cache before it is told."""
    with EndpointConnection(endpoint, token) as connection:
        while (request := line.next()) is not None:
            try:
                outcome = _ask_one(request, connection, endpoint, line, clock)
                if isinstance(outcome, Reply):
                    cache.add(request.key, outcome)  # also another model's: it may turn out right
                    check_answered(endpoint, outcome.model)
                line.outcomes.put((request.key, outcome))
            except _StoppedError:
                return
            except BaseException as error:
                line.outcomes.put((request.key, error))
                return


def _ask_one(
    request: Request,
    connection: EndpointConnection,
    endpoint: Endpoint,
    line: _Line,
    clock: Clock,
) -> Outcome:
    def once() -> Outcome:
        line.await_turn()
        began_s = clock.elapsed_s()
        try:
            response = connection.send("POST", request.path, request.body)
            found = success_of(response, endpoint, connection.token, request.path, clock)
            if isinstance(found, RowRefused):
                return found
            return read_reply(found, clock.elapsed_s() - began_s)
        except TookTooLong as error:
            return error
        except Ambiguous as error:
            line.pause(error.retry_after_s, endpoint.patience_s)
            raise

    try:
        return retry_request(
            once, attempts=endpoint.attempts, total_s=endpoint.patience_s, clock=clock
        )
    except Ambiguous as error:
        return error


def _collect(
    asked: Asked,
    waiting: int,
    fields: Sequence[str],
    line: _Line,
    progress: _Progress,
) -> None:
    """Sort outcomes as they come, until all are there; raise where it is not about one row."""
    failed_in_a_row = 0
    for _ in range(waiting):
        key, outcome = _next(line, progress)
        if isinstance(outcome, Reply):
            asked.replies[key] = outcome
            asked.paid += 1
            failed_in_a_row = 0
        elif isinstance(outcome, RowRefused):
            asked.refused[key] = outcome
            failed_in_a_row = 0
            if not asked.replies and len(asked.refused) >= min(_ENOUGH, waiting):
                raise Refused(
                    f"the endpoint refused every question so far: {outcome.said}",
                    kind=RefusalKind.INVALID,
                    hint="Nothing was answered. Does it know this model, and every field that was "
                    f"sent ({', '.join(fields)})?",
                )
        elif isinstance(outcome, Ambiguous):
            asked.failed[key] = outcome
            failed_in_a_row += 1
            if failed_in_a_row >= _ENOUGH:
                raise _given_up(outcome, asked)
        else:
            raise outcome
        progress.step()
    if asked.failed and not asked.replies:
        raise _given_up(next(iter(asked.failed.values())), asked)


def _next(line: _Line, progress: _Progress) -> tuple[str, Outcome | BaseException]:
    while True:
        try:
            # Not for ever: on some systems a wait without an end cannot be interrupted.
            return line.outcomes.get(timeout=_LOOK_UP_S)
        except queue.Empty:
            progress.tell()


def _given_up(error: Ambiguous, asked: Asked) -> Ambiguous:
    return Ambiguous(
        f"{error.message}; {len(asked.replies)} answers are there and are kept",
        hint=f"{error.hint} Run it again: only what is missing is asked.".strip(),
    )


def without_answer(asked: Asked) -> Ambiguous:
    """The error for questions that got no answer although they were asked again."""
    first = next(iter(asked.failed.values()))
    every = len(asked.failed) + len(asked.replies) + len(asked.refused)
    return Ambiguous(
        f"{len(asked.failed)} of {every} questions got no answer: {first.message}",
        hint=f"{first.hint} What was answered is kept: run it again, and only these are "
        "asked.".strip(),
    )
