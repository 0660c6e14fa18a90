"""Jobs as part of a whole sandbox, with other people's clients: the Hub's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError

from orchestrator.catalog import load_catalog
from orchestrator.sandbox.config import SandboxConfig, load_config
from orchestrator.sandbox.edge.remote import RemoteSandbox
from orchestrator.sandbox.edge.rules import FaultPlan, JobRule, Outcome
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.running import USER, Sandbox, SandboxOptions
from tests.sandbox.jobs.stage import IMAGE, WAITS, run


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "sandbox", SandboxOptions(stand_in="replay")) as sandbox:
        yield sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> HfApi:
    return HfApi(endpoint=sandbox.hub_url, token=sandbox.tokens.hub_write)


#: Runs the command line's own entry point once for each list of words, in one process: most of
#: what it takes is its import.
_COMMANDS = """
import contextlib, io, json, sys
from huggingface_hub.cli import hf
said = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            hf.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue()])
print(json.dumps(said))
"""


def hf(sandbox: Sandbox, *commands: list[str]) -> list[str]:
    """What the Hub's own command line says to each `hf jobs WORDS`."""
    environment = {**os.environ, **sandbox.environment(), "NO_COLOR": "1", "COLUMNS": "200"}
    words = json.dumps([["jobs", *command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[Any]] = json.loads(done.stdout)
    assert [code for code, _ in answers] == [0] * len(commands), (answers, done.stderr)
    return [text for _, text in answers]


def test_the_hub_s_own_command_line_works_with_jobs(sandbox: Sandbox, api: HfApi) -> None:
    finished = run(api, "print('hello')", namespace=USER, labels={"run": "r-1"})
    waiting = run(api, WAITS, namespace=USER)
    sandbox.jobs.wait_until_ended(finished)
    sandbox.jobs.wait_until_running(waiting)
    listed, labelled, inspected, logs, tail, hardware, waited, _, ran = hf(
        sandbox,
        ["ps", "-a", "--namespace", USER, "--format", "json"],
        ["ps", "-a", "--namespace", USER, "--label", "run=r-1", "--format", "json"],
        ["inspect", f"{USER}/{finished}", "--format", "json"],
        ["logs", f"{USER}/{finished}"],
        ["logs", "--tail", "1", f"{USER}/{finished}"],
        ["hardware"],
        ["wait", "--timeout", "30s", f"{USER}/{finished}"],
        ["cancel", f"{USER}/{waiting}"],
        ["run", "--namespace", USER, IMAGE, "python", "-c", "print(6 * 7)"],
    )
    assert {one["id"] for one in json.loads(listed)} == {finished, waiting}
    assert {one["id"] for one in json.loads(labelled)} == {finished}
    assert json.loads(inspected)[0]["status"]["stage"] == "COMPLETED"
    assert (logs.strip(), tail.strip()) == ("hello", "hello")
    assert "a10g-small" in hardware
    assert finished in waited
    assert sandbox.jobs.wait_until_ended(waiting).stage == "CANCELED"
    assert "42" in ran.splitlines()


def test_a_log_is_shown_whole_after_the_clock_was_moved(sandbox: Sandbox, api: HfApi) -> None:
    sandbox.clock.advance(3600)
    finished = run(api, "print('hello')", namespace=USER)
    sandbox.jobs.wait_until_ended(finished)
    # The client leaves out what is dated after the answer that it is in.
    logs = list(api.fetch_job_logs(job_id=finished, namespace=USER))
    assert logs[-1] == "hello"


def test_the_catalog_s_models_are_on_the_hub_and_gated_as_the_real_ones(
    sandbox: Sandbox, api: HfApi
) -> None:
    stranger = HfApi(endpoint=sandbox.hub_url, token=False)
    for model in {one.hub_id: one for one in load_catalog().models.values()}.values():
        info = api.model_info(model.hub_id)
        assert info.card_data is not None
        assert info.card_data["license"] == model.licence.lower()
        gated = model.hub_id.startswith("meta-llama/") or model.licence == "gemma"
        assert bool(info.gated) == gated, model.hub_id
        api.auth_check(model.hub_id)
        if gated:
            with pytest.raises(GatedRepoError):
                stranger.auth_check(model.hub_id)


def test_a_second_start_makes_no_second_commit(tmp_path: Path) -> None:
    heads = []
    for _ in range(2):
        with Sandbox(tmp_path / "sandbox", SandboxOptions(stand_in="replay")) as sandbox:
            heads.append(HfApi(endpoint=sandbox.hub_url).model_info("Qwen/Qwen3-32B").sha)
    assert heads[0] == heads[1]


def test_jobs_are_reported_with_their_cost(sandbox: Sandbox, api: HfApi) -> None:
    job_id = run(api, "pass", namespace=USER, name="tuning", flavor="h200")
    sandbox.jobs.wait_until_ended(job_id)
    remote = RemoteSandbox(sandbox.folder)
    [report] = remote.call("GET", "/hub/jobs")
    assert (report["name"], report["display_name"]) == (job_id, "tuning")
    assert report["state"] == "COMPLETED"
    assert report["cost_usd"] == pytest.approx(5 / 60, abs=1e-4)
    assert remote.call("GET", "/status")["faces"]["jobs"] == f"{sandbox.hub_url}/api/jobs"


def test_a_configuration_file_steers_jobs(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "jobs: {running_quota: 1, can_pay: false}\n"
        "faults:\n  jobs: [{outcome: partial, face: jobs}]\n"
    )
    assert load_config(file) == SandboxConfig(
        jobs=JobsConduct(running_quota=1, can_pay=False),
        faults=FaultPlan(jobs=(JobRule(outcome=Outcome.PARTIAL, face="jobs"),)),
    )
    with Sandbox(tmp_path / "s", SandboxOptions("replay", config=load_config(file))) as sandbox:
        client = HfApi(endpoint=sandbox.hub_url, token=sandbox.tokens.hub_write)
        assert client.whoami()["canPay"] is False


def test_the_token_that_reads_cannot_run_jobs(sandbox: Sandbox) -> None:
    reader = HfApi(endpoint=sandbox.hub_url, token=sandbox.tokens.hub_read)
    with pytest.raises(Exception, match="403"):
        run(reader, "pass", namespace=USER)
    assert sandbox.jobs.jobs() == []
