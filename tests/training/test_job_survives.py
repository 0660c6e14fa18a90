"""What `job.py` saves when the script, its time, the Hub or the job itself ends badly."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.keeper_stage import CANDIDATE, RUN, STATE, WHOLE, JobHub, Place, Running

KEPT_3 = {f"checkpoint-3/{name}" for name in WHOLE}
KEPT_6 = {f"checkpoint-6/{name}" for name in WHOLE}
FINAL = {"final/adapter_model.safetensors", "result.json"}
CONTENT = "cdn-lfs"
SOON = ("--retry-for-s", "0.3")


def result_of(hub: JobHub, home: Path, prefix: str = "attempt-1") -> dict[str, Any]:
    value: dict[str, Any] = json.loads(hub.content(f"{prefix}/result.json", home))
    return value


def told(running: Running, event: str) -> list[dict[str, Any]]:
    return [one for one in running.events if one["event"] == event]


# --- The end of the time ----------------------------------------------------------------------


def test_a_job_told_to_stop_keeps_its_last_checkpoint_and_tells_its_script(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    script = "signal.signal(15, lambda *_: (say('failed'), sys.exit(143))); save(3); gate()"
    running = place.start(script)
    running.until("kept", what="checkpoint-3")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 143
    assert hub.files("attempt-1") == KEPT_3 | {"metrics.jsonl", "result.json"}
    result = result_of(hub, tmp_path / "read")
    assert (result["exit_code"], result["signal"]) == (143, signal.SIGTERM)
    assert told(running, "failed")


def test_a_checkpoint_whose_upload_had_not_begun_is_kept_in_the_grace_time(
    hub: JobHub, place: Place
) -> None:
    # Two tries fail; the next ones come long after the signal, if nothing hurries them.
    hub.fault(operation="POST", target="/commit/", effect="error", status=503, times=2)
    running = place.start("save(3); gate()", options=("--first-wait-s", "30"))
    running.until("checkpoint")
    hub.wait_for_fault()
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 143
    assert hub.files("attempt-1") >= KEPT_3


def test_a_script_that_does_not_stop_is_stopped_and_its_work_kept(
    hub: JobHub, place: Place
) -> None:
    script = "signal.signal(15, signal.SIG_IGN); save(3); gate(); gate()"
    running = place.start(script, options=("--grace-s", "3"))
    running.until("kept", what="checkpoint-3")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 128 + signal.SIGKILL
    assert hub.files("attempt-1") == KEPT_3 | {"metrics.jsonl", "result.json"}


def test_an_upload_that_hangs_does_not_outlast_the_grace_time(hub: JobHub, place: Place) -> None:
    hub.fault(operation="POST", target="/commit/", effect="stall", times=None)
    running = place.start("save(3); gate()", options=("--grace-s", "1"))
    running.until("checkpoint")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 143
    assert told(running, "not_kept")[-1]["message"] == "the time was over"
    assert "could not be kept" in running.errors


# --- A crash ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("1 / 0", 1)]
)
def test_a_script_that_crashes_keeps_what_it_had_and_its_exit_code(
    hub: JobHub, place: Place, tmp_path: Path, ending: str, code: int
) -> None:
    running = place.start(f"save(3); (out / 'checkpoint-6').mkdir(); {ending}")
    assert running.end() == code
    assert hub.files("attempt-1") == KEPT_3 | {"metrics.jsonl", "result.json"}
    assert result_of(hub, tmp_path / "read")["exit_code"] == code


def test_a_job_killed_in_the_middle_of_an_upload_leaves_the_branch_whole(
    hub: JobHub, place: Place
) -> None:
    running = place.start("save(3); gate(); save(6); gate()")
    running.until("kept", what="checkpoint-3")
    hub.fault(operation="POST", target="/commit/", effect="stall")
    running.open_gate()
    running.until("checkpoint", step=6)
    hub.wait_for_fault()
    os.killpg(running.process.pid, signal.SIGKILL)
    running.end()
    assert hub.files("attempt-1") == KEPT_3 | {"metrics.jsonl"}
    assert hub.titles() == ["attempt-1: checkpoint-3"]


def test_no_script_outlives_the_group_of_its_job(hub: JobHub, place: Place) -> None:
    running = place.start("say('pid', pid=os.getpid()); gate()")
    pid = running.until("pid")["pid"]
    assert os.getpgid(pid) == running.process.pid


# --- Going on -------------------------------------------------------------------------------------


SEEN = "(out / 'seen').write_text(json.dumps(sys.argv[1:])); finish()"


def test_a_new_attempt_goes_on_from_the_newest_checkpoint_of_the_others(
    hub: JobHub, place: Place
) -> None:
    place.start("save(3, 'of the first'); save(6, 'of the first')", prefix="attempt-1").end()
    place.start("save(5, 'of the second')", prefix="attempt-2").end()
    before = hub.files("attempt-1")
    earlier = ("--resume-from-prefix", "attempt-1", "--resume-from-prefix", "attempt-2")
    running = place.start(SEEN, prefix="attempt-3", options=earlier)
    assert running.end() == 0
    resumed = told(running, "resumed")
    assert [(one["prefix"], one["what"]) for one in resumed] == [("attempt-1", "checkpoint-6")]
    folder = running.output / "checkpoint-6"
    seen = json.loads((running.output / "seen").read_text())
    assert seen[-2:] == ["--resume", str(folder)]
    assert {file.name for file in folder.iterdir()} == WHOLE
    assert (folder / "adapter_model.safetensors").read_text() == "of the first 6"
    assert (folder / "optimizer.pt").read_text() == "optimizer.pt 6"
    # What it went on from stays where it was, and is not kept a second time.
    assert hub.files("attempt-1") == before
    assert hub.files("attempt-3") == FINAL | {"seen"}
    assert {one.name for one in running.folder.iterdir()} >= {"output", "gate"}
    assert not [one for one in running.folder.iterdir() if one.name.startswith(".output")]


def test_an_attempt_without_an_earlier_checkpoint_begins_at_the_beginning(place: Place) -> None:
    running = place.start(SEEN, options=("--resume-from-prefix", "attempt-0"))
    assert running.end() == 0
    assert "--resume" not in json.loads((running.output / "seen").read_text())
    assert not told(running, "resumed")


def test_an_attempt_that_the_service_starts_again_goes_on_from_its_own(place: Place) -> None:
    place.start("save(3); sys.exit(1)").end()
    running = place.start(SEEN)
    assert running.end() == 0
    assert told(running, "resumed")[0]["prefix"] == "attempt-1"


def test_predictions_go_on_from_those_that_were_kept(hub: JobHub, place: Place) -> None:
    first = "(out / 'predictions.jsonl').write_text('{}\\n'); (out / 'run.json').write_text('{}');"
    place.start(first + "sys.exit(1)", name="generate.py", prefix="attempt-1").end()
    running = place.start(
        "(out / 'was').write_text(str(sorted(os.listdir(out)))); sys.exit('--resume' in sys.argv)",
        name="generate.py",
        prefix="attempt-2",
        options=("--resume-from-prefix", "attempt-1"),
    )
    assert running.end() == 0, running.errors
    assert (running.output / "was").read_text() == "['predictions.jsonl', 'run.json']"


def test_bytes_spoiled_on_their_way_are_fetched_again(hub: JobHub, place: Place) -> None:
    place.start("save(3, 'w' * 100); sys.exit(1)").end()
    hub.fault(operation="GET", target=CONTENT, effect="corrupt")
    running = place.start(SEEN, prefix="attempt-2", options=("--resume-from-prefix", "attempt-1"))
    assert running.end() == 0, running.errors
    weights = running.output / "checkpoint-3" / "adapter_model.safetensors"
    assert weights.read_text() == "w" * 100 + " 3"
    assert hub.met


def test_a_checkpoint_that_cannot_be_had_whole_starts_no_training(
    hub: JobHub, place: Place
) -> None:
    place.start("save(3, 'w' * 100); sys.exit(1)").end()
    hub.fault(operation="GET", target=CONTENT, effect="corrupt", times=None)
    running = place.start(SEEN, prefix="attempt-2", options=("--resume-from-prefix", "attempt-1"))
    assert running.end() == 1
    assert "other bytes came" in running.errors
    assert not (running.output / "seen").exists()


# --- A Hub that does not answer -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"effect": "drop", "after": True},
        {"effect": "error", "status": 500, "after": True},
        {"effect": "error", "status": 429, "retry_after_s": 0},
        {"effect": "cut", "keep_bytes": 5},
    ],
    ids=["lost answer", "500 after the effect", "429", "cut answer"],
)
def test_every_commit_may_fail_once_and_nothing_is_lost_or_doubled(
    hub: JobHub, place: Place, fault: dict[str, Any]
) -> None:
    # Two faults, each for the first try of one of the two commits.
    script = "save(3); gate(); finish()"
    hub.fault(operation="POST", target="/commit/", **fault)
    running = place.start(script)
    running.until("kept", what="checkpoint-3")
    hub.fault(operation="POST", target="/commit/", **fault)
    running.open_gate()
    assert running.end() == 0, running.errors
    assert hub.files("attempt-1") == KEPT_3 | FINAL | {"metrics.jsonl"}
    assert hub.titles() == ["attempt-1: checkpoint-3", "attempt-1: rest"]
    assert hub.met == 2


def test_preparing_survives_lost_answers(hub: JobHub, place: Place) -> None:
    for target in ("/api/repos/create", "/branch/", "/revision/", "/tree/"):
        hub.fault(target=target, effect="drop", after=True)
    running = place.start("finish()")
    assert running.end() == 0, running.errors
    assert hub.files("attempt-1") == FINAL
    assert hub.met == 4


def test_an_upload_that_fails_for_good_is_told_and_the_training_goes_on(
    hub: JobHub, place: Place
) -> None:
    hub.fault(operation="POST", target="/commit/", effect="error", status=400, message="no")
    running = place.start("save(3); gate(); finish()")
    assert "no" in running.until("not_kept", what="checkpoint-3")["message"]
    running.open_gate()
    assert running.end() == 0
    assert hub.files("attempt-1") == FINAL | {"metrics.jsonl"}


def test_a_job_whose_last_upload_fails_has_failed(hub: JobHub, place: Place) -> None:
    hub.fault(operation="POST", target="/commit/", effect="error", status=503, times=None)
    running = place.start("finish()", options=SOON)
    assert running.end() == 1
    assert "given up" in told(running, "not_kept")[-1]["message"]
    assert "could not be kept" in running.errors


def test_a_hub_that_is_away_starts_no_training(hub: JobHub, place: Place) -> None:
    hub.fault(effect="drop", times=None)
    running = place.start("finish()", options=SOON)
    assert running.end() == 1
    assert running.errors.startswith("job.py: prepare the branch run-1")
    assert not running.output.exists()


def test_a_token_that_may_not_write_starts_no_training(hub: JobHub, place: Place) -> None:
    running = place.start("finish()", HF_TOKEN="hf_bob")
    assert running.end() == 1
    assert running.errors.startswith("job.py: prepare the branch")
    assert "Traceback" not in running.errors
    assert not running.output.exists()


# --- Two at once ----------------------------------------------------------------------------------


def test_a_line_that_cannot_be_read_holds_nothing_up(hub: JobHub, place: Place) -> None:
    # Nested deeper than any reader goes, and longer than a pipe holds.
    script = """print('{"a":' * 200_000, flush=True); print("x" * 3_000_000, flush=True)
