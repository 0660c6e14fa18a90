"""`orchestrator publish-data` in this process, and what it left on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.stores.hub_trees import HubTrees
from tests.stores.hub_stage import HubStage

REPO = "alice/router-rows"


def publish(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    words = ["publish-data", *map(str, arguments), "--repo", REPO, "--json"]
    assert run(words) == code, capsys.readouterr().err
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return json.loads(captured.out) if code == 0 else captured.err


def commits(stage: HubStage) -> list[str]:
    return [one.title for one in stage.api.list_repo_commits(REPO, repo_type="dataset")]


def read(stage: HubStage, path: str, folder: Path) -> bytes:
    HubTrees(stage.url, "hf_alice", kind="dataset").download(REPO, "main", path, folder / "file")
    return (folder / "file").read_bytes()
