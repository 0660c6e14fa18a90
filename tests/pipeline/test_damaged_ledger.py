"""A ledger that was damaged: one message, and the runs that are whole go on."""

from __future__ import annotations

import json
import sqlite3

import pytest

from orchestrator.errors import LedgerError
from orchestrator.ledger import DamagedRun, Lease
from orchestrator.state import Action, RunState
from tests.pipeline.bench import Bench
from tests.plans import router_plan


def add_damaged(bench: Bench) -> str:
    """An unfinished run whose plan nobody can read."""
    run, _ = bench.pipeline().submit(router_plan(bench.folder, rows=22), again=False)
    connection = sqlite3.connect(bench.settings.home / "ledger.db")
    connection.execute("update runs set plan = '{}' where id = ?", (run.id,))
    connection.commit()
    connection.close()
    return run.id


def test_a_damaged_run_does_not_keep_the_others_from_going_on(bench: Bench) -> None:
    damaged = add_damaged(bench)
    good = bench.submit()
    bench.sandbox.vertex.wait_until_ended(bench.sandbox.vertex.jobs()[0].name)
    outcomes = {outcome.run_id: outcome for outcome in bench.pipeline().poll()}
    assert outcomes[good].status.state is RunState.PUBLISHED
    held = outcomes[damaged]
    assert (held.status.state, held.status.action) == (RunState.HELD, Action.DONE)
    assert isinstance(held.error, DamagedRun)
    assert held.bug is None
    assert bench.ledger.run_ids(unfinished_only=True) == [damaged]


def test_every_command_names_the_damaged_run_and_calls_it_no_bug(bench: Bench) -> None:
    damaged = add_damaged(bench)
    assert bench.process(["runs"]).stdout == ""
    good = bench.submit()
    codes = {}
    for command in (["runs"], ["show", damaged], ["cancel", damaged, "--yes"], ["gc"], ["poll"]):
        done = bench.process(command)
        codes[command[0]] = done.returncode
        assert f"record of run {damaged} is damaged" in done.stderr
        assert "bug" not in done.stderr
        if command == ["runs"]:
            assert good in done.stdout
    assert codes == {"runs": 1, "show": 1, "cancel": 1, "gc": 1, "poll": 0}
    watched = bench.process(["poll", damaged, "--watch"])
    assert (watched.returncode, watched.stdout) == (1, "")
    document = json.loads(bench.process(["poll", damaged, "--json"]).stdout)
    assert [line["state"] for line in document] == ["HELD"]


def test_nothing_is_published_on_the_word_of_a_damaged_event(bench: Bench) -> None:
    run = bench.submit()
    bench.finish(run)
    connection = sqlite3.connect(bench.settings.home / "ledger.db")
    connection.execute("delete from events where kind = 'published'")
    connection.execute("update events set data = '{}' where kind = 'adapter_checked'")
    connection.execute("update runs set finished_at = null")
    connection.commit()
    connection.close()
    (outcome,) = bench.pipeline().poll()
    assert outcome.status.state is RunState.HELD
    assert "adapter_checked has no problems" in str(outcome.error)
    assert bench.process(["runs"]).returncode == 1


def test_a_ledger_that_cannot_be_written_for_a_moment_is_no_bug(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LedgerError("cannot use the ledger: disk is full")

    run = bench.submit()
    release = Lease.release
    monkeypatch.setattr(Lease, "release", fail)
    (outcome,) = bench.pipeline().poll()
    assert "disk is full" in str(outcome.error)
    assert outcome.bug is None
    monkeypatch.setattr(Lease, "release", release)
    bench.clock.advance(301)
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(bench.sandbox.vertex.jobs()) == 1
