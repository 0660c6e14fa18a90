"""Publishing: one commit, whatever is lost or changes on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Ambiguous
from orchestrator.state import RunState
from orchestrator.stores.hub import HubStore
from tests.pipeline.bench import Bench
from tests.pipeline.test_killed import commits

TITLE = "Publish router-llama-3.1-8b"


@pytest.fixture
def trained(bench: Bench) -> str:
    """A run whose job has ended at the service."""
    return bench.submit_and_train()


def test_a_commit_whose_answer_was_lost_is_found_again(
    bench: Bench, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = HubStore.commit

    def lose(self: HubStore, *arguments: Any, **options: Any) -> str:
        send(self, *arguments, **options)
        raise Ambiguous("the connection was lost")

    monkeypatch.setattr(HubStore, "commit", lose)
    assert bench.pipeline().poll([trained])[0].status.state is RunState.PUBLISHED
    assert commits(bench, trained).count(TITLE) == 1


def test_a_commit_that_never_arrived_is_made_by_the_next_poll(
    bench: Bench, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: HubStore, *arguments: Any, **options: Any) -> str:
        raise Ambiguous("no route to the Hub")

    with monkeypatch.context() as patched:
        patched.setattr(HubStore, "commit", fail)
        outcome = bench.pipeline().poll([trained])[0]
    assert outcome.status.state is RunState.COLLECTED
    assert "no route" in str(outcome.error)
    assert bench.pipeline().poll()[0].status.state is RunState.PUBLISHED
    assert commits(bench, trained).count(TITLE) == 1


def test_a_repo_that_changes_meanwhile_holds_the_run(
    bench: Bench, trained: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    send = HubStore.commit

    def overtake(self: HubStore, repo: str, files: Mapping[str, Path], **options: Any) -> str:
        theirs = tmp_path / "theirs.txt"
        theirs.write_text("another hand")
        send(
            self, repo, {"theirs.txt": theirs}, message="x", parent_commit=options["parent_commit"]
        )
        return send(self, repo, files, **options)

    monkeypatch.setattr(HubStore, "commit", overtake)
    assert bench.pipeline().poll([trained])[0].status.state is RunState.HELD
    assert TITLE not in commits(bench, trained)
    monkeypatch.undo()
    assert bench.pipeline().poll() == []
    assert bench.pipeline().publish_again(trained).status.state is RunState.PUBLISHED
    assert commits(bench, trained).count(TITLE) == 1


def test_bytes_that_the_hub_serves_differently_hold_the_run(
    bench: Bench, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubStore, "digest_of", lambda *_: "0" * 64)
    outcome = bench.pipeline().poll([trained])[0]
    assert outcome.status.state is RunState.HELD
    assert "adapter_model.safetensors" in outcome.status.reason
    repo = bench.facts(trained).run.target.repo
    assert repo is not None
    monkeypatch.undo()
    assert bench.pipeline()._connections.hub.tags(repo) == {}


def test_weights_of_an_earlier_run_do_not_stay_beside_the_new_ones(
    bench: Bench, trained: str, tmp_path: Path
) -> None:
    repo = bench.facts(trained).run.target.repo
    assert repo is not None
    hub = HubStore(bench.settings.hub_endpoint, bench.settings.hub_token)
    head = hub.ensure_repo(repo, private=True)
    for name in ("model.safetensors", "notes.txt"):
        (tmp_path / name).write_text("old")
        head = hub.commit(repo, {name: tmp_path / name}, message="old", parent_commit=head)
    assert bench.pipeline().poll([trained])[0].status.state is RunState.PUBLISHED
    files = hub.files(repo, "main")
    assert "model.safetensors" not in files
    assert "notes.txt" in files