save(3); finish()"""
    running = place.start(script)
    assert running.end() == 0
    assert hub.files("attempt-1") == KEPT_3 | FINAL | {"metrics.jsonl"}


def test_a_full_disk_loses_no_more_than_the_account(hub: JobHub, place: Place) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    script = """
for name in ("metrics.jsonl", "result.json"):
    (out / name).symlink_to("/dev/full")
save(3); finish()"""
    running = place.start(script)
    assert running.end() == 0
    assert hub.files("attempt-1") == KEPT_3 | {"final/adapter_model.safetensors"}
    lost = {one["what"] for one in told(running, "not_kept")}
    assert lost == {"metrics", "result.json"}


def test_two_attempts_of_a_run_do_not_disturb_each_other(hub: JobHub, place: Place) -> None:
    script = "[save(n) for n in (3, 6)]; gate(); finish()"
    first = place.start(script, prefix="attempt-1")
    second = place.start(script, prefix="attempt-2")
    for running in (first, second):
        running.until("kept", what="checkpoint-6")
        running.open_gate()
    assert [first.end(), second.end()] == [0, 0]
    for prefix in ("attempt-1", "attempt-2"):
        files = hub.files(prefix)
        assert files >= KEPT_6 | FINAL
        assert not {f"checkpoint-3/{name}" for name in STATE} & files
    assert len(hub.titles()) == len(set(hub.titles()))


def test_a_commit_of_another_in_between_is_no_obstacle(hub: JobHub, place: Place) -> None:
    hub.fault(operation="POST", target="/preupload/", effect="delay", delay_s=3600)
    running = place.start("save(3); gate(); finish()")
    running.until("checkpoint")
    hub.wait_for_fault()
    hub.api.upload_file(
        path_or_fileobj=b"x", path_in_repo="attempt-0/x", repo_id=CANDIDATE, revision=RUN
    )
    hub.clock.advance(3600)
    running.until("kept", what="checkpoint-3")
    running.open_gate()
    assert running.end() == 0
    assert hub.files("attempt-1") >= KEPT_3 | FINAL
    assert hub.files("attempt-0") == {"x"}
    # The other's, ours which named a parent that was no longer the head, ours again, and the rest.
    assert sum("/commit/" in path for _, path in hub.stage.requests) == 4


# --- Wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "arguments", "said"),
    [
        (("--prefix", "../up"), (), "--prefix ../up: must be"),
        (("--candidate", "router"), (), "--candidate router: must be like"),
        (("--resume-from-prefix", "a/b"), (), "--resume-from-prefix a/b: must be"),
        (("--grace-s", "-1"), (), "--grace-s"),
        (("--branch",), (), "--branch: expected one argument"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_asked(
    hub: JobHub, place: Place, options: tuple[str, ...], arguments: tuple[str, ...], said: str
) -> None:
    running = place.start("finish()", *arguments, options=options)
    assert running.end() == 2
    assert said in running.errors
    assert "Traceback" not in running.errors
    assert hub.stage.requests == []


def test_without_a_token_nothing_starts(hub: JobHub, place: Place) -> None:
    running = place.start("finish()", HF_TOKEN="")
    assert running.end() == 2
    assert running.errors.startswith("job.py: HF_TOKEN is not set")


def test_without_uv_nothing_starts(place: Place, tmp_path: Path) -> None:
    running = place.start("finish()", PATH=str(tmp_path))
    assert running.end() == 2
    assert running.errors.startswith("job.py: uv is not on the PATH")
