"""Jobs that run: what they see, what they leave, and that nothing of them stays."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import JobInfo, Volume

from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.face import Stage as JobStage
from tests.sandbox.jobs.stage import OUTPUT, STUBBORN, WAITS, Stage, run, scripts, submit

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def test_a_job_runs_its_command_and_completes(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "print('hello')")
        ended = stage.ended(job_id)
        assert (ended.stage, ended.exit_code) == (JobStage.COMPLETED, 0)
        first, *rest = stage.log(job_id)
        assert first.startswith("===== Job started at 20")
        assert rest == ["hello"]
        assert api.inspect_job(job_id=job_id, namespace="alice").status.stage == "COMPLETED"


def test_a_job_whose_command_fails_ends_in_error_with_the_code(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "raise SystemExit(3)")
        assert stage.ended(job_id).exit_code == 3
        status = api.inspect_job(job_id=job_id, namespace="alice").status
        assert (status.stage, status.message) == ("ERROR", "Job failed with exit code: 3")


def test_a_command_that_does_not_exist_is_told_in_the_log(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = submit(api, ["no-such-program"])
        assert stage.ended(job_id).stage is JobStage.ERROR
        assert "no-such-program: executable file not found in $PATH" in stage.log(job_id)


def test_a_failing_job_is_tried_as_often_as_asked(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "print('try'); raise SystemExit(1)", attempts=3)
        assert stage.ended(job_id).failure_count == 2
        assert stage.log(job_id).count("try") == 3
        assert api.inspect_job(job_id=job_id, namespace="alice").retry == 2


def test_a_job_sees_what_was_asked_for_and_no_token_of_ours(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_person")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    with stage.serving() as api:
        asked = {"COLOUR": "blue", "ACCELERATOR": "mine", "HF_ENDPOINT": "https://huggingface.co"}
        job_id = run(api, SHOW, env=asked, flavor="a10g-small")
        stage.ended(job_id)
        seen = json.loads(stage.log(job_id)[1])
        assert seen["COLOUR"] == "blue"
        assert seen["JOB_ID"] == job_id
        assert seen["ACCELERATOR"] == "a10g-small"
        assert seen["HF_ENDPOINT"] == stage.url
        assert "HF_TOKEN" not in seen
        assert "AWS_SECRET_ACCESS_KEY" not in seen
        assert seen["HOME"].startswith(str(stage.root))


def test_secrets_reach_the_command_and_nothing_else(stage: Stage) -> None:
    secret = "s3cret-value-of-alice"
    code = "import os, time; t = os.environ['KEY']; print(len(t), t, flush=True); time.sleep(600)"
    with stage.serving(JobsConduct(scheduling_s=10)) as api:
        job_id = run(api, code, secrets={"KEY": secret})
        waiting = _files_with(stage.root, secret)
        assert [file.stat().st_mode & 0o077 for file in waiting] == [0]
        stage.clock.advance(10)
        stage.until_said(job_id, f"{len(secret)} ***")
        # From its start on, its own process alone has it.
        assert _files_with(stage.root, secret) == []
        job = api.inspect_job(job_id=job_id, namespace="alice")
        assert list(job.secrets or ()) == ["KEY"]
        for path in (f"/api/jobs/alice/{job_id}", "/api/jobs/alice"):
            assert secret not in stage.ask("GET", path).text
        api.cancel_job(job_id=job_id, namespace="alice")
        assert "secrets were masked" in stage.ended(job_id).differences[-1]


def test_the_secrets_of_a_job_that_never_starts_are_removed_with_it(stage: Stage) -> None:
    with stage.serving(JobsConduct(scheduling_s=10)) as api:
        job_id = run(api, SHOW, secrets={"KEY": "s3cret-value-of-alice"})
        api.cancel_job(job_id=job_id, namespace="alice")
        assert _files_with(stage.root, "s3cret-value-of-alice") == []


def _files_with(root: Path, text: str) -> list[Path]:
    files = [one for one in root.rglob("*") if one.is_file()]
    return [one for one in files if text.encode() in one.read_bytes()]


def test_a_volume_is_the_revision_that_was_named(stage: Stage) -> None:
    code = "import sys; print(open(sys.argv[1]).read()); open(sys.argv[1].split('=')[-1])"
    with stage.serving() as api:
        old = scripts(api, {"rows/a.txt": "old"})
        scripts(api, {"rows/a.txt": "new"})
        ids = [
            run(api, code, "/orchestrator/rows/a.txt", volumes=[_volume(revision=old)]),
            run(api, code, "/orchestrator/rows/a.txt", volumes=[_volume()]),
            run(api, code, "/orchestrator/a.txt", volumes=[_volume(path="rows")]),
        ]
        for job_id in ids:
            stage.ended(job_id)
        assert [stage.log(job_id)[1] for job_id in ids] == ["old", "new", "new"]


def _volume(**more: str) -> Volume:
    return Volume(
        type="dataset",
        source="alice/code",
        mount_path="/orchestrator",
        read_only=True,
        **more,
    )


def test_what_a_job_does_to_a_volume_does_not_reach_the_hub(stage: Stage) -> None:
    code = "import os, sys; os.chmod(sys.argv[1], 0o600); open(sys.argv[1], 'w').write('bad')"
    with stage.serving() as api:
        scripts(api, {"a.txt": "good"})
        job_id = run(api, code, "/orchestrator/a.txt", volumes=[_volume()])
        stage.ended(job_id)
        path = api.hf_hub_download("alice/code", "a.txt", repo_type="dataset")
        assert Path(path).read_text() == "good"


def test_paths_of_the_container_are_paths_of_the_job(stage: Stage) -> None:
    code = (
        "import os, sys; os.makedirs(sys.argv[1]); print(*sys.argv[1:], os.environ['PLACE'],"
        " os.environ['OTHER'], sep='\\n')"
    )
    with stage.serving() as api:
        scripts(api, {"a.txt": "x"})
        job_id = run(
            api,
            code,
            *(OUTPUT, f"--to={OUTPUT}/x", "/orchestratorx", f"{OUTPUT[:4]}x"),
            env={"PLACE": "/orchestrator/a.txt", "OTHER": "hf://x/orchestrator"},
            volumes=[_volume()],
        )
        assert stage.ended(job_id).exit_code == 0, stage.log(job_id)
        output, flag, like_a_mount, like_tmp, place, other = stage.log(job_id)[1:]
        work = str(stage.face.store.work_folder(job_id))
        assert output == work + OUTPUT
        assert flag == f"--to={output}/x"
        assert (like_a_mount, like_tmp) == ("/orchestratorx", f"{OUTPUT[:4]}x")
        assert place == f"{work}/volumes/0/a.txt"
        assert other == "hf://x/orchestrator"
        assert not Path(work).exists(), "the file system of a job is deleted at its end"


def test_uv_run_is_this_interpreter_with_the_script_s_own_folder(stage: Stage) -> None:
    files = {
        "job.py": (
            "import subprocess, sys; print('outer', *sys.argv[1:], flush=True);"
            "sys.exit(subprocess.call(['uv', 'run', '--no-project', '--with', 'x', *sys.argv[1:]]))"
        ),
        "sft.py": "import sys, calls; print(sys.executable, calls.WORD, *sys.argv[1:])",
        "calls.py": "WORD = 'beside'",
    }
    with stage.serving() as api:
        scripts(api, files)
        command = ["uv", "run", "/orchestrator/job.py", "/orchestrator/sft.py", "--epochs", "2"]
        job_id = submit(api, command, volumes=[_volume()])
        assert stage.ended(job_id).exit_code == 0, stage.log(job_id)
        outer, inner = stage.log(job_id)[1:]
        assert outer.startswith("outer ")
        assert inner == f"{sys.executable} beside --epochs 2"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["uv", "pip", "install", "x"], "`uv pip install` is not served here"),
        (["uv", "run", "https://example.com/x.py"], "scripts from the internet are not run"),
        (["uv", "run"], "was given no script"),
        (["uv", "run", "--with", "x"], "was given no script"),
        (["uv", "run", "no-such-program"], "no-such-program cannot be run"),
    ],
)
def test_what_uv_does_not_do_here_is_told(stage: Stage, command: list[str], said: str) -> None:
    with stage.serving() as api:
        job_id = submit(api, command)
        assert stage.ended(job_id).exit_code == 2
        assert said in stage.log(job_id)[-1]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["uv", "run", "python", "-c", "print('as python')"], "as python"),
        (["uv", "run", "-q", "--", "echo", "as it is"], "as it is"),
        (
            ["uv", "run", "-m", "this"],
            "Namespaces are one honking great idea -- let's do more of those!",
        ),
        (["uv", "--version"], "uv 0.0.0 (sandbox)"),
        (["sh", "-c", "python3 -c 'print(1 + 1)'"], "2"),
    ],
)
def test_other_ways_to_start_a_script_work(stage: Stage, command: list[str], said: str) -> None:
    with stage.serving() as api:
        job_id = submit(api, command)
        assert stage.ended(job_id).exit_code == 0, stage.log(job_id)
        assert stage.log(job_id)[-1] == said


def test_nothing_that_a_job_started_is_left(stage: Stage) -> None:
    code = (
        "import subprocess, sys; wait = [sys.executable, '-c', 'import time; time.sleep(600)'];"
        "print(subprocess.Popen(wait).pid, subprocess.Popen(wait, start_new_session=True).pid)"
    )
    with stage.serving() as api:
        job_id = run(api, code)
        assert stage.ended(job_id).stage is JobStage.COMPLETED
        pids = [int(text) for text in stage.log(job_id)[1].split()]
        assert [pid for pid in pids if _is_running(pid)] == []


def _is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _seconds(job: JobInfo) -> tuple[int | None, int | None]:
    """How long a job was scheduled, and how long it ran."""
    assert job.durations is not None
    return job.durations.scheduling_secs, job.durations.running_secs


def test_a_job_is_stopped_at_its_timeout(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, WAITS, timeout="1.5h")
        stage.until_said(job_id, "ready")
        stage.clock.advance(5399)
        assert api.inspect_job(job_id=job_id, namespace="alice").status.stage == "RUNNING"
        stage.clock.advance(1)
        stage.ended(job_id)
        job = api.inspect_job(job_id=job_id, namespace="alice")
        assert (job.status.stage, job.status.message) == ("ERROR", "Job timeout")
        assert _seconds(job)[1] == 5400


def test_without_a_timeout_a_job_is_stopped_after_half_an_hour(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, WAITS)
        stage.until_said(job_id, "ready")
        stage.clock.advance(1799)
        assert not stage.face.queue.is_quiet(job_id)
        stage.clock.advance(1)
        assert stage.ended(job_id).message == "Job timeout"


def test_a_job_has_a_time_of_grace_and_no_more(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, STUBBORN, timeout=60)
        stage.until_said(job_id, "ready")
        stage.clock.advance(60)
        stage.until_said(job_id, "no")
        stage.clock.advance(29)
        assert not stage.face.queue.is_quiet(job_id)
        stage.clock.advance(1)
        ended = stage.ended(job_id)
        assert ended.message == "Job timeout"
        assert ended.started_at is not None
        assert ended.finished_at is not None
        assert (ended.finished_at - ended.started_at).total_seconds() == 60


def test_a_keeper_that_is_asked_to_end_can_still_upload(stage: Stage) -> None:
    code = (
        "import signal, sys, time\n"
        "from huggingface_hub import HfApi\n"
        "def end(*_):\n"
        "    HfApi().upload_file(path_or_fileobj=b'kept', path_in_repo='checkpoint.txt',"
        " repo_id='alice/candidates')\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "HfApi().create_repo('alice/candidates', private=True)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    with stage.serving() as api:
        job_id = run(api, code, secrets={"HF_TOKEN": "hf_alice"}, timeout=60)
        stage.until_said(job_id, "ready")
        stage.clock.advance(60)
        assert stage.ended(job_id).message == "Job timeout"
        assert "checkpoint.txt" in api.list_repo_files("alice/candidates")


def test_a_cancelled_job_ends_and_cancelling_again_changes_nothing(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, WAITS)
        stage.until_said(job_id, "ready")
        api.cancel_job(job_id=job_id, namespace="alice")
        assert api.inspect_job(job_id=job_id, namespace="alice").status.stage == "CANCELED"
        first = stage.ended(job_id)
        api.cancel_job(job_id=job_id, namespace="alice")
        assert stage.ended(job_id) == first
        done = run(api, "pass")
        stage.ended(done)
        api.cancel_job(job_id=done, namespace="alice")
        assert stage.ended(done).stage is JobStage.COMPLETED


def test_jobs_beyond_the_quota_wait_for_a_place(stage: Stage) -> None:
    with stage.serving(JobsConduct(running_quota=1)) as api:
        first = run(api, WAITS)
        second = run(api, "print('at last')")
        elsewhere = run(api, "print('own quota')", namespace="lab")
        stage.until_said(first, "ready")
        stage.ended(elsewhere)
        assert api.inspect_job(job_id=second, namespace="alice").status.stage == "SCHEDULING"
        stage.clock.advance(100)
        api.cancel_job(job_id=first, namespace="alice")
        stage.ended(second)
        assert _seconds(api.inspect_job(job_id=second, namespace="alice")) == (100, 0)


def test_a_planned_duration_is_waited_out(stage: Stage) -> None:
    with stage.serving(JobsConduct(scheduling_s=30, running_s=3600)) as api:
        job_id = run(api, "print('done')", flavor="a10g-large", timeout="2h")
        stage.clock.advance(30)
        stage.until_said(job_id, "done")
        stage.clock.advance(3599)
        assert api.inspect_job(job_id=job_id, namespace="alice").status.stage == "RUNNING"
        stage.clock.advance(1)
        stage.ended(job_id)
        assert _seconds(api.inspect_job(job_id=job_id, namespace="alice")) == (30, 3600)
        [cost] = stage.face.bill()
        assert cost.cost_usd == pytest.approx(1.50)


def test_what_waited_goes_on_after_a_restart_and_what_ran_is_lost(stage: Stage) -> None:
    with stage.serving(JobsConduct(running_quota=1)) as api:
        ran = run(api, WAITS)
        stage.until_said(ran, "ready")
        waited = run(api, "import os; print(os.environ['KEY'][::-1])", secrets={"KEY": "abcdefghi"})
    with stage.serving(JobsConduct(running_quota=1)) as api:
        stage.ended(waited)
        assert stage.log(waited)[1:] == ["ihgfedcba"]
        status = api.inspect_job(job_id=ran, namespace="alice").status
        assert status.stage == "ERROR"
        assert "the sandbox ended while it ran" in (status.message or "")
        assert list(api.fetch_job_logs(job_id=ran, namespace="alice", follow=True)) == ["ready"]
