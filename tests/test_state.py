"""The state and the next action follow from the facts alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import AttemptFacts, Event, Facts, RunFacts, Target
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from orchestrator.state import Action, RunState, status
from tests.plans import router_plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAGED = Event("staged", NOW)
ATTEMPT = "run-tune-1"


def facts(
    folder: Path,
    *events: Event,
    snapshot: Snapshot | None = None,
    launched: bool = True,
    repo: str | None = "me/adapter",
) -> Facts:
    target = Target("vertex", "project", "us-central1", "gs://bucket", repo)
    run = RunFacts("run", router_plan(folder).plan, 1, target, "data", NOW)
    attempt = AttemptFacts(
        ATTEMPT, AttemptKind.TUNE, 1, "orc-1", NOW, NOW, Handle("vertex", "jobs/1"), NOW,
        snapshot=snapshot,
    )  # fmt: skip
    return Facts(run, (attempt,) if launched else (), events, ())


def snapshot(state: AttemptState, raw: str = "RAW") -> Snapshot:
    return Snapshot(state, raw, error="it broke" if state is AttemptState.FAILED else None)


def event(kind: str, **data: Any) -> Event:
    return Event(kind, NOW, data, ATTEMPT)


DONE_WELL = snapshot(AttemptState.SUCCEEDED)
COLLECTED = event("collected")
CHECKED = event("adapter_checked", problems=[])


@pytest.mark.parametrize(
    ("events", "news", "state", "action"),
    [
        ([], None, RunState.PLANNED, Action.STAGE),
        ([STAGED], None, RunState.QUEUED, Action.INSPECT),
        ([STAGED], snapshot(AttemptState.QUEUED), RunState.QUEUED, Action.INSPECT),
        ([STAGED], snapshot(AttemptState.RUNNING), RunState.RUNNING, Action.INSPECT),
        ([STAGED], snapshot(AttemptState.UNKNOWN), RunState.RUNNING, Action.INSPECT),
        ([STAGED], snapshot(AttemptState.FAILED), RunState.FAILED, Action.DONE),
        ([STAGED], snapshot(AttemptState.CANCELLED), RunState.CANCELLED, Action.DONE),
        ([STAGED], snapshot(AttemptState.PARTIAL), RunState.HELD, Action.DONE),
        ([STAGED], DONE_WELL, RunState.RUNNING, Action.COLLECT),
        ([STAGED, COLLECTED], DONE_WELL, RunState.COLLECTED, Action.CHECK_ADAPTER),
        ([STAGED, COLLECTED, CHECKED], DONE_WELL, RunState.COLLECTED, Action.PUBLISH),
        (
            [STAGED, event("nothing_collected", reason="empty")],
            DONE_WELL,
            RunState.FAILED,
            Action.DONE,
        ),
        (
            [STAGED, COLLECTED, event("adapter_checked", problems=["NaN"])],
            DONE_WELL,
            RunState.FAILED,
            Action.DONE,
        ),
        (
            [STAGED, COLLECTED, CHECKED, event("publish_held", reason="moved")],
            DONE_WELL,
            RunState.HELD,
            Action.DONE,
        ),
        (
            [STAGED, COLLECTED, CHECKED, event("published")],
            DONE_WELL,
            RunState.PUBLISHED,
            Action.DONE,
        ),
    ],
)
def test_each_fact_leads_to_its_state_and_action(
    events: list[Event], news: Snapshot | None, state: RunState, action: Action, tmp_path: Path
) -> None:
    found = status(facts(tmp_path, *events, snapshot=news), NOW)
    assert (found.state, found.action) == (state, action)


def test_a_staged_run_without_an_attempt_is_launched(tmp_path: Path) -> None:
    found = status(facts(tmp_path, STAGED, launched=False), NOW)
    assert (found.state, found.action) == (RunState.STAGED, Action.LAUNCH)


def test_a_state_that_nobody_knows_is_named(tmp_path: Path) -> None:
    found = status(facts(tmp_path, STAGED, snapshot=snapshot(AttemptState.UNKNOWN, "NEW_ONE")), NOW)
    assert "NEW_ONE" in found.reason


def test_a_run_that_is_not_to_be_published_ends_collected(tmp_path: Path) -> None:
    given = facts(tmp_path, STAGED, COLLECTED, CHECKED, snapshot=DONE_WELL, repo=None)
    found = status(given, NOW)
    assert (found.state, found.action) == (RunState.COLLECTED, Action.DONE)


def test_what_was_collected_from_an_earlier_attempt_does_not_count(tmp_path: Path) -> None:
    earlier = Event("collected", NOW, {}, "run-tune-0")
    found = status(facts(tmp_path, STAGED, earlier, snapshot=DONE_WELL), NOW)
    assert found.action is Action.COLLECT
