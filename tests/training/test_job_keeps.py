"""What `job.py` keeps of a script's results, on a Hub that works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.training import job_kept
from tests.training.keeper_stage import CANDIDATE, RUN, STATE, TOKEN, WHOLE, JobHub, Place


def checkpoint(step: int, names: set[str]) -> set[str]:
    return {f"checkpoint-{step}/{name}" for name in names}


def test_a_finished_script_leaves_everything_on_its_branch(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    running = place.start("say('start'); save(3); print('a remark'); finish(); say('end')")
    assert running.end() == 0, running.errors
    assert hub.files("attempt-1") == {
        *checkpoint(3, WHOLE),
        "final/adapter_model.safetensors",
        "metrics.jsonl",
        "result.json",
    }
    lines = hub.content("attempt-1/metrics.jsonl", tmp_path / "read").decode().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "checkpoint", "end"]
    result = json.loads(hub.content("attempt-1/result.json", tmp_path / "read"))
    assert (result["kind"], result["script"], result["exit_code"]) == ("tune", "sft.py", 0)
    assert result["seconds"] > 0
    assert result["files"] == 2
    assert hub.titles() == ["attempt-1: checkpoint-3", "attempt-1: rest"]
    told = [one for one in running.events if one["event"] == "kept"]
    assert [(one["what"], one["prefix"]) for one in told] == [
        ("checkpoint-3", "attempt-1"),
        ("rest", "attempt-1"),
    ]
    head = hub.api.repo_info(CANDIDATE, revision=RUN).sha
    assert told[-1]["revision"] == head


def test_the_candidate_is_private_and_main_stays_empty(hub: JobHub, place: Place) -> None:
    assert place.start("finish()").end() == 0
    assert hub.api.repo_info(CANDIDATE).private
    assert set(hub.api.list_repo_files(CANDIDATE)) == {".gitattributes"}


def test_a_public_repo_takes_no_candidates(hub: JobHub, place: Place) -> None:
    hub.api.create_repo(CANDIDATE, private=False)
    running = place.start("(out / 'ran').touch(); finish()")
    assert running.end() == 1
    assert "is public" in running.errors
    assert not running.output.exists()


def test_a_checkpoint_is_kept_while_the_training_goes_on(hub: JobHub, place: Place) -> None:
    running = place.start("say('log', loss=1.5); save(3); gate(); finish()")
    running.until("kept", what="checkpoint-3")
    assert hub.files("attempt-1") == {*checkpoint(3, WHOLE), "metrics.jsonl"}
    running.open_gate()
    assert running.end() == 0


def test_two_checkpoints_stay_and_only_the_newest_with_what_resumes_it(
    hub: JobHub, place: Place
) -> None:
    running = place.start("[(save(n), gate()) for n in (3, 6, 9)]; finish()")
    for step in (3, 6, 9):
        running.until("kept", what=f"checkpoint-{step}")
        running.open_gate()
    assert running.end() == 0
    kept = {path for path in hub.files("attempt-1") if path.startswith("checkpoint")}
    assert kept == checkpoint(6, WHOLE - STATE) | checkpoint(9, WHOLE)
    # The old state goes in the commit that brings the new: there is never none.
    assert hub.titles() == [f"attempt-1: checkpoint-{n}" for n in (3, 6, 9)] + ["attempt-1: rest"]


def test_the_newest_checkpoint_passes_those_over_that_still_wait(hub: JobHub, place: Place) -> None:
    hub.fault(operation="POST", target="/commit/", effect="delay", delay_s=3600)
    running = place.start("save(3); gate(); [save(n) for n in (6, 9, 12)]; gate(); finish()")
    running.until("checkpoint", step=3)
    hub.wait_for_fault()
    running.open_gate()
    running.until("checkpoint", step=12)
    hub.clock.advance(3600)
    running.until("kept", what="checkpoint-12")
    running.open_gate()
    assert running.end() == 0
    titles = [title.removeprefix("attempt-1: ") for title in hub.titles()]
    assert titles == ["checkpoint-3", "checkpoint-12", "rest"]


def test_a_checkpoint_is_kept_that_the_trainer_deletes_at_once(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    hub.fault(operation="POST", target="/preupload/", effect="error", status=503)
    script = "import shutil; save(3); gate(); shutil.rmtree(out / 'checkpoint-3'); gate(); finish()"
    running = place.start(script)
    running.until("checkpoint")
    running.open_gate()
    running.until("kept", what="checkpoint-3")
    running.open_gate()
    assert running.end() == 0
    weights = "attempt-1/checkpoint-3/adapter_model.safetensors"
    assert hub.content(weights, tmp_path / "read") == b"weights 3"


def test_a_checkpoint_that_was_not_reported_is_not_kept(hub: JobHub, place: Place) -> None:
    script = "(out / 'checkpoint-9').mkdir(); (out / 'checkpoint-9/half').write_text('x'); finish()"
    assert place.start(script).end() == 0
    assert not any(path.startswith("checkpoint") for path in hub.files("attempt-1"))


def test_a_report_of_a_folder_elsewhere_keeps_nothing(hub: JobHub, place: Place) -> None:
    script = (
        "[say('checkpoint', step=1, folder=f) for f in ('..', '/etc', 'checkpoint-1')]; finish()"
    )
    running = place.start(script)
    assert running.end() == 0
    assert hub.files("attempt-1") == {
        "final/adapter_model.safetensors",
        "metrics.jsonl",
        "result.json",
    }


def test_pickles_cards_and_links_stay_behind(hub: JobHub, place: Place) -> None:
    script = (
        "finish(); (out / 'final/training_args.bin').touch();"
        "(out / 'final/README.md').write_text('at /home/me');"
        "(out / 'link').symlink_to('/etc/hosts')"
    )
    assert place.start(script).end() == 0
    assert hub.files("attempt-1") == {"final/adapter_model.safetensors", "result.json"}


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("final/adapter_model.safetensors", True),
        ("merged/model.safetensors", True),
        ("predictions.jsonl", True),
        ("router.gguf", True),
        ("router.litertlm", True),
        ("final/.cache", False),
        ("checkpoint-3/adapter_model.safetensors", False),
        ("metrics.jsonl", False),
    ],
)
def test_what_counts_as_something_to_show(tmp_path: Path, path: str, shows: bool) -> None:
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert not job_kept.shows_something(tmp_path)  # nothing is in it
    file.write_text("w")
    assert job_kept.shows_something(tmp_path) == shows


def test_a_script_that_ends_well_with_nothing_to_show_has_failed(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    running = place.start("save(3); (out / 'final').mkdir(); say('end')")
    assert running.end() == 1
    assert "nothing to show" in running.errors
    assert [one for one in running.events if one["event"] == "nothing_to_show"]
    result = json.loads(hub.content("attempt-1/result.json", tmp_path / "read"))
    assert result["exit_code"] == 1
    assert "nothing to show" in result["problem"]


def test_what_a_script_says_passes_whole_at_once_and_unmixed(place: Place) -> None:
    script = "save(3); [print('x' * 5000, n, flush=True) for n in range(200)];"
    script += "print('no end', end='', flush=True); gate(); finish()"
    running = place.start(script)
    running.until("kept", what="checkpoint-3")
    running.open_gate()
    assert running.end() == 0
    said = [line for line in running.lines if not line.startswith("{")]
    assert said == ["x" * 5000 + f" {n}" for n in range(200)] + ["no end"]
    assert all(isinstance(one["event"], str) for one in running.events)


def test_standard_error_passes_through(place: Place) -> None:
    running = place.start("print('a warning', file=sys.stderr); finish()")
    assert running.end() == 0
    assert running.errors == "a warning\n"


def test_the_token_is_never_printed_and_never_kept(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    hub.fault(
        operation="POST", target="/commit/", effect="error", message=f"bad {TOKEN}", times=None
    )
    script = "say('start', token=os.environ['HF_TOKEN']); print(os.environ['HF_TOKEN']); finish()"
    running = place.start(script, options=("--retry-for-s", "0.2"), HF_DEBUG="1")
    assert running.end() == 1
    assert TOKEN not in "\n".join(running.lines) + running.errors
    assert TOKEN not in (running.output / "metrics.jsonl").read_text()


def test_arguments_reach_the_script_as_they_are(place: Place, tmp_path: Path) -> None:
    script = "(out / 'seen').write_text(json.dumps(sys.argv[1:])); finish()"
    given = ("--rows", "a file.jsonl", "--", "--stop", "\n\n", "*", "$HOME")
    running = place.start(script, *given)
    assert running.end() == 0
    seen = json.loads((running.output / "seen").read_text())
    assert seen == [*given, "--output", str(running.output)]


def test_what_grows_is_kept_between_checkpoints_as_far_as_it_is_whole(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    script = "(out / 'predictions.jsonl').write_text('{\"row\": 0}\\n{\"ro'); gate()"
    running = place.start(script, name="generate.py", options=("--keep-every-s", "0.05"))
    running.until("kept", what="progress")
    home = tmp_path / "read"
    assert hub.content("attempt-1/predictions.jsonl", home) == b'{"row": 0}\n'
    running.open_gate()
    assert running.end() == 0
    assert hub.titles() == ["attempt-1: progress", "attempt-1: rest"]
