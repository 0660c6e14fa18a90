"""What must not happen whatever a job does: processes or secrets that stay, a standstill."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from orchestrator.clock import SYSTEM_CLOCK
from orchestrator.sandbox.edge.tokens import write_private
from orchestrator.sandbox.jobs import records
from orchestrator.sandbox.jobs.conduct import JobsConduct
from orchestrator.sandbox.jobs.face import Stage as JobStage
from orchestrator.sandbox.jobs.logs import LONGEST_LINE_BYTES, JobLog
from orchestrator.sandbox.jobs.stand_in import Files, Prepared, StandInFailed, is_stopped
from tests.sandbox.jobs.stage import WAITS, Stage, run

SECRET = "s3cret-value-of-alice"
#: Starts processes that hide: in sessions of their own, without the job's environment, orphaned.
HIDES = """
import os, subprocess, sys, time
wait = [sys.executable, "-c", "import time; time.sleep(600)"]
def start(**more):
    return subprocess.Popen(wait, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more).pid
pids = [start(), start(start_new_session=True), start(start_new_session=True, env={})]
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, str(start(env={})).encode())
    os._exit(0)
os.wait()
print(*pids, int(os.read(told, 20)), flush=True)
if len(sys.argv) > 1:
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells what detached itself")
@pytest.mark.parametrize("how", ["ends", "is cancelled", "is stopped with the sandbox"])
def test_nothing_stays_of_a_job_that_hid_what_it_started(stage: Stage, how: str) -> None:
    with stage.serving() as api:
        job_id = run(api, HIDES, *([] if how == "ends" else ["stay"]))
        assert stage.face.queue.wait_for(lambda: len(stage.log(job_id)) > 1, 30)
        pids = [int(text) for text in stage.log(job_id)[1].split()]
        assert len(pids) == 4
        if how == "is cancelled":
            api.cancel_job(job_id=job_id, namespace="alice")
        if how != "is stopped with the sandbox":
            stage.ended(job_id)
            assert [pid for pid in pids if _is_running(pid)] == []
    assert [pid for pid in pids if _is_running(pid)] == []


def _is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def a_log(file: Path, *secrets: str) -> JobLog:
    return JobLog(file, SYSTEM_CLOCK, lambda: None, secrets)


