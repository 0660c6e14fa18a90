"""Moves runs forward: performs the next action of each, and records what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import adoption, submission
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.connections import Connections
from orchestrator.decisions import Decisions
from orchestrator.errors import LedgerError, OrchestratorError
from orchestrator.evaluation_actions import EvaluationActions, GivenAnswers
from orchestrator.ledger import DamagedRun, Facts, Lease, Ledger, RunFacts, Target
from orchestrator.plan import EvaluationPlan
from orchestrator.planner import Prepared
from orchestrator.progress import SILENT, Reporter
from orchestrator.report.views import RunView, view
from orchestrator.run_actions import GONE_SNAPSHOT, News, Notify, RunActions
from orchestrator.run_folders import run_folder
from orchestrator.services.base import Handle, Snapshot
from orchestrator.settings import Settings
from orchestrator.spec import GateBlock
from orchestrator.state import Action, RunState, Status, current_attempt, status


@dataclass(frozen=True)
class Outcome:
    """Where a pass left a run; `error` if an action failed (a later pass tries it again).

    `asked` is False if the service of its job did not answer, and so nothing was tried.
    """

    run_id: str
    status: Status
    error: OrchestratorError | None = None
    bug: Exception | None = None
    asked: bool = True


_ONCE_A_PASS = frozenset(
    {
        Action.FIND,
        Action.INSPECT,
        Action.CANCEL,
        Action.LAUNCH,
        Action.COLLECT,
        Action.RECORD,
        Action.OFFER,
        Action.EVALUATE,
    }
)


class Pipeline:
    """The steps over one ledger. `notify` is told, in a line each, what happens.

    `reporter` is told of what takes long while it goes on.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        connections: Connections,
        *,
        clock: Clock = SYSTEM_CLOCK,
        notify: Notify = lambda _: None,
        reporter: Reporter = SILENT,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._connections = connections
        self._clock = clock
        self._notify = notify
        self._reporter = reporter
        self._actions = RunActions(settings, ledger, connections, clock, notify, reporter)
        self._decisions = Decisions(ledger, connections, clock=clock, notify=notify)

    def submit(self, prepared: Prepared, *, again: bool) -> tuple[RunFacts, bool]:
        """The run of a plan, and whether it is new; see `submission.submit`."""
        return submission.submit(
            prepared,
            self._settings,
            self._ledger,
            self._connections,
            again=again,
            notify=self._notify,
        )

    def adopt(self, prepared: Prepared, what: str) -> RunFacts:
        """The new run that a finished job, a folder or a URI of weights becomes."""
        return adoption.adopt(
            prepared,
            what,
            self._settings,
            self._ledger,
            self._connections,
            clock=self._clock,
            notify=self._notify,
        )

    def advance(self, run_id: str, news: News | None = None) -> Outcome:
        """Move one run as far as it can go now. `news` are snapshots already asked for."""
        with self._ledger.lease(run_id) as lease:
            if lease is None:
                return Outcome(run_id, self._status(run_id))
            error: OrchestratorError | None = None
            try:
                self._perform_all(run_id, lease, news or {})
            except OrchestratorError as problem:
                error = problem
                # A lost lease cannot record its loss; the pass that has it goes on.
                with contextlib.suppress(LedgerError):
                    lease.add_event("step_failed", {"message": str(problem)})
            now = self._status(run_id)
            lease.finished = now.action is Action.DONE
            return Outcome(run_id, now, error)

    def poll(self, run_ids: Iterable[str] | None = None) -> list[Outcome]:
        """One pass over the unfinished runs (or those given), one question per service.

        What goes wrong with one run, even a bug, does not keep the others from going on.
        """
        ids = list(run_ids or self._ledger.run_ids(unfinished_only=True))
        readable, damaged = self._read(ids)
        news, unreachable = self._ask(readable)
        outcomes: list[Outcome] = []
        for run_id in ids:
            if run_id in damaged:
                outcomes.append(_damaged(run_id, damaged[run_id]))
                continue
            if run_id in unreachable:
                problem = unreachable[run_id]
                outcomes.append(Outcome(run_id, self._status(run_id), problem, asked=False))
                continue
            try:
                outcomes.append(self.advance(run_id, news))
            except DamagedRun as problem:
                outcomes.append(_damaged(run_id, problem))
            except LedgerError as problem:
                outcomes.append(Outcome(run_id, self._status(run_id), problem))
            except Exception as bug:
                broken = OrchestratorError(f"unexpected {type(bug).__name__}: {bug}")
                outcomes.append(Outcome(run_id, self._status(run_id), broken, bug))
        return outcomes

    def cancel(self, run_id: str) -> Outcome:
        """Record the wish to cancel a run, and carry it out as far as is possible now.

        Later passes go on with it. A run that is cancelled is left as it is. Raises `InputError`
        if its training has ended.
        """
        self._decisions.cancel(run_id)
        return self.poll([run_id])[0]

    def resolve(self, run_id: str, *, handle: str | None, by: str) -> Outcome:
        """A person's answer to UNCERTAIN: the job's name, or None for "it was not launched"."""
        self._decisions.resolve(run_id, handle=handle, by=by)
        return self.advance(run_id)

    def retry(self, run_id: str) -> Outcome:
        """Launch another job in the place of one that came to nothing."""
        self._decisions.retry(run_id)
        return self.advance(run_id)

    def publish_again(self, run_id: str) -> Outcome:
        """Let a run go on that was held at publishing, outran its cancelling, or has an adapter
        that could not be merged or exported.
        """
        self._decisions.release(run_id)
        return self.advance(run_id)

    def judge_by(
        self, run_id: str, evaluation: EvaluationPlan | None, gates: tuple[GateBlock, ...]
    ) -> None:
        """Have a run judged by another evaluation or other gates, from its next pass on."""
        self._decisions.judge_by(run_id, evaluation, gates)

    def evaluate(self, run_id: str, given: Sequence[GivenAnswers] = ()) -> Outcome:
        """Take answers from files, if any are given, and move the run on: it is judged by them."""
        if given:
            actions = EvaluationActions(self._connections)
            self._decisions.give_answers(run_id, given, self.run_folder(run_id), actions)
        self._decisions.judge_again(run_id)
        return self.poll([run_id])[0]

    def override(self, run_id: str, *, reason: str, by: str) -> Outcome:
        """Publish a tuned model whatever its evaluation says; the reason is recorded and shown."""
        self._decisions.override(run_id, reason=reason, by=by)
        return self.advance(run_id)

    def view(self, run_id: str) -> RunView:
        """Everything that is shown of a run."""
        facts = self._ledger.facts(run_id)
        return view(facts, self._ledger.metrics(run_id), self._clock.now())

    def run_folder(self, run_id: str) -> Path:
        """Where the files of a run are kept on this machine."""
        return run_folder(self._settings, run_id)

    def adapter_folder(self, run_id: str) -> Path:
        """The checked files of a run, with its card: what is published."""
        return self.run_folder(run_id) / "adapter"

    def _status(self, run_id: str) -> Status:
        return status(self._ledger.facts(run_id), self._clock.now())

    def _read(self, run_ids: Iterable[str]) -> tuple[list[Facts], dict[str, DamagedRun]]:
        """The facts of the runs, and why those of some cannot be read."""
        facts: list[Facts] = []
        damaged: dict[str, DamagedRun] = {}
        for run_id in run_ids:
            try:
                found = self._ledger.facts(run_id)
                current_attempt(found)  # raises for an event that cannot be relied on
                facts.append(found)
            except DamagedRun as problem:
                damaged[run_id] = problem
        return facts, damaged

    def _ask(self, every: list[Facts]) -> tuple[News, dict[str, OrchestratorError]]:
        """The state of all jobs that are waited for, by one call per service and place.

        The second result has the error of each run whose service could not be asked.
        """
        wanted: dict[Target, dict[str, Handle]] = {}
        for facts in every:
            attempt = current_attempt(facts)
            if attempt and attempt.handle and not attempt.is_over:
                place = dataclasses.replace(
                    facts.run.target.of(attempt.kind),
                    repo=None,
                    bucket="",
                    candidates=None,
                    base_commit=None,
                    jobs_namespace=None,
                    jobs_rows=None,
                )
                wanted.setdefault(place, {})[facts.run.id] = attempt.handle
        news: dict[Handle, Snapshot] = {}
        unreachable: dict[str, OrchestratorError] = {}
        for target, handles in wanted.items():
            try:
                found = self._connections.service(target).inspect(handles.values())
            except OrchestratorError as problem:
                unreachable |= dict.fromkeys(handles, problem)
            else:
                news |= {handle: found.get(handle, GONE_SNAPSHOT) for handle in handles.values()}
        return news, unreachable

    def _perform_all(self, run_id: str, lease: Lease, news: News) -> None:
        """Perform actions until one changes nothing, or none is left."""
        asked: set[Action] = set()
        while True:
            facts = self._ledger.facts(run_id)
            action = status(facts, self._clock.now()).action
            if action in (Action.WAIT, Action.DONE) or action in asked:
                return
            # The same question brings no news in the same pass, and no pass launches twice or
            # collects twice.
            if action in _ONCE_A_PASS:
                asked.add(action)
            self._actions.perform(action, facts, lease, news)


def _damaged(run_id: str, problem: DamagedRun) -> Outcome:
    """A run of which nothing can be told, so nothing was done for it."""
    held = Status(RunState.HELD, Action.DONE, "its record in the ledger cannot be read")
    return Outcome(run_id, held, problem)
