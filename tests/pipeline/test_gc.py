"""Cleaning up against the sandbox: what is listed goes, and nothing else."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run as orchestrator
from orchestrator.connections import Connections
from orchestrator.errors import Ambiguous, Conflict, LedgerError
from orchestrator.garbage import Category, Garbage
from orchestrator.ledger import Target
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from orchestrator.state import Action, RunState
from orchestrator.stores.base import ObjectStore
from orchestrator.stores.gcs import GcsStore
from orchestrator.sweeping import Survey, Sweeper
from tests.pipeline.bench import Bench
from tests.plans import router_plan


@pytest.fixture
def late(bench: Bench) -> Bench:
    """The bench, a year after everything in it was written by whatever clock."""
    bench.clock.set(datetime.now(UTC))
    return bench


def sweeper(bench: Bench) -> Sweeper:
    return Sweeper(
        bench.settings, bench.ledger, Connections(bench.settings, bench.clock), bench.clock
    )


def survey(bench: Bench, *, others: bool = False) -> tuple[Sweeper, Survey]:
    made = sweeper(bench)
    bench.clock.advance(timedelta(days=40).total_seconds())
    return made, made.survey(older_than=timedelta(days=30), others=others)


def store(bench: Bench) -> ObjectStore:
    return GcsStore("sandbox", bench.settings.storage_endpoint)


def names(bench: Bench) -> list[str]:
    """The objects in the bucket, below its root."""
    root = f"{bench.settings.bucket}/"
    return [one.uri.removeprefix(root) for one in store(bench).list(root)]


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(bench: Bench, name: str, content: bytes = b"x") -> None:
    file = bench.folder / "to-be-put"
    file.write_bytes(content)
    store(bench).put(file, f"{bench.settings.bucket}/{name}")


def by_category(found: Survey) -> dict[Category, list[Garbage]]:
    return {
        category: [item for item in found.items if item.category is category]
        for category in Category
        if any(item.category is category for item in found.items)
    }


def finished(bench: Bench) -> str:
    run = bench.submit()
    assert bench.finish(run).status.state is RunState.PUBLISHED
    return run


def test_a_published_run_leaves_rows_outputs_and_downloads_and_keeps_its_adapter(
    late: Bench,
) -> None:
    run = finished(late)
    made, found = survey(late)
    listed = by_category(found)
    assert {category: len(items) for category, items in listed.items()} == {
        Category.STAGED: 2,
        Category.OUTPUTS: 1,
        Category.DATA: 1,
        Category.COLLECTED: 1,
    }
    held = sum(one.size_bytes for one in store(late).list(f"{late.settings.bucket}/"))
    in_bucket = [*listed[Category.STAGED], *listed[Category.OUTPUTS]]
    assert sum(item.size_bytes for item in in_bucket) == held
    for item in found.items:
        made.remove(item)
    assert names(late) == []
    assert inside(late.settings.home / "data") == []
    assert inside(late.settings.home / "runs" / run) == ["adapter"]
    assert late.pipeline().view(run).status.state is RunState.PUBLISHED
    removed = [event for event in late.facts(run).events if event.kind == "removed"]
    assert {event.data["what"] for event in removed} == {item.name for item in found.items}
    assert late.ledger.run_ids(unfinished_only=True) == []
    assert survey(late)[1].items == ()


def test_the_same_plan_runs_again_after_everything_of_it_was_removed(late: Bench) -> None:
    finished(late)
    made, found = survey(late)
    for item in found.items:
        made.remove(item)
    pipeline = late.pipeline()
    second, _ = pipeline.submit(router_plan(late.folder), again=True)
    pipeline.advance(second.id)
    assert late.finish(second.id).status.state is RunState.PUBLISHED


def test_a_run_that_waits_keeps_all_that_it_shares_with_one_that_has_ended(late: Bench) -> None:
    first = finished(late)
    pipeline = late.pipeline()
    second, _ = pipeline.submit(router_plan(late.folder), again=True)
    _, found = survey(late)
    assert set(by_category(found)) == {Category.OUTPUTS, Category.COLLECTED}
    assert {item.run_ids for item in found.items} == {(first,)}
    pipeline.advance(second.id)
    assert late.finish(second.id).status.state is RunState.PUBLISHED


def test_a_run_added_after_the_survey_keeps_its_rows(late: Bench) -> None:
    finished(late)
    made, found = survey(late)
    pipeline = late.pipeline()
    second, _ = pipeline.submit(router_plan(late.folder), again=True)
    listed = by_category(found)
    for item in [*listed[Category.STAGED], *listed[Category.DATA]]:
        with pytest.raises(LedgerError, match="needed by a run that was added"):
            made.remove(item)
    assert len([name for name in names(late) if name.startswith("staged/")]) == 2
    pipeline.advance(second.id)
    assert late.finish(second.id).status.state is RunState.PUBLISHED


def test_a_folder_of_rows_comes_back_if_a_run_claims_it_at_the_last_moment(
    late: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(late)
    made, found = survey(late)
    (data,) = by_category(found)[Category.DATA]
    rename = Path.rename

    def submit_meanwhile(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        late.ledger.add_run(router_plan(late.folder).plan, *place(late), again=True)
        return self.rename(target)

    monkeypatch.setattr(Path, "rename", submit_meanwhile)
    with pytest.raises(LedgerError):
        made.remove(data)
    folder = late.settings.home / data.name
    assert inside(folder) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    assert inside(late.settings.home / "data") == [folder.name]


def place(bench: Bench) -> tuple[Target, Path]:
    (first, *_) = bench.ledger.run_ids()
    run = bench.facts(first).run
    return run.target, Path(run.data_folder)


def test_an_object_that_was_written_again_is_not_deleted_by_its_old_generation(
    late: Bench,
) -> None:
    finished(late)
    made, found = survey(late)
    item = by_category(found)[Category.STAGED][0]
    (old,) = item.objects
    name = old.uri.removeprefix(f"{late.settings.bucket}/")
    assert store(late).delete(old)
    put(late, name, b"staged anew")
    with pytest.raises(Conflict):
        made.remove(item)
    assert name in names(late)


def test_rows_that_vanished_before_the_launch_are_staged_again(late: Bench) -> None:
    pipeline = late.pipeline()
    run, _ = pipeline.submit(router_plan(late.folder), again=False)
    with late.ledger.lease(run.id) as lease:
        assert lease is not None
        pipeline._actions.perform(Action.STAGE, late.facts(run.id), lease, {})
    for stored in store(late).list(f"{late.settings.bucket}/staged/"):
        store(late).delete(stored)
    assert pipeline.advance(run.id).error is None
    assert late.finish(run.id).status.state is RunState.PUBLISHED


def test_things_of_no_run_are_listed_only_when_asked_for(late: Bench) -> None:
    other = "20250101-aaaaaaaa-bbbbbb-tune-1"
    theirs = [f"outputs/{other}/x.bin", f"staged/{'a' * 64}.jsonl"]
    mine = ["notes.txt", "staged/rows.jsonl", "outputs/mine/x.bin"]
    for name in [*theirs, *mine]:
        put(late, name)
    (late.settings.home / "data" / ("b" * 64)).mkdir(parents=True)
    _, found = survey(late)
    assert (found.items, len(found.others)) == ((), 3)
    made, found = survey(late, others=True)
    assert len(found.items) == 3
    for item in found.items:
        made.remove(item)
    assert names(late) == sorted(mine)
    log = (late.settings.home / "logs" / "gc.log").read_text()
    assert log.count("removed ") == 3
    assert f"staged/{'a' * 64}.jsonl (1 bytes): no run of this ledger names it" in log


def test_links_and_names_of_others_in_the_home_folder_are_not_followed(
    late: Bench, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    for place in ("data", "rehearsals", "runs"):
        (late.settings.home / place).mkdir(parents=True, exist_ok=True)
        (late.settings.home / place / "precious").mkdir()
    (late.settings.home / "data" / ("c" * 64)).symlink_to(precious)
    (late.settings.home / "rehearsals" / f"{'1' * 8}T{'2' * 12}-x").symlink_to(precious)
    _, found = survey(late, others=True)
    assert found.items == ()


def test_a_bucket_that_does_not_answer_does_not_keep_the_rest_from_being_listed(
    late: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[object]:
        raise Ambiguous("no route to the bucket")

    finished(late)
    monkeypatch.setattr(GcsStore, "list", fail)
    _, found = survey(late)
    assert set(by_category(found)) == {Category.DATA, Category.COLLECTED}
    assert "could not look at gs://sandbox-bucket" in found.problems[0]


# ---------------------------------------------------------------------------------- the command


@pytest.fixture
def shell(bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `orchestrator gc` in this process; gives exit code and both streams."""
    for name, value in bench.sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(bench.settings.home))

    def gc(*arguments: str) -> tuple[int, str, str]:
        code = orchestrator(["gc", *arguments])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return gc


