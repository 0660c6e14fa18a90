"""The control face over HTTP, and the client that commands use for it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.control import Controls, JobReport, control_app
from orchestrator.sandbox.edge.gate import Gate
from orchestrator.sandbox.edge.presence import FolderLock, Serving
from orchestrator.sandbox.edge.remote import RemoteSandbox
from orchestrator.sandbox.edge.rules import RequestRule
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.edge.tokens import Tokens
from tests.manual_clock import ManualClock

TOKEN = "sesame"
JOB = JobReport("projects/p/locations/l/tuningJobs/1", "router", "JOB_STATE_RUNNING", 0.5)


class Steered:
    """A control face with what it steers, announced in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.book = FaultBook()
        self.clock = SandboxClock(ManualClock())
        controls = Controls(self.book, self.clock, lambda: [JOB], lambda: {"stand_in": "replay"})
        self.server = AppServer(Gate(control_app(controls), TOKEN))
        self.announce(TOKEN)

    def announce(self, token: str) -> None:
        environment = {"HF_TOKEN": "hf_x"}
        Serving(str(self.folder), os.getpid(), self.server.url, token, environment).write()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return requests.request(
            method, self.server.url + path, headers=headers, timeout=10, **options
        )


@pytest.fixture
def steered(tmp_path: Path) -> Iterator[Steered]:
    steered = Steered(tmp_path)
    with steered.server:
        yield steered


def test_it_needs_the_token_always(steered: Steered) -> None:
    for path in ("/status", "/faults", "/clock", "/vertex/jobs"):
        assert requests.get(steered.server.url + path, timeout=10).status_code == 401


def test_rules_are_added_listed_and_cleared(steered: Steered) -> None:
    rules = {
        "requests": [{"face": "hub", "effect": "drop", "times": None}],
        "jobs": [{"outcome": "failed"}],
    }
    answer = steered.ask("POST", "/faults", json=rules)
    assert answer.status_code == 201
    assert steered.book.request("hub", "GET", "/") == RequestRule(
        face="hub", effect="drop", times=None
    )
    assert steered.ask("GET", "/faults").json() == {
        "requests": [
            {"rule": {"face": "hub", "effect": "drop", "times": None}, "seen": 1, "applied": 1}
        ],
        "jobs": [{"rule": {"outcome": "failed"}, "seen": 0, "applied": 0}],
    }
    assert steered.ask("DELETE", "/faults").json() == {"requests": [], "jobs": []}
    assert steered.book.rules == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"requests": [{"face": "gcs"}]}', "requests.0.face"),
        ('{"requests": [{"face": "hub", "statsu": 500}]}', "requests.0.statsu"),
        ('{"requests": [{"face": "hub", "status": "500"}]}', "requests.0.status"),
        ('{"seed": 3}', "seed"),
        ("nonsense", "body"),
    ],
)
def test_a_wrong_rule_is_refused_whole(steered: Steered, body: str, words: str) -> None:
    answer = steered.ask("POST", "/faults", data=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert steered.book.rules == []


def test_time_passes_on_request_and_only_forward(steered: Steered) -> None:
    moved: list[float] = []
    steered.clock.on_advance(lambda: moved.append(steered.clock.ahead_s))
    assert steered.ask("GET", "/clock").json() == {
        "now": "2026-01-01T12:00:00+00:00",
        "ahead_s": 0.0,
    }
    assert steered.ask("POST", "/clock", json={"advance_s": 3600}).json()["ahead_s"] == 3600
    assert moved == [3600]
    for wrong in ({"advance_s": -1}, {"advance_s": 1e300}, {}, {"advance_s": 1, "x": 2}):
        assert steered.ask("POST", "/clock", json=wrong).status_code == 400
    assert steered.clock.ahead_s == 3600


def test_the_log_the_jobs_and_the_state_are_told(steered: Steered) -> None:
    steered.book.record("storage", "PUT", "/x", "drop", 200)
    (line,) = steered.ask("GET", "/faults/log").json()
    assert (line["target"], line["hidden_status"]) == ("/x", 200)
    assert steered.ask("GET", "/vertex/jobs").json() == [
        {
            "name": JOB.name,
            "display_name": "router",
            "state": "JOB_STATE_RUNNING",
            "cost_usd": 0.5,
        }
    ]
    status = steered.ask("GET", "/status").json()
    assert status["stand_in"] == "replay"
    assert (status["rules"], status["faults_injected"]) == (0, 1)


def test_another_process_finds_and_steers_it(steered: Steered) -> None:
    remote = RemoteSandbox(steered.folder)
    assert remote.serving.environment == {"HF_TOKEN": "hf_x"}
    assert remote.call("POST", "/clock", {"advance_s": 5})["ahead_s"] == 5
    with pytest.raises(InputError, match="advance_s"):
        remote.call("POST", "/clock", {"advance_s": "soon"})


def test_a_proxy_is_not_asked(steered: Steered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert RemoteSandbox(steered.folder).call("GET", "/clock")["ahead_s"] == 0


def test_a_folder_that_nobody_serves_is_named_with_the_remedy(
    steered: Steered, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match="no sandbox is being served from") as caught:
        RemoteSandbox(empty)
    assert f"orchestrator sandbox up --dir {empty}" in caught.value.hint
    # Another sandbox has the port since.
    steered.announce("older token")
    with pytest.raises(InputError, match="no sandbox is being served"):
        RemoteSandbox(steered.folder)
    # The process was killed: what it left behind leads nowhere.
    steered.announce(TOKEN)
    steered.server.stop()
    with pytest.raises(InputError, match="no sandbox is being served"):
        RemoteSandbox(steered.folder)
    (steered.folder / "serving.json").write_text("half a fi")
    with pytest.raises(InputError, match="no sandbox is being served"):
        RemoteSandbox(steered.folder)


def test_one_process_serves_a_folder_at_a_time(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    Serving(str(tmp_path), 4711, "http://127.0.0.1:1", "t", {}).write()
    with pytest.raises(InputError, match="by process 4711") as caught:
        FolderLock(tmp_path)
    assert f"orchestrator sandbox env --dir {tmp_path}" in caught.value.hint
    first.release()
    assert Serving.read(tmp_path) is None
    FolderLock(tmp_path).release()


def test_tokens_are_random_kept_and_private(tmp_path: Path) -> None:
    tokens = Tokens.kept(tmp_path / "tokens.json")
    assert Tokens.kept(tmp_path / "tokens.json") == tokens
    (tmp_path / "other").mkdir()
    assert Tokens.kept(tmp_path / "other" / "tokens.json") != tokens
    assert len({tokens.sandbox, tokens.hub_read, tokens.hub_write}) == 3
    assert tokens.hub_write.startswith("hf_")
    assert len(tokens.sandbox) >= 32
    Serving(str(tmp_path), 1, "http://127.0.0.1:1", tokens.sandbox, {}).write()
    for name in ("tokens.json", "serving.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other",
        "serving.json",
        "tokens.json",
    ]


@pytest.mark.parametrize("sandbox", ["", 7, None])
def test_tokens_that_are_none_are_refused(tmp_path: Path, sandbox: object) -> None:
    file = tmp_path / "tokens.json"
    for content in ({}, {"sandbox": sandbox, "hub_write": "hf_1", "hub_read": "hf_2"}):
        file.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"tokens\.json"):
            Tokens.kept(file)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # Even for root: a lock that is a folder cannot be opened.
    (tmp_path / "lock").mkdir()
    with pytest.raises(InputError, match="cannot be written") as caught:
        FolderLock(tmp_path)
    assert "--dir" in caught.value.hint
