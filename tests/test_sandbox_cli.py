"""`orchestrator sandbox`, as a user types it, against a sandbox that is being served."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.cli import run
from orchestrator.sandbox.running import Sandbox, SandboxOptions
from tests.manual_clock import ManualClock


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("served")
    with Sandbox(folder, SandboxOptions(stand_in="replay"), clock=ManualClock()) as sandbox:
        yield sandbox


class Commands:
    """`orchestrator sandbox …` on one folder."""

    def __init__(self, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
        self.sandbox = sandbox
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0, folder: Path | None = None) -> str:
        """Run a command; what it printed, on standard error if `code` says that it fails."""
        done = run(["sandbox", *words, "--dir", str(folder or self.sandbox.folder)])
        printed = self._capsys.readouterr()
        assert done == code, printed.err
        return printed.err if code else printed.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def sandbox(served: Sandbox, capsys: pytest.CaptureFixture[str]) -> Iterator[Commands]:
    yield Commands(served, capsys)
    served.faults.clear()


def exports(lines: str, prefix: str = "export ") -> dict[str, str]:
    """Variables as a shell would read them."""
    read = {}
    for line in lines.splitlines():
        assert line.startswith(prefix)
        name, _, value = line.removeprefix(prefix).partition("=")
        (read[name],) = shlex.split(value) or [""]
    return read


def test_env_prints_what_leads_programs_to_the_sandbox(sandbox: Commands) -> None:
    expected = sandbox.sandbox.environment()
    assert exports(sandbox("env")) == expected
    assert exports(sandbox("env", "--format", "dotenv"), "") == expected
    assert json.loads(sandbox("env", "--format", "json")) == expected
    assert expected.keys() >= {
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_VERTEX_BASE_URL",
        "HF_ENDPOINT",
        "HF_HUB_DISABLE_XET",
        "HF_TOKEN",
        "ORCHESTRATOR_BUCKET",
        "ORCHESTRATOR_VERTEX_ENDPOINT",
        "STORAGE_EMULATOR_HOST",
    }


def test_unset_ends_all_that_env_began(sandbox: Commands) -> None:
    unset = {line.removeprefix("unset ") for line in sandbox("env", "--unset").splitlines()}
    assert unset >= set(sandbox.sandbox.environment())


def test_a_shell_that_evaluates_env_reaches_the_faces(sandbox: Commands) -> None:
    code = (
        "import os, urllib.request as u; from google.cloud import storage; "
        "print([b.name for b in storage.Client().list_buckets()]); "
        "from huggingface_hub import whoami; print(whoami()['name'])"
    )
    folder = shlex.quote(str(sandbox.sandbox.folder))
    python = shlex.quote(sys.executable)
    script = (
        f'eval "$({python} -m orchestrator sandbox env --dir {folder})" && '
        f"{python} -c {shlex.quote(code)}"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == ["['sandbox-bucket']", "sandbox-user"], done.stderr


def test_unset_ends_all_that_env_began_without_a_sandbox(sandbox: Commands, tmp_path: Path) -> None:
    began = {*exports(sandbox("env")), "ORCHESTRATOR_HOME"}
    ended = sandbox("env", "--unset", folder=tmp_path).split("\n")
    assert {line.removeprefix("unset ") for line in ended if line} == began


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {}),
        ({"NO_PROXY": "x.org"}, {}),
        ({"https_proxy": "http://p"}, {"NO_PROXY": "127.0.0.1,localhost"}),
        (
            {"HTTP_PROXY": "http://p", "no_proxy": "x.org, localhost"},
            {"no_proxy": "x.org,localhost,127.0.0.1"},
        ),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "127.0.0.1,localhost"}, {}),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, {}),
    ],
)
def test_env_keeps_a_proxy_out_of_the_way(given: dict[str, str], added: dict[str, str]) -> None:
    from orchestrator.cli.sandbox.env import no_proxy

    assert no_proxy(given) == added


@pytest.mark.parametrize(
    "words", [["env"], ["status"], ["clock"], ["faults", "list"], ["faults", "log"]]
)
def test_a_folder_that_nobody_serves_is_named(
    sandbox: Commands, tmp_path: Path, words: list[str]
) -> None:
    said = sandbox(*words, code=2, folder=tmp_path)
    assert f"no sandbox is being served from {tmp_path}" in said
    assert f"orchestrator sandbox up --dir {tmp_path}" in said


def test_rules_are_put_in_force_shown_and_removed(sandbox: Commands) -> None:
    sandbox("faults", "add", "face=storage", "operation=GET", "status=429", "times=always",
            "target=/b/[a-z]+$", "retry_after_s=3")  # fmt: skip
    sandbox("faults", "add", "outcome=cut-files", "files=a*,b", "chance=.5", "target=router")
    url = f"{sandbox.sandbox.storage_url}/storage/v1/b"
    assert requests.get(url, timeout=10).status_code == 200
    answers = [requests.get(f"{url}/other", timeout=10) for _ in range(2)]
    assert [(a.status_code, a.headers["retry-after"]) for a in answers] == [(429, "3")] * 2
    rules = sandbox.json("faults", "list")
    assert [(one["seen"], one["applied"]) for one in rules["requests"]] == [(2, 2)]
    assert rules["jobs"][0]["rule"] == {
        "chance": 0.5,
        "outcome": "cut-files",
        "target": "router",
        "files": ["a*", "b"],
    }
    shown = sandbox("faults", "list")
    assert "times=always" in shown
    assert "outcome=cut-files target=router files=a*,b" in shown
    assert [line["fault"] for line in sandbox.json("faults", "log")][-2:] == ["error 429"] * 2
    assert "storage GET /storage/v1/b/other: error 429" in sandbox("faults", "log")
    sandbox("faults", "clear")
    assert sandbox.json("faults", "list") == {"requests": [], "jobs": []}


def test_rules_may_come_from_a_file(sandbox: Commands, tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("faults:\n  jobs:\n    - outcome: stuck\n")
    sandbox("faults", "add", "--file", str(file), "face=hub", "effect=stall")
    rules = sandbox.json("faults", "list")
    assert [one["rule"] for one in rules["jobs"]] == [{"outcome": "stuck"}]
    assert [one["rule"] for one in rules["requests"]] == [{"face": "hub", "effect": "stall"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no rule was given"),
        (["effect=drop"], "face: "),
        (["face=hub", "drop"], "'drop' is not KEY=VALUE"),
        (["face=hub", "effct=drop"], "effct: there is no such key"),
        (["face=hub", "status=1"], "status: "),
        (["face=hub", "effect=cut", "after=yes"], "after means nothing for cut"),
        (["outcome=lost"], "'cut-files'"),
        (["--file", "nowhere.yaml"], "there is no file nowhere.yaml"),
    ],
)
def test_a_wrong_rule_is_named_and_changes_nothing(
    sandbox: Commands, words: list[str], said: str
) -> None:
    assert said in sandbox("faults", "add", *words, code=2)
    assert sandbox.sandbox.faults.rules == []


@pytest.mark.parametrize(
    ("words", "passed_s"),
    [("90", 90), ("90s", 90), ("15m", 900), ("4h", 14400), ("1h30m", 5400), ("0.5d", 43200)],
)
def test_time_passes_on_request(sandbox: Commands, words: str, passed_s: float) -> None:
    before_s = sandbox.json("clock")["ahead_s"]
    assert sandbox.json("clock", "--advance", words)["ahead_s"] == before_s + passed_s
    assert "ahead of the machine's" in sandbox("clock")


@pytest.mark.parametrize("words", ["soon", "-1", "4 h", "h", ""])
def test_a_time_that_is_none_is_refused(sandbox: Commands, words: str) -> None:
    assert "is not a duration" in sandbox("clock", "--advance", words, code=2)


def test_status_says_what_is_served_and_tells_no_token(sandbox: Commands) -> None:
    shown = sandbox("status")
    for words in (str(sandbox.sandbox.folder), str(os.getpid()), "replay", "needed"):
        assert words in shown
    tokens = sandbox.sandbox.tokens
    for secret in (tokens.sandbox, tokens.hub_write, tokens.hub_read):
        assert secret not in shown
    assert sandbox.json("status")["vertex_jobs"] == []


class Up:
    """`sandbox up` in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "sandbox", "up", "--dir", str(folder), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            self.lines.append(line)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