def lines_of(file: Path) -> list[str]:
    return [json.loads(line)["data"] for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("before", range(len(SECRET) + 1))
def test_a_secret_in_a_line_that_is_cut_is_masked_wherever_the_cut_is(
    tmp_path: Path, before: int
) -> None:
    log = a_log(tmp_path / "log", SECRET)
    filler = b"x" * (LONGEST_LINE_BYTES - before)
    said = filler + SECRET.encode() + b"y" * 100
    log.take(said[:LONGEST_LINE_BYTES])
    log.take(said[LONGEST_LINE_BYTES:])
    log.end_line()
    log.close()
    parts = lines_of(tmp_path / "log")
    assert len(parts) == 2
    assert "".join(parts) == f"{filler.decode()}***{'y' * 100}"
    assert log.masked


def test_a_very_long_line_is_taken_in_parts_without_breaking_characters(stage: Stage) -> None:
    code = f"import sys; sys.stdout.buffer.write(b'x' + 'é'.encode() * {LONGEST_LINE_BYTES})"
    with stage.serving() as api:
        job_id = run(api, code)
        stage.ended(job_id)
        parts = stage.log(job_id)[1:]
        assert len(parts) > 1
        assert "".join(parts) == "x" + "é" * LONGEST_LINE_BYTES


def test_each_line_of_a_secret_is_masked(tmp_path: Path) -> None:
    log = a_log(tmp_path / "log", "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC")
    for line in (b"MIIEvQIBADANBgkq\n", b"and hkiG9w0BAQEFAASC\n"):
        log.take(line)
    log.close()
    assert lines_of(tmp_path / "log") == ["***", "and ***"]


def test_output_that_is_no_text_reaches_the_log_line_by_line(stage: Stage) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb\x00c\n\n  d  \r\nno end')"
    with stage.serving() as api:
        job_id = run(api, code)
        stage.ended(job_id)
        assert stage.log(job_id)[1:] == ["a��b\x00c", "", "  d  ", "no end"]


def test_a_job_whose_log_finds_no_room_fails_with_the_reason(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = JobLog.__init__

    def on_a_full_disk(self: JobLog, *given: object) -> None:
        made(self, *given)  # type: ignore[arg-type]  # passed on as they came
        self._file.close()
        self._file = Path("/dev/full").open("ab")  # noqa: SIM115 (the log closes it)

    with stage.serving() as api:
        monkeypatch.setattr(JobLog, "__init__", on_a_full_disk)
        job_id = run(api, "import time\nwhile True: print('x' * 999, flush=True)")
        ended = stage.ended(job_id)
        assert ended.stage is JobStage.ERROR
        assert ended.message == "the log of the job cannot be written: No space left on device"


def test_a_job_that_cannot_be_written_down_is_not_accepted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:

    def until_full(file: Path, content: bytes) -> None:
        # The secrets come first, and find the last room.
        _no_room() if file.parent.name == "records" else write_private(file, content)

    with stage.serving(JobsConduct(scheduling_s=10)) as api:
        with monkeypatch.context() as full:
            full.setattr(records, "write_private", until_full)
            with pytest.raises(HfHubHTTPError, match="No space left on device"):
                run(api, "pass", secrets={"KEY": SECRET})
        assert stage.face.jobs() == []
        assert list((stage.root / "jobs" / "secrets").iterdir()) == []


def test_a_full_disk_stops_no_job_and_the_next_ones_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.serving() as api:
        job_id = run(api, WAITS)
        stage.until_said(job_id, "ready")
        with monkeypatch.context() as full:
            full.setattr(records, "write_private", _no_room)
            api.cancel_job(job_id=job_id, namespace="alice")
            assert stage.ended(job_id).stage is JobStage.CANCELED
        assert stage.ended(run(api, "pass")).stage is JobStage.COMPLETED


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_job_whose_secrets_are_unreadable_fails_alone(stage: Stage) -> None:
    with stage.serving(JobsConduct(scheduling_s=10)) as api:
        broken = run(api, "pass", secrets={"KEY": SECRET})
        (stage.root / "jobs" / "secrets" / f"{broken}.json").write_text("{")
        other = run(api, "pass")
        stage.clock.advance(10)
        ended = stage.ended(broken)
        assert (ended.stage, ended.message) == (
            JobStage.ERROR,
            "The secrets of the job cannot be read.",
        )
        assert stage.ended(other).stage is JobStage.COMPLETED


class SlowStandIn:
    """Takes as long as it may to prepare a job."""

    name = "slow"

    def prepare(self, command: object, files: Files) -> Prepared:
        stopped = is_stopped.get()
        for _ in range(3000):
            if stopped():
                raise StandInFailed("it was stopped meanwhile")
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")


def test_a_job_that_is_still_prepared_can_be_cancelled(stage: Stage) -> None:
    with stage.serving(stand_in=SlowStandIn()) as api:
        job_id = run(api, "pass")
        api.cancel_job(job_id=job_id, namespace="alice")
        assert stage.ended(job_id).stage is JobStage.CANCELED


@pytest.mark.parametrize("places", [["/"], ["//"], ["/a/../b"], ["/a//b"], ["/a", "/a/"]])
def test_a_volume_needs_a_folder_of_its_own(stage: Stage, places: list[str]) -> None:
    volumes = [{"type": "dataset", "source": "a/b", "mountPath": place} for place in places]
    body = {"command": ["true"], "flavor": "cpu-basic", "dockerImage": "x", "volumes": volumes}
    with stage.serving():
        answer = stage.ask("POST", "/api/jobs/alice", json=body)
        assert answer.status_code == 400
        assert "volumes" in answer.json()["error"]
