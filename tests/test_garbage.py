"""What may go follows from facts and listings; what a run may still need never does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.garbage import (
    Category,
    Garbage,
    LocalEntry,
    RunRecord,
    candidate_garbage,
    is_needed,
    local_garbage,
    output_garbage,
    staged_garbage,
)
from orchestrator.ledger import AttemptFacts, Event, Facts, RunFacts, Target
from orchestrator.services.base import AttemptKind, Handle
from orchestrator.state import Action, RunState, Status
from orchestrator.stores.base import StoredObject
from tests.plans import router_plan

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=90)
ROOT = "gs://bucket/folder"
RUN = "20260301-aaaaaaaa-bbbbbb"
ATTEMPT = f"{RUN}-tune-1"

ENDED = [
    Status(RunState.PUBLISHED, Action.DONE),
    Status(RunState.COLLECTED, Action.DONE),
    Status(RunState.FAILED, Action.DONE),
    Status(RunState.CANCELLED, Action.DONE),
]
NEEDED = [
    Status(RunState.PLANNED, Action.STAGE),
    Status(RunState.STAGED, Action.LAUNCH),
    Status(RunState.STAGED, Action.WAIT),
    Status(RunState.SUBMITTING, Action.FIND),
    Status(RunState.QUEUED, Action.INSPECT),
    Status(RunState.RUNNING, Action.INSPECT),
    Status(RunState.COLLECTED, Action.PUBLISH),
    Status(RunState.HELD, Action.DONE),
    Status(RunState.HELD, Action.INSPECT),
    Status(RunState.UNCERTAIN, Action.DONE),
]


def record(
    folder: Path, found: Status, *, run: str = RUN, collected: bool = True, at: datetime = LONG_AGO
) -> RunRecord:
    target = Target("vertex", "project", "us-central1", ROOT, "me/adapter")
    facts = RunFacts(run, router_plan(folder).plan, 1, target, "data", LONG_AGO)
    attempt_id = f"{run}-tune-1"
    attempt = AttemptFacts(
        attempt_id, AttemptKind.TUNE, 1, "orc-1", LONG_AGO, LONG_AGO, Handle("vertex", "jobs/1")
    )
    events = [Event("staged", LONG_AGO)]
    events += [Event("collected", at, {}, attempt_id)] if collected else []
    return RunRecord(Facts(facts, (attempt,), tuple(events), ()), found)


def stored(name: str, at: datetime | None = LONG_AGO) -> StoredObject:
    return StoredObject(f"{ROOT}/{name}", 1000, "AAAA", 7, at)


def staged_names(record: RunRecord) -> list[str]:
    return [f"staged/{split.sha256}.jsonl" for split in record.facts.run.plan.splits if split.rows]


def entry(path: str, *, age: timedelta = timedelta(days=60), finished: bool = False) -> LocalEntry:
    return LocalEntry(Path(path), 500, NOW - age, finished)


def local(runs: list[RunRecord], *entries: LocalEntry) -> list[Garbage]:
    return list(local_garbage(runs, entries, NOW))


@pytest.mark.parametrize("found", ENDED)
def test_rows_of_runs_that_have_ended_may_go(found: Status, tmp_path: Path) -> None:
    run = record(tmp_path, found)
    objects = [stored(name) for name in staged_names(run)]
    items = list(staged_garbage([run], ROOT, objects))
    assert [item.objects for item in items] == [(one,) for one in objects]
    assert all(item.run_ids == (RUN,) and item.in_ledger for item in items)


@pytest.mark.parametrize("found", NEEDED)
def test_nothing_goes_that_a_run_may_still_need(found: Status, tmp_path: Path) -> None:
    run = record(tmp_path, found)
    digest = run.facts.run.plan.digest
    assert not list(staged_garbage([run], ROOT, [stored(name) for name in staged_names(run)]))
    assert not list(output_garbage([run], ROOT, [stored(f"outputs/{ATTEMPT}/a/x.bin")]))
    entries = [f"data/{digest}", f"runs/{RUN}/collected", f"runs/{RUN}/collected.partial"]
    assert local([run], *map(entry, entries)) == []


def test_rows_that_an_ended_and_a_waiting_run_share_stay(tmp_path: Path) -> None:
    ended = record(tmp_path, ENDED[0])
    waiting = record(tmp_path, NEEDED[1], run="20260302-aaaaaaaa-cccccc")
    objects = [stored(name) for name in staged_names(ended)]
    assert not list(staged_garbage([ended, waiting], ROOT, objects))
    assert local([ended, waiting], entry(f"data/{ended.facts.run.plan.digest}")) == []


@pytest.mark.parametrize(
    "name",
    [
        "staged/notes.txt",
        f"staged/{'a' * 64}.csv",
        f"staged/{'A' * 64}.jsonl",
        f"staged/{'a' * 63}.jsonl",
        f"staged/deeper/{'a' * 64}.jsonl",
        f"staged/{'a' * 64}.jsonl.bak",
        f"other/staged/{'a' * 64}.jsonl",
        "outputs/mine/x.bin",
        f"outputs/{RUN}/x.bin",
        f"outputs/{RUN}-generate-1/x.bin",
        f"outputs/{ATTEMPT}",
        f"outputs/{ATTEMPT}/",
        f"backup/outputs/{ATTEMPT}/x.bin",
    ],
)
def test_a_name_that_is_not_of_our_layout_is_never_listed(name: str, tmp_path: Path) -> None:
    runs = [record(tmp_path, ENDED[0])]
    objects = [stored(name)]
    assert list(staged_garbage(runs, ROOT, objects)) == []
    assert list(output_garbage(runs, ROOT, objects)) == []


def test_objects_beside_the_root_are_not_below_it(tmp_path: Path) -> None:
    name = f"{ROOT}2/staged/{'a' * 64}.jsonl"
    assert list(staged_garbage([], ROOT, [StoredObject(name, 1, "AAAA", 1, LONG_AGO)])) == []


def test_what_no_run_names_is_told_apart(tmp_path: Path) -> None:
    (staged,) = staged_garbage([], ROOT, [stored(f"staged/{'a' * 64}.jsonl")])
    (output,) = output_garbage([], ROOT, [stored(f"outputs/{ATTEMPT}/x.bin")])
    (data,) = local([], entry(f"data/{'a' * 64}"))
    for item in (staged, output, data):
        assert not item.in_ledger
        assert item.reason == "no run of this ledger names it"
    assert local([], entry(f"runs/{RUN}/collected")) == []


def test_the_outputs_of_a_job_are_one_thing_with_all_its_objects(tmp_path: Path) -> None:
    objects = [stored(f"outputs/{ATTEMPT}/{name}") for name in ("a/x.bin", "executor/stdout")]
    (item,) = output_garbage([record(tmp_path, ENDED[0])], ROOT, objects)
    assert item.objects == tuple(objects)
    assert (item.name, item.size_bytes) == (f"{ROOT}/outputs/{ATTEMPT}/", 2000)


def test_outputs_that_were_never_collected_stay(tmp_path: Path) -> None:
    objects = [stored(f"outputs/{ATTEMPT}/x.bin")]
    for found in (Status(RunState.FAILED, Action.DONE), Status(RunState.CANCELLED, Action.DONE)):
        assert list(output_garbage([record(tmp_path, found, collected=False)], ROOT, objects)) == []
    earlier = stored(f"outputs/{RUN}-tune-2/x.bin")
    assert list(output_garbage([record(tmp_path, ENDED[0])], ROOT, [earlier])) == []


def test_downloads_go_only_once_their_adapter_is_published(tmp_path: Path) -> None:
    published, *others = (record(tmp_path, found) for found in ENDED)
    (item,) = local([published], entry(f"runs/{RUN}/collected"))
    assert item.category is Category.COLLECTED
    for run in others:
        assert local([run], entry(f"runs/{RUN}/collected")) == []
    assert local([published], entry(f"runs/{RUN}/collected.partial"))[0].category is Category.PARTS


def test_age_counts_from_the_last_use(tmp_path: Path) -> None:
    yesterday = NOW - timedelta(days=1)
    run = record(tmp_path, ENDED[0], at=yesterday)
    items = list(staged_garbage([run], ROOT, [stored(name) for name in staged_names(run)]))
    assert {item.since for item in items} == {yesterday}
    (written_later,) = staged_garbage(
        [record(tmp_path, ENDED[0])], ROOT, [stored(staged_names(run)[0], NOW)]
    )
    assert written_later.since == NOW
    (ageless,) = staged_garbage([], ROOT, [stored(f"staged/{'a' * 64}.jsonl", None)])
    assert ageless.since > NOW + timedelta(days=10_000)


def test_that_something_was_removed_is_no_use_of_a_run(tmp_path: Path) -> None:
    run = record(tmp_path, ENDED[0])
    removed = Event("removed", NOW)
    facts = Facts(run.facts.run, run.facts.attempts, (*run.facts.events, removed), ())
    assert RunRecord(facts, run.status).last_at == LONG_AGO


@pytest.mark.parametrize(
    "path", [f"data/{'a' * 64}", "data/.partial-xyz", "logs/bug-1.log", "rehearsals/x"]
)
def test_what_was_touched_a_moment_ago_may_be_in_the_making(path: str, tmp_path: Path) -> None:
    young, old = timedelta(minutes=59), timedelta(hours=25)
    assert local([], entry(path, age=young, finished=True)) == []
    assert len(local([], entry(path, age=old))) == 1


def test_a_rehearsal_without_a_result_may_be_running(tmp_path: Path) -> None:
    hours = timedelta(hours=23)
    assert local([], entry("rehearsals/x", age=hours)) == []
    (ended,) = local([], entry("rehearsals/x", age=hours, finished=True))
    assert ended.reason == "has come to its end"
    (left,) = local([], entry("rehearsals/x", age=timedelta(hours=25)))
    assert left.reason == "was interrupted"


def test_a_run_that_was_added_meanwhile_keeps_what_it_names(tmp_path: Path) -> None:
    run = record(tmp_path, NEEDED[0])
    ended = record(tmp_path, ENDED[0])
    objects = [stored(name) for name in staged_names(ended)]
    items = [
        *staged_garbage([ended], ROOT, objects),
        *local([ended], entry(f"data/{ended.facts.run.plan.digest}")),
    ]
    assert len(items) == len(objects) + 1
    assert all(is_needed(item, [run]) for item in items)
    assert not any(is_needed(item, [ended]) for item in items)
    (other,) = staged_garbage([], ROOT, [stored(f"staged/{'a' * 64}.jsonl")])
    assert not is_needed(other, [run])


def offered(record: RunRecord, revision: str = "c" * 40) -> RunRecord:
    """The same, with a candidate in a private repo."""
    data = {"repo": "me/adapter-candidates", "branch": f"candidate-{ATTEMPT}", "revision": revision}
    event = Event("candidate", LONG_AGO, data, ATTEMPT)
    facts = replace(record.facts, events=(*record.facts.events, event))
    return replace(record, facts=facts)


def test_of_candidates_only_those_that_were_published_may_go(tmp_path: Path) -> None:
    for found in ENDED + NEEDED:
        listed = list(candidate_garbage([offered(record(tmp_path, found))]))
        assert bool(listed) == (found.state is RunState.PUBLISHED), found
    (item,) = candidate_garbage([offered(record(tmp_path, ENDED[0]))])
    assert item.name == f"hf://models/me/adapter-candidates@candidate-{ATTEMPT}"
    assert item.run_ids == (RUN,)


def test_a_candidate_that_another_run_has_adopted_stays(tmp_path: Path) -> None:
    made = offered(record(tmp_path, ENDED[0]))
    other = record(tmp_path, Status(RunState.HELD, Action.DONE), run=f"{RUN[:-1]}c")
    handle = Handle("adopted", f"hf://models/me/adapter-candidates@{'c' * 40}")
    attempt = replace(other.facts.attempts[0], handle=handle)
    other = replace(other, facts=replace(other.facts, attempts=(attempt,)))
    assert list(candidate_garbage([made, other])) == []
