"""The ledger: runs, leases, guarded writes, migrations."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.errors import InputError, LedgerError
from orchestrator.ledger import Artifact, DamagedRun, Ledger, Metric, Target
from orchestrator.ledger import lease as lease_module
from orchestrator.ledger.lease import is_dead, new_owner
from orchestrator.ledger.schema import HEAD
from orchestrator.ledger.tables import metadata
from orchestrator.services.base import AttemptKind, AttemptState, Handle, Snapshot
from tests.manual_clock import ManualClock
from tests.plans import router_plan

TARGET = Target("vertex", "project", "us-central1", "gs://bucket", "me/adapter")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str, clock: ManualClock) -> Ledger:
    return Ledger(url, clock)


def add(ledger: Ledger, folder: Path, *, again: bool = False) -> str:
    return ledger.add_run(router_plan(folder).plan, TARGET, folder, again=again).id


def test_the_same_plan_gives_the_same_run_unless_asked_for_another(
    ledger: Ledger, tmp_path: Path
) -> None:
    first = add(ledger, tmp_path)
    assert add(ledger, tmp_path) == first
    second = add(ledger, tmp_path, again=True)
    assert second != first
    assert [ledger.facts(run).run.ordinal for run in (first, second)] == [1, 2]
    assert add(ledger, tmp_path) == second


def test_facts_read_back_what_was_recorded(
    ledger: Ledger, tmp_path: Path, clock: ManualClock
) -> None:
    prepared = router_plan(tmp_path)
    run = ledger.add_run(prepared.plan, TARGET, tmp_path, again=False)
    deadline = clock.now() + timedelta(seconds=60)
    snapshot = Snapshot(
        AttemptState.FAILED, "JOB_STATE_EXPIRED", started_at=clock.now(), error="too late"
    )
    with ledger.lease(run.id) as lease:
        assert lease is not None
        attempt = lease.record_intent(
            kind=AttemptKind.TUNE, ordinal=1, token="orc-1", deadline_at=deadline
        )
        lease.record_handle(attempt, Handle("vertex", "jobs/1"), adopted=False)
        lease.record_snapshot(attempt, snapshot)
        lease.record_artifacts([Artifact("staged", "train", "gs://b/t", 3, "ab")], "staged", {})
        lease.record_metrics(attempt, [Metric("loss", 1, 2.5, 0.5), Metric("loss", 2, 2.0)])
    facts = ledger.facts(run.id)
    assert facts.run.plan == prepared.plan
    assert facts.run.target == TARGET
    assert facts.tune is not None
    assert facts.tune.handle == Handle("vertex", "jobs/1")
    assert facts.tune.deadline_at == deadline
    assert facts.tune.snapshot == snapshot
    assert facts.tune.is_over
    assert facts.artifacts_of("staged")["train"].uri == "gs://b/t"
    assert [event.kind for event in facts.events] == ["intent", "launched", "snapshot", "staged"]
    assert ledger.metrics(run.id) == [Metric("loss", 1, 2.5, 0.5), Metric("loss", 2, 2.0)]


def test_an_attempt_that_went_on_takes_the_place_of_an_earlier_one_in_the_metrics(
    ledger: Ledger, tmp_path: Path, clock: ManualClock
) -> None:
    run = add(ledger, tmp_path)
    series = {
        1: [Metric("loss", step, 1.0) for step in (1, 2, 3, 4)],
        2: [Metric("loss", step, 2.0) for step in (3, 4, 5)],
        3: [Metric("loss", 4, 3.0)],
    }
    with ledger.lease(run) as lease:
        assert lease is not None
        for ordinal, points in series.items():
            attempt = lease.record_intent(
                kind=AttemptKind.TUNE, ordinal=ordinal, token=f"{ordinal}", deadline_at=clock.now()
            )
            lease.record_metrics(attempt, points)
    found = [(point.step, point.value) for point in ledger.metrics(run)]
    assert found == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 3.0)]


def test_a_leased_run_is_not_given_to_a_second_pass(ledger: Ledger, tmp_path: Path) -> None:
    run = add(ledger, tmp_path)
    with ledger.lease(run) as first:
        assert first is not None
        with ledger.lease(run) as second:
            assert second is None
    with ledger.lease(run) as third:
        assert third is not None


def test_an_expired_lease_is_taken_over_and_its_old_holder_cannot_write(
    ledger: Ledger, tmp_path: Path, clock: ManualClock
) -> None:
    run = add(ledger, tmp_path)
    with ledger.lease(run, duration_s=100) as slow:
        assert slow is not None
        clock.advance(101)
        assert not slow.is_held_for(0)
        with ledger.lease(run) as quick:
            assert quick is not None
            with pytest.raises(LedgerError, match="another pass took over"):
                slow.add_event("late")
            quick.add_event("mine")
    assert [event.kind for event in ledger.facts(run).events] == ["mine"]


def test_every_write_renews_the_lease(ledger: Ledger, tmp_path: Path, clock: ManualClock) -> None:
    run = add(ledger, tmp_path)
    with ledger.lease(run, duration_s=100) as lease:
        assert lease is not None
        clock.advance(60)
        lease.renew()
        clock.advance(60)
        assert lease.is_held_for(30)
        assert not lease.is_held_for(41)


def test_a_long_step_that_writes_nothing_keeps_its_lease(
    ledger: Ledger, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(ledger, tmp_path)
    with ledger.lease(run, duration_s=0.1) as lease:
        assert lease is not None
        renewed, renew = threading.Event(), lease.renew

        def told() -> None:
            renew()
            renewed.set()

        monkeypatch.setattr(lease, "renew", told)
        with lease.kept():
            clock.advance(0.09)
            assert renewed.wait(10)
        clock.advance(0.09)
        assert lease.is_held_for(0)
        lease.add_event("done")
        # A lease that was lost is told by the next write, whatever the thread saw of it.
        clock.advance(1)
        with ledger.lease(run) as other:
            assert other is not None
            renewed.clear()
            with lease.kept():
                assert not renewed.wait(0.05)
            with pytest.raises(LedgerError, match="another pass took over"):
                lease.add_event("late")


def test_the_lease_of_a_dead_process_is_free_at_once(url: str, tmp_path: Path) -> None:
    run = add(Ledger(url), tmp_path)
    script = (
        "import os; from orchestrator.ledger import Ledger\n"
        f"lease = Ledger({url!r}).lease({run!r}); assert lease.__enter__()\n"
        "os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 9
    with Ledger(url).lease(run) as lease:
        assert lease is not None


def test_a_process_number_that_was_given_to_another_process_counts_as_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = new_owner()
    assert not is_dead(owner)
    monkeypatch.setattr(lease_module, "_started", lambda _pid: "another start")
    assert is_dead(owner)


def test_the_lease_of_another_machine_is_never_called_dead() -> None:
    machine, *rest = new_owner().split("/")
    assert not is_dead("/".join([machine + "x", *rest]))


def _race(url: str, folder: str, start: object, results: object) -> None:
    ledger = Ledger(url)
    plan = router_plan(Path(folder)).plan
    start.wait()  # type: ignore[attr-defined]
    results.put(ledger.add_run(plan, TARGET, Path(folder), again=False).id)  # type: ignore[attr-defined]


def test_processes_that_add_one_plan_at_once_get_one_run(url: str, tmp_path: Path) -> None:
    Ledger(url)
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    processes = [
        context.Process(target=_race, args=(url, str(folder), start, results)) for folder in folders
    ]
    for process in processes:
        process.start()
    start.set()
    ids = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(ids) == 1


def test_finished_runs_are_left_out_of_later_polls(ledger: Ledger, tmp_path: Path) -> None:
    run = add(ledger, tmp_path)
    assert ledger.run_ids(unfinished_only=True) == [run]
    with ledger.lease(run) as lease:
        assert lease is not None
        lease.finished = True
    assert ledger.run_ids(unfinished_only=True) == []
    assert ledger.run_ids() == [run]


def test_a_run_is_found_by_the_ends_of_its_id_and_by_name(ledger: Ledger, tmp_path: Path) -> None:
    run = add(ledger, tmp_path)
    for name in (run, run[:12], run.rpartition("-")[2], "router-llama-3.1-8b"):
        assert ledger.resolve_id(name) == run
    with pytest.raises(InputError, match="there is no run nothing") as caught:
        ledger.resolve_id("nothing")
    assert run in caught.value.hint


def test_an_ambiguous_beginning_names_the_candidates(ledger: Ledger, tmp_path: Path) -> None:
    runs = [add(ledger, tmp_path), add(ledger, tmp_path, again=True)]
    with pytest.raises(InputError, match="names 2 runs") as caught:
        ledger.resolve_id(runs[0][:8])
    assert all(run in caught.value.hint for run in runs)


def test_migrations_lead_to_exactly_the_tables_that_the_code_uses(ledger: Ledger, url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    engine.dispose()
    folder = Path(lease_module.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD


def test_alembic_is_imported_only_when_the_schema_is_behind(url: str) -> None:
    Ledger(url)
    script = (
        f"import sys; from orchestrator.ledger import Ledger; Ledger({url!r}); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    Ledger(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(LedgerError, match="schema 9999"):
        Ledger(url)
    engine.dispose()


def test_a_ledger_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_text("this is not a database, and long enough to be one " * 20)
    with pytest.raises(LedgerError, match="cannot use the ledger"):
        Ledger(f"sqlite:///{file}")


def test_an_unusable_url_says_how_to_write_one() -> None:
    for url in ("nonsense", "nosuch://x/y"):
        with pytest.raises(InputError, match="ORCHESTRATOR_LEDGER"):
            Ledger(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the folder"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_a_commit_survives_the_death_of_its_process(url: str, tmp_path: Path) -> None:
    run = add(Ledger(url), tmp_path)
    script = (
        "import os; from orchestrator.ledger import Ledger\n"
        f"held = Ledger({url!r}).lease({run!r}); lease = held.__enter__()\n"
        "lease.add_event('said'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert [event.kind for event in Ledger(url).facts(run).events] == ["said"]


def test_naive_instants_are_refused(ledger: Ledger, tmp_path: Path, clock: ManualClock) -> None:
    run = add(ledger, tmp_path)
    with ledger.lease(run) as lease:
        assert lease is not None
        with pytest.raises(sa.exc.StatementError, match="aware"):
            lease.record_intent(
                kind=AttemptKind.TUNE,
                ordinal=1,
                token="t",
                deadline_at=clock.now().replace(tzinfo=None),
            )
    assert ledger.facts(run).attempts == ()


DAMAGES = [
    "update runs set plan = '{}'",
    "update runs set plan = '{nojson'",
    "update runs set target = '{\"a\": 1}'",
    "update runs set created_at = 'yesterday'",
    'update attempts set snapshot = \'{"state": "X"}\'',
    "update attempts set handle = '{\"a\": 1}'",
    "update attempts set kind = 'dance'",
    "update events set data = '5'",
]


def launched(ledger: Ledger, folder: Path, clock: ManualClock) -> str:
    run = add(ledger, folder)
    with ledger.lease(run) as lease:
        assert lease is not None
        attempt = lease.record_intent(
            kind=AttemptKind.TUNE, ordinal=1, token="orc-1", deadline_at=clock.now()
        )
        lease.record_handle(attempt, Handle("vertex", "jobs/1"), adopted=False)
    return run


def change(url: str, statement: str, *values: str) -> None:
    """Change the database behind the program's back."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert connection.execute(statement, values).rowcount != 0
    connection.commit()
    connection.close()