def test_up_serves_a_folder_once_and_keeps_its_configuration(
    sandbox: Commands, tmp_path: Path
) -> None:
    folder, file = tmp_path / "sandbox", tmp_path / "sandbox.yaml"
    rule = "{face: storage, effect: drop, times: null}"
    file.write_text(f"faults:\n  requests: [{rule}]\nvertex:\n  running_s: 7200\n")
    more = ("--answers", "weak", "--no-token")
    up = Up(folder, "--stand-in", "replay", "--config", str(file), *more)
    try:
        printed = exports("".join(up.lines))
        assert exports(sandbox("env", folder=folder)) == printed
        assert "@" not in printed["STORAGE_EMULATOR_HOST"]
        with pytest.raises(requests.ConnectionError):
            requests.get(printed["STORAGE_EMULATOR_HOST"], timeout=10)
        said = sandbox("up", folder=folder, code=2)
        assert f"served already, by process {up.process.pid}" in said
        assert f"orchestrator sandbox env --dir {folder}" in said
    finally:
        assert up.end() == 0
    assert "no sandbox is being served" in sandbox("env", folder=folder, code=2)
    with Sandbox(folder) as again:
        assert again.options.stand_in == "replay"
        assert again.options.training.answers == "weak"
        assert again.options.config.vertex.running_s == 7200
        assert again.options.config.faults.requests[0].times is None


def test_a_folder_whose_process_was_killed_is_served_again(
    sandbox: Commands, tmp_path: Path
) -> None:
    up = Up(tmp_path, "--stand-in", "replay")
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    assert (tmp_path / "serving.json").exists()
    assert "no sandbox is being served" in sandbox("env", folder=tmp_path, code=2)
    with Sandbox(tmp_path) as again:
        before = exports("".join(up.lines))["HF_TOKEN"]
        assert again.tokens.hub_write == before


def test_a_wrong_configuration_is_named_with_its_line_and_nothing_is_served(
    sandbox: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "sandbox.yaml"
    file.write_text("faults:\n  requests:\n    - face: storage\n      efect: drop\nvertx: {}\n")
    said = sandbox("up", "--config", str(file), folder=tmp_path / "made", code=2)
    assert f"{file}:4:7: unknown key `faults.requests.0.efect`" in said
    assert "Did you mean `effect`" in said
    assert f"{file}:5:1: unknown key `vertx`" in said
    assert not (tmp_path / "made").exists()