def age(folder: Path) -> None:
    """Let files look as if nobody had touched them for a year."""
    then = (datetime.now(UTC) - timedelta(days=365)).timestamp()
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then))


def test_the_command_lists_and_removes_only_with_yes(bench: Bench, shell: Any) -> None:
    rehearsal = bench.settings.home / "rehearsals" / "20250101T120000000000-router"
    rehearsal.mkdir(parents=True)
    (rehearsal / "rehearsal.json").write_text("{}")
    age(rehearsal)
    code, out, err = shell()
    assert code == 0
    assert "rehearsals/20250101T120000000000-router" in out
    assert "has come to its end" in out
    assert "--yes" in err
    assert rehearsal.is_dir()
    code, out, err = shell("--yes", "--json")
    document = json.loads(out)
    assert (code, document["removed_bytes"], document["items"][0]["removed"]) == (0, 2, True)
    assert not rehearsal.exists()
    assert shell() == (0, "nothing to remove\n", "")


def test_the_command_says_what_is_younger_and_takes_other_ages(bench: Bench, shell: Any) -> None:
    bench.clock.set(datetime.now(UTC))
    run = finished(bench)
    code, out, err = shell()
    assert (code, out) == (0, "nothing to remove\n")
    assert "more would be listed if --older-than were less" in err
    code, out, _ = shell("--older-than", "0", "--yes")
    assert code == 0
    assert "removed 3 of 3" in out  # the files of this machine are too fresh
    assert names(bench) == []
    assert (bench.settings.home / "runs" / run / "collected").is_dir()