@pytest.mark.parametrize("statement", DAMAGES)
def test_a_record_that_was_damaged_names_its_run(
    ledger: Ledger, url: str, tmp_path: Path, clock: ManualClock, statement: str
) -> None:
    run = launched(ledger, tmp_path, clock)
    change(url, statement)
    with pytest.raises(DamagedRun, match=f"record of run {run} is damaged"):
        ledger.facts(run)


def test_a_lease_whose_owner_cannot_be_understood_ends_by_its_time(
    ledger: Ledger, url: str, tmp_path: Path, clock: ManualClock
) -> None:
    run = add(ledger, tmp_path)
    until = clock.now() + timedelta(seconds=60)
    owned = "update runs set lease_owner = 'x', lease_expires_at = ?"
    change(url, owned, f"{until:%Y-%m-%d %H:%M:%S}")
    with ledger.lease(run) as lease:
        assert lease is None
    clock.advance(61)
    with ledger.lease(run) as lease:
        assert lease is not None


def test_a_run_that_is_gone_is_an_error_of_the_ledger(ledger: Ledger) -> None:
    for ask in (ledger.facts, lambda run: ledger.lease(run).__enter__()):
        with pytest.raises(LedgerError, match="no run nothing"):
            ask("nothing")


def test_a_file_that_is_damaged_while_it_is_used_is_named(
    ledger: Ledger, url: str, tmp_path: Path
) -> None:
    run = add(ledger, tmp_path)
    ledger.close()
    file = Path(url.removeprefix("sqlite:///"))
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(LedgerError, match=re.escape(file.name)) as caught:
        ledger.facts(run)
    assert "damaged" in caught.value.hint


