"""What goes wrong on purpose: requests, outcomes of jobs, and processes that die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import Volume
from huggingface_hub.errors import HfHubHTTPError

from orchestrator.sandbox.edge.rules import Effect, FaultPlan, JobRule, Outcome, RequestRule
from orchestrator.sandbox.jobs.face import Stage as JobStage
from tests.sandbox.jobs.stage import OUTPUT, Stage, run, scripts, submit

ROOT = Path(__file__).parents[3]


def outcome(kind: Outcome, **more: object) -> FaultPlan:
    return FaultPlan(jobs=(JobRule.model_validate({"outcome": kind, **more}),))


@pytest.mark.parametrize(
    ("kind", "stage_then", "message"),
    [
        (Outcome.FAILED, JobStage.ERROR, "Internal error occurred."),
        (Outcome.EXPIRED, JobStage.ERROR, "Job timeout"),
        (Outcome.PARTIAL, JobStage.COMPLETED, None),
    ],
)
def test_a_rule_decides_how_a_job_ends(
    stage: Stage, kind: Outcome, stage_then: JobStage, message: str | None
) -> None:
    with stage.serving(faults=outcome(kind)) as api:
        job_id = run(api, "print('ran')")
        ended = stage.ended(job_id)
        assert (ended.stage, ended.message) == (stage_then, message)
        assert "ran" not in stage.log(job_id)
        assert [(one.face, one.target, one.fault) for one in stage.book.injected] == [
            ("jobs", job_id, str(kind))
        ]
        second = run(api, "print('ran')")
        stage.ended(second)
        assert "ran" in stage.log(second)


def test_a_stuck_job_runs_until_its_timeout_or_until_somebody_stops_it(stage: Stage) -> None:
    with stage.serving(faults=outcome(Outcome.STUCK, times=2)) as api:
        first, second = run(api, "pass", timeout=60), run(api, "pass")
        assert stage.face.queue.wait_for(lambda: len(stage.book.injected) == 2, 30)
        stage.clock.advance(59)
        assert stage.face.jobs()[1].stage is JobStage.RUNNING
        stage.clock.advance(1)
        assert stage.ended(first).message == "Job timeout"
        api.cancel_job(job_id=second, namespace="alice")
        assert stage.ended(second).stage is JobStage.CANCELED


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        ({"target": "run=r-1"}, True),
        ({"target": "run=r-2"}, False),
        ({"target": "print"}, True),
        ({"face": "jobs"}, True),
        ({"face": "vertex"}, False),
        ({"nth": 2}, False),
    ],
)
def test_rules_find_jobs_by_label_command_and_face(
    stage: Stage, rule: dict[str, object], applies: bool
) -> None:
    with stage.serving(faults=outcome(Outcome.FAILED, **rule)) as api:
        job_id = run(api, "print('ran')", labels={"run": "r-1"})
        assert (stage.ended(job_id).stage is JobStage.ERROR) == applies


@pytest.mark.parametrize(
    ("kind", "files", "left"),
    [
        (Outcome.MISSING_FILES, ["*adapter_model.safetensors"], "final/adapter_config.json"),
        (Outcome.CUT_FILES, ["final/adapter_config.json"], "1 bytes"),
        (Outcome.NAN_WEIGHTS, ["*adapter_model.safetensors"], "nan"),
    ],
)
def test_files_are_spoiled_before_the_keeper_uploads_them(
    stage: Stage, kind: Outcome, files: list[str], left: str
) -> None:
    keeper = (
        "import math, os, pathlib, struct, subprocess, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--output') + 1])\n"
        "code = subprocess.call(['uv', 'run', *sys.argv[1:]])\n"
        "for file in sorted(out.rglob('*')):\n"
        "    if file.is_file():\n"
        "        print(file.relative_to(out).as_posix())\n"
        "        data = file.read_bytes()\n"
        "        print(len(data), 'bytes')\n"
        "        if math.isnan(struct.unpack('<f', data[-4:])[0] if len(data) > 3 else 0):"
        " print('nan')\n"
        "sys.exit(code)\n"
    )
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    script = (
        "import pathlib, sys; out = pathlib.Path(sys.argv[2]) / 'final'; out.mkdir(parents=True);"
        "(out / 'adapter_config.json').write_text('{}');"
        f"(out / 'adapter_model.safetensors').write_bytes(bytes.fromhex('{weights.hex()}'))"
    )
    with stage.serving(faults=outcome(kind, files=files)) as api:
        scripts(api, {"job.py": keeper, "sft.py": script})
        mount = Volume(type="dataset", source="alice/code", mount_path="/o", read_only=True)
        command = ["uv", "run", "/o/job.py", "/o/sft.py", "--output", OUTPUT]
        job_id = submit(api, command, volumes=[mount])
        assert stage.ended(job_id).stage is JobStage.COMPLETED, stage.log(job_id)
        told = stage.log(job_id)
        assert left in told
        assert ("final/adapter_model.safetensors" in told) == (kind is not Outcome.MISSING_FILES)
        assert len([one for one in stage.book.injected if str(kind) in one.fault]) == 1


def test_requests_for_jobs_meet_the_rules_of_their_own_face(stage: Stage) -> None:
    rules = (
        RequestRule(face="jobs", operation="POST", status=503, message="busy"),
        RequestRule(face="hub", target="/api/jobs", times=None, status=500),
    )
    with stage.serving(faults=FaultPlan(requests=rules)) as api:
        assert api.whoami()["name"] == "alice"
        with pytest.raises(HfHubHTTPError, match="busy"):
            run(api, "pass")
        assert stage.face.jobs() == []
        assert list(api.list_jobs(namespace="alice")) == []


def test_a_job_whose_answer_was_lost_is_there(stage: Stage) -> None:
    lost = RequestRule(face="jobs", operation="POST", effect=Effect.DROP, after=True)
    with stage.serving(faults=FaultPlan(requests=(lost,))) as api:
        with pytest.raises(Exception, match=r"(?i)disconnect|reset|closed"):
            run(api, "pass", labels={"token": "t-1"})
        [found] = api.list_jobs(namespace="alice", labels={"token": "t-1"})
        assert found.labels is not None
        assert found.labels["token"] == "t-1"
        assert stage.book.injected[0].hidden_status == 200


_SERVES_AND_WAITS = """
import sys, threading
from pathlib import Path
from tests.sandbox.jobs.stage import Stage, WAITS, run
stage = Stage(Path(sys.argv[1]))
with stage.serving() as api:
    job_id = run(api, WAITS, secrets={"KEY": "s3cret-value-of-alice"})
    stage.until_said(job_id, "ready")
    record = stage.face.wait_until_running(job_id)
    print(job_id, record.process_group, flush=True)
    threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds what a dead sandbox left by /proc")
def test_a_sandbox_that_was_killed_leaves_an_error_and_no_process(stage: Stage) -> None:
    command = [sys.executable, "-c", _SERVES_AND_WAITS, str(stage.root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job_id, group = process.stdout.readline().split()
        process.kill()
    # Its guard sees to it, though nobody serves the folder again.
    with pytest.raises(ProcessLookupError):
        _reaped(int(group))
    assert not list((stage.root / "jobs" / "secrets").iterdir())
    with stage.serving() as api:
        job = api.inspect_job(job_id=job_id, namespace="alice")
        assert job.status.stage == "ERROR"
        assert not (stage.root / "jobs" / "work" / job_id).exists()


def _reaped(group: int) -> None:
    """Raise once nothing of a group is left; that takes the system a moment."""
    for _ in range(500):
        os.killpg(group, 0)
        time.sleep(0.01)
        state = Path(f"/proc/{group}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