def test_the_command_names_what_stays_and_exits_1(
    bench: Bench, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = bench.settings.home / "logs"
    logs.mkdir(parents=True)
    (logs / "bug-1.log").write_text("Traceback")
    (logs / "bug-2.log").write_text("Traceback")
    age(logs)
    unlink = Path.unlink

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "bug-1.log":
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    code, out, err = shell("--yes")
    assert code == 1
    assert "logs/bug-1.log stays: " in err
    assert "removed 1 of 2" in out
    assert sorted(path.name for path in logs.glob("bug-*")) == ["bug-1.log"]


def test_a_rehearsal_whose_sandbox_is_served_again_stays(late: Bench) -> None:
    rehearsal = late.settings.home / "rehearsals" / "20250101T120000000000-router"
    rehearsal.mkdir(parents=True)
    (rehearsal / "rehearsal.json").write_text("{}")
    with Sandbox(rehearsal, SandboxOptions(stand_in="replay")):
        age(rehearsal)
        assert survey(late)[1].items == ()
    # So a sandbox leaves it that was killed.
    (rehearsal / "serving.json").write_text(json.dumps({"pid": 2**22 + 1}))
    age(rehearsal)
    (item,) = survey(late)[1].items
    assert item.category is Category.REHEARSALS


@pytest.mark.parametrize("text", ["30", "x", "-1d", "1w", ""])
def test_the_command_refuses_what_is_no_time_span(text: str, shell: Any) -> None:
    code, _, err = shell("--older-than", text)
    assert code == 2
    assert "write 30d, 12h, 45m or 0" in err


def test_what_another_cleaning_up_has_removed_meanwhile_is_no_failure(late: Bench) -> None:
    finished(late)
    one, found = survey(late)
    other = sweeper(late)
    other.survey(older_than=timedelta(days=30), others=False)
    for item in found.items:
        one.remove(item)
    for item in found.items:
        other.remove(item)
    assert names(late) == []


def test_rows_that_a_submission_takes_up_again_are_left_to_it(late: Bench) -> None:
    finished(late)
    made, found = survey(late)
    (data,) = by_category(found)[Category.DATA]
    folder = late.settings.home / data.name
    now = late.clock.now().timestamp()
    os.utime(folder, (now, now))
    with pytest.raises(LedgerError, match="used a moment ago"):
        made.remove(data)
    assert inside(folder) == ["test.jsonl", "train.jsonl", "validation.jsonl"]


def test_a_submission_marks_the_rows_that_it_takes_up_again_as_used(late: Bench) -> None:
    finished(late)
    (folder,) = (late.settings.home / "data").iterdir()
    age(folder)
    late.pipeline().submit(router_plan(late.folder), again=True)
    assert datetime.now(UTC).timestamp() - folder.stat().st_mtime < 3600


def test_files_that_go_while_they_are_looked_at_are_left_out(
    late: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(late)
    lstat = os.lstat

    def gone(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("train.jsonl"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return lstat(path, **options)

    monkeypatch.setattr(os, "lstat", gone)
    _, found = survey(late)
    assert Category.DATA in by_category(found)
