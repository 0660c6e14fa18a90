"""`orchestrator rollback`: what it asks, says, changes, and takes down in the ledger."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator import rollback
from orchestrator.cli import run as orchestrator
from orchestrator.ledger import Ledger, Target
from orchestrator.report.card import run_tag
from tests.plans import router_plan
from tests.stores.hub_stage import WEIGHTS, HubStage, hub_stage

REPO = "alice/adapter"
TARGET = Target("vertex", "project", "us-central1", "gs://bucket", REPO)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStage]:
    with hub_stage(tmp_path_factory.mktemp("hub")) as made:
        yield made


@dataclass
class Scene:
    """A run that was published under its tag, and something else that was published since."""

    stage: HubStage
    run: str
    ledger: Ledger
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    @property
    def tag(self) -> str:
        return run_tag(self.run)

    def __call__(self, *arguments: str) -> int:
        code = orchestrator(["rollback", *arguments])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def titles(self) -> list[str]:
        return [one.title for one in self.stage.api.list_repo_commits(REPO)]

    def recorded(self) -> list[dict[str, Any]]:
        events = self.ledger.facts(self.run).events
        return [dict(one.data) for one in events if one.kind == "rolled_back"]


@pytest.fixture
def scene(
    served: HubStage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Scene]:
    served.api.delete_repo(REPO, missing_ok=True)
    served.before.clear()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    ledger = Ledger(f"sqlite:///{Path(os.environ['ORCHESTRATOR_HOME']) / 'ledger.db'}")
    run = ledger.add_run(router_plan(tmp_path).plan, TARGET, tmp_path, again=False).id
    old = served.put(REPO, {"adapter_model.safetensors": WEIGHTS, "a.json": b"{}"})
    served.api.create_tag(REPO, tag=run_tag(run))
    served.put(REPO, {"adapter_model.safetensors": WEIGHTS + b"new", "later.json": b"{}"})
    with ledger.lease(run) as lease:
        assert lease is not None
        lease.add_event("published", {"repo": REPO, "revision": old, "tag": run_tag(run)})
        lease.finished = True
    yield Scene(served, run, ledger, capsys)
    ledger.close()


def test_it_says_what_changes_does_it_and_records_it(scene: Scene) -> None:
    assert scene(REPO, scene.tag, "--yes") == 0
    assert "brought back: adapter_model.safetensors (10.2 KB)" in scene.err
    assert "deleted:      later.json" in scene.err
    head = scene.stage.api.model_info(REPO).sha
    assert scene.out == f"main of {REPO} is as in {scene.tag}: commit {head}\n"
    assert scene.titles()[0] == f"Roll back to {scene.tag}"
    assert not scene.stage.api.file_exists(REPO, "later.json")
    assert scene.recorded() == [{"repo": REPO, "tag": scene.tag, "revision": head, "by": "alice"}]
    # It was finished before, and no poll has to look at it again.
    assert scene.ledger.run_ids(unfinished_only=True) == []


def test_a_second_time_nothing_is_done(scene: Scene) -> None:
    assert scene(REPO, scene.tag, "--yes") == 0
    titles = scene.titles()
    assert scene(REPO, scene.tag) == 0  # nothing to confirm
    assert "already as in" in scene.out
    assert scene.titles() == titles
    assert len(scene.recorded()) == 1


def test_what_was_not_recorded_is_recorded_the_next_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(rollback, "record", lambda *_: False)
        assert scene(REPO, scene.tag, "--yes") == 0
    assert "it is not recorded yet" in scene.err
    assert scene.recorded() == []
    assert scene(REPO, scene.tag) == 0
    assert scene.recorded()[0]["revision"] == scene.stage.api.model_info(REPO).sha


def test_a_run_that_another_pass_works_on_is_told_of(scene: Scene) -> None:
    with scene.ledger.lease(scene.run) as lease:
        assert lease is not None
        assert scene(REPO, scene.tag, "--yes") == 0
    assert f"another pass works on run {scene.run}" in scene.err


def test_nothing_happens_without_somebody_to_confirm_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scene.titles()
    assert scene(REPO, scene.tag) == 2
    assert "--yes" in scene.err

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert scene(REPO, scene.tag) == 1
    assert "nothing was changed" in scene.err
    assert scene.titles() == before
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert scene(REPO, scene.tag) == 0
    assert len(scene.titles()) == len(before) + 1


def test_json_is_one_document(scene: Scene) -> None:
    before = scene.stage.api.model_info(REPO).sha
    assert scene("adapter", scene.tag, "--yes", "--json") == 0
    told = json.loads(scene.out)
    assert told["repo"] == REPO
    assert told["before"] == before
    assert told["revision"] == scene.stage.api.model_info(REPO).sha
    assert told["restored"] == ["adapter_model.safetensors"]
    assert told["deleted"] == ["later.json"]
    assert (told["run"], told["changed"]) == (scene.run, True)


def test_a_tag_of_no_run_is_gone_back_to_as_well(scene: Scene) -> None:
    scene.stage.api.create_tag(REPO, tag="v9", revision=scene.tag)
    assert scene(REPO, "v9", "--yes", "--json") == 0
    assert json.loads(scene.out)["run"] is None
    assert scene.recorded() == []


def test_a_dataset_is_brought_back_too(scene: Scene) -> None:
    scene.stage.api.delete_repo("alice/rows", repo_type="dataset", missing_ok=True)
    scene.stage.put("alice/rows", {"a": b"1"}, kind="dataset")
    scene.stage.api.create_tag("alice/rows", tag="v1", repo_type="dataset")
    scene.stage.put("alice/rows", {"a": b"2"}, kind="dataset")
    assert scene("alice/rows", "v1", "--yes", "--dataset") == 0
    assert scene("alice/rows", "v1", "--dataset") == 0
    assert "already as in v1" in scene.out


def test_what_cannot_be_is_refused_in_a_line(scene: Scene) -> None:
    assert scene(REPO, "v0", "--yes") == 2
    assert f"has no tag v0\n  Its tags: {scene.tag}" in scene.err
    assert scene("alice/none", "v0", "--yes") == 2
    assert scene("bob/adapter", "v0", "--yes") == 2
    assert "may not write to bob/adapter" in scene.err
    assert scene("a b", "v0", "--yes") == 2


def test_a_race_exits_2_and_changes_nothing(scene: Scene) -> None:
    theirs: list[str] = []
    commit = ("POST", f"/api/models/{REPO}/commit/main")
    scene.stage.before[commit] = lambda: theirs.append(scene.stage.put(REPO, {"x": b"y"}))
    assert scene(REPO, scene.tag, "--yes") == 2
    assert "somebody else committed to alice/adapter first: nothing was changed" in scene.err
    assert scene.stage.api.model_info(REPO).sha == theirs[0]
    assert scene.recorded() == []