def test_a_ledger_that_may_only_be_read_is_read_and_says_that_it_cannot_be_written(
    ledger: Ledger, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(ledger, tmp_path)
    file = url.removeprefix("sqlite:///")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    only_read = Ledger(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert only_read.facts(run).run.id == run
    with pytest.raises(LedgerError, match="readonly"), only_read.lease(run):
        pass
    assert list(here.iterdir()) == []


def test_reading_waits_for_no_writer(ledger: Ledger, url: str, tmp_path: Path) -> None:
    run = add(ledger, tmp_path)
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("begin immediate")
    other = Ledger(url)
    assert other.facts(run).run.id == run
    assert other.run_ids() == [run]
    other.close()
    writer.close()


def test_an_empty_name_is_no_run(ledger: Ledger, tmp_path: Path) -> None:
    add(ledger, tmp_path)
    with pytest.raises(InputError, match="empty"):
        ledger.resolve_id("")


def test_many_candidates_are_not_all_listed(ledger: Ledger, tmp_path: Path) -> None:
    runs = [add(ledger, tmp_path, again=True) for _ in range(7)]
    with pytest.raises(InputError, match="names 7 runs") as caught:
        ledger.resolve_id(runs[0][:8])
    assert sum(run in caught.value.hint for run in runs) == 5
    assert "and others" in caught.value.hint
