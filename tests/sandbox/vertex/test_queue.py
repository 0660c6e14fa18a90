"""The queue of the Vertex face under random lives: what must hold whatever is asked, and when."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob
from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.jobs import (
    ENDED,
    Ended,
    JobRecord,
    JobStore,
    Run,
    Train,
    cancelled,
    instant,
)
from orchestrator.sandbox.vertex.queue import JobQueue
from orchestrator.sandbox.vertex.refusals import Rejected, quota_exceeded
from tests.manual_clock import ManualClock
from tests.services.vertex_bench import TIMEOUT_S

#: Which state may follow which; a state that is missing here is final.
FOLLOWS = {
    "": {"QUEUED", "PENDING"},
    "QUEUED": {"PENDING", "CANCELLED", "EXPIRED"},
    "PENDING": {"RUNNING", "CANCELLED", "EXPIRED"},
    "RUNNING": {"SUCCEEDED", "CANCELLING", "EXPIRED"},
    "CANCELLING": {"CANCELLED"},
}
NEVER = datetime.max.replace(tzinfo=UTC)
PROJECTS = ("one", "two")
NEXT = "projects/one/locations/us-central1/tuningJobs/next"
CONDUCTS = some.builds(
    VertexConduct,
    queued_s=some.sampled_from([0, 7, 20]),
    pending_s=some.sampled_from([0, 3, 15]),
    running_s=some.sampled_from([0, 10, 60]),
    expires_after_s=some.sampled_from([None, 1, 30, 65, 100]),
    running_quota=some.integers(1, 3),
    quota_mode=some.sampled_from(["refuse", "queue"]),
)
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("create"), some.sampled_from(PROJECTS)),
        some.tuples(some.just("cancel"), some.integers(0, 6)),
        some.tuples(some.just("advance"), some.sampled_from([0, 1, 5, 10, 30, 100, 1000])),
        some.tuples(some.just("restart"), some.sampled_from([0, 50])),
    ),
    max_size=14,
)
History = dict[str, list[tuple[str, datetime]]]


def train(_: JobRecord, run: Run) -> Ended:
    """A training without work: as long as it is planned."""
    run.wait_out(lambda _share: None, forever=False)
    stopped = run.stop_state()
    if stopped is None:
        return Ended(int(JobState.JOB_STATE_SUCCEEDED))
    return cancelled() if stopped == JobState.JOB_STATE_CANCELLED else Ended(stopped)


class WatchedStore(JobStore):
    """Writes down each state that a job was ever in, and since when."""

    def __init__(self, folder: Path, history: History) -> None:
        super().__init__(folder)
        self._history = history

    def save(self, record: JobRecord) -> None:
        super().save(record)
        state = JobState(record.job.state).name.removeprefix("JOB_STATE_")
        moments = self._history[record.name]
        if not moments or moments[-1][0] != state:
            moments.append((state, instant(record.job.update_time)))


class Life:
    """A queue over a folder, on a clock that stands still, restarted now and then."""

    def __init__(
        self, folder: Path, conduct: VertexConduct, clock: SandboxClock, train: Train = train
    ) -> None:
        self.history: History = defaultdict(list)
        self._folder, self._conduct = folder, conduct
        self._clock, self._train = clock, train
        self._names: list[str] = []
        self.queue = self._started()

    def _started(self) -> JobQueue:
        store = WatchedStore(self._folder, self.history)
        queue = JobQueue(store, self._train, self._conduct, self._clock)
        queue.start()
        return queue

    def step(self, what: str, how: Any) -> None:
        if what == "create":
            self._create(how)
        elif what == "cancel" and self._names:
            name = self._names[how % len(self._names)]
            over = self._ended(name)
            assert self.queue.cancel(name) is not over
        elif what == "advance":
            self._clock.advance(how)
        elif what == "restart":
            self.queue.stop()
            self._clock.advance(how)
            self.queue = self._started()
        self._settle()

    def _create(self, project: str) -> None:
        name = f"projects/{project}/locations/us-central1/tuningJobs/{len(self._names)}"
        refuses = self._conduct.quota_mode == "refuse"
        of_project = [one for one in self.queue.records() if one.project == project]
        active = sum(not one.ended for one in of_project)
        refusal = quota_exceeded(project, 1, 60) if refuses else None
        try:
            job = TuningJob.pb(TuningJob(name=name))
            self.queue.add(job, over_quota=refusal, choose=lambda: None)
        except Rejected:
            assert refuses
            assert active >= self._conduct.running_quota
        else:
            assert not refuses or active < self._conduct.running_quota
            self._names.append(name)

    def _ended(self, name: str) -> bool:
        record = self.queue.get(name)
        assert record is not None
        return record.ended

    def _settle(self) -> None:
        """Wait for the trainings that have something to do now."""

        def quiet() -> bool:
            now = self._clock.now()
            for record in self.queue.records():
                if record.ended or not record.job.HasField("start_time"):
                    continue
                passed_s = (now - instant(record.job.start_time)).total_seconds()
                expiry = self.queue.expiry(record) or NEVER
                over = passed_s >= self._conduct.running_s or expiry <= now
                if over or record.job.state == JobState.JOB_STATE_CANCELLING:
                    return False
            return True

        with self.queue.changed:
            assert self.queue.changed.wait_for(quiet, TIMEOUT_S)


@settings(max_examples=60)
@given(CONDUCTS, STEPS)
def test_jobs_move_in_order_and_never_more_at_once_than_the_quota(
    conduct: VertexConduct, steps: list[tuple[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), conduct, SandboxClock(ManualClock()))
        try:
            for what, how in steps:
                life.step(what, how)
        finally:
            life.queue.stop()
        for moments in life.history.values():
            states = ["", *(state for state, _ in moments)]
            assert all(after in FOLLOWS.get(before, ()) for before, after in pairwise(states))
            times = [at for _, at in moments]
            assert times == sorted(times)
        for project in PROJECTS:
            held = [_held(life.history[name]) for name in life.history if f"/{project}/" in name]
            for start, _ in held:
                assert sum(a <= start < b for a, b in held) <= conduct.running_quota


def test_a_pending_job_holds_its_place_over_a_restart(tmp_path: Path) -> None:
    life = Life(tmp_path, VertexConduct(pending_s=3), SandboxClock(ManualClock()))
    steps = [("create", "one"), ("restart", 50), ("create", "one"), ("create", "one")]
    for what, how in [*steps, ("restart", 0), ("advance", 5)]:
        life.step(what, how)
    life.queue.stop()
    _, second, third = (_held(moments) for moments in life.history.values())
    assert third[0] >= second[1]


def _held(moments: list[tuple[str, datetime]]) -> tuple[datetime, datetime]:
    """From when until when a job used up quota."""
    since = next((at for state, at in moments if state == "PENDING"), NEVER)
    ended = moments[-1][0] not in FOLLOWS
    return since, moments[-1][1] if ended else NEVER


def test_a_place_that_became_free_while_the_process_ended_is_not_taken_before(
    tmp_path: Path,
) -> None:
    def train_to_the_last_moment(record: JobRecord, run: Run) -> Ended:
        ended = train(record, run)
        # The stop comes after the training is over and before anybody has heard of it.
        life.queue.stopping = True
        return ended

    clock = SandboxClock(ManualClock())
    conduct = VertexConduct(running_s=60)
    life = Life(tmp_path, conduct, clock, train_to_the_last_moment)
    life.step("create", "one")
    life.queue.add(TuningJob.pb(TuningJob(name=NEXT)), over_quota=None, choose=lambda: None)
    clock.advance(60)
    (first,) = (one.name for one in life.queue.records() if one.name != NEXT)
    ended = life.queue.wait_for(first, ENDED, TIMEOUT_S)
    life.queue.stop()
    clock.advance(600)
    again = JobQueue(JobStore(tmp_path), train, conduct, clock)
    again.start()
    later = again.wait_for(NEXT, ENDED, TIMEOUT_S)
    again.stop()
    assert ended.state == later.state == JobState.JOB_STATE_SUCCEEDED
    assert instant(later.start_time) == instant(ended.end_time)
