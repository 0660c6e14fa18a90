"""What the keeper of jobs does with answers under conditions, each in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.training.keeper_stage import JobHub, Place

#: Answers as `generate.py` does under two conditions.
ANSWERED = """
for name in ("tuned", "base"):
    (out / name).mkdir(exist_ok=True)
    (out / name / "run.json").write_text(name)
    with (out / name / "predictions.jsonl").open("a") as predictions:
        predictions.write('{"row": 0}\\n')
"""


def test_answers_in_folders_are_something_to_show_and_are_listed(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    running = place.start(ANSWERED, name="generate.py")
    assert running.end() == 0, running.errors
    assert {f"{one}/predictions.jsonl" for one in ("tuned", "base")} < hub.files("attempt-1")
    result = json.loads(hub.content("attempt-1/result.json", tmp_path / "cache"))
    assert (result["kind"], result["conditions"]) == ("generate", ["base", "tuned"])


def test_what_other_conditions_answered_is_kept_though_the_job_fails(
    hub: JobHub, place: Place, tmp_path: Path
) -> None:
    running = place.start(ANSWERED + "sys.exit(3)", name="generate.py")
    assert running.end() == 3, running.errors
    assert "tuned/predictions.jsonl" in hub.files("attempt-1")
    result = json.loads(hub.content("attempt-1/result.json", tmp_path / "cache"))
    assert (result["exit_code"], result["conditions"]) == (3, ["base", "tuned"])


def test_empty_answers_in_folders_are_nothing_to_show(place: Place) -> None:
    running = place.start(
        "(out / 'base').mkdir(); (out / 'base' / 'predictions.jsonl').touch()", name="generate.py"
    )
    assert running.end() == 1
    assert "nothing to show" in running.errors


def test_answers_are_kept_while_they_grow(hub: JobHub, place: Place) -> None:
    script = ANSWERED + "(out / 'base' / 'predictions.jsonl').open('a').write('half')"
    script += "; say('progress', rows=1); gate()"
    running = place.start(script, name="generate.py", options=("--keep-every-s", "0.2"))
    running.until("kept", what="progress")
    there = hub.files("attempt-1")
    running.open_gate()
    assert running.end() == 0, running.errors
    assert {"base/predictions.jsonl", "tuned/run.json"} < there


def test_each_condition_goes_on_from_the_last_attempt_that_answered_it(
    hub: JobHub, place: Place
) -> None:
    def attempt(number: int, script: str, code: int = 1) -> Path:
        earlier = [("--resume-from-prefix", f"attempt-{one}") for one in range(1, number)]
        running = place.start(
            script,
            name="generate.py",
            prefix=f"attempt-{number}",
            options=tuple(word for pair in earlier for word in pair),
        )
        assert running.end() == code, running.errors
        return running.output

    attempt(1, ANSWERED + "sys.exit(1)")
    only_base = ANSWERED.replace('"tuned", "base"', '"base",').replace("(name)", "('newer')")
    # The second attempt dies before it has fetched anything of the first one's.
    attempt(2, "import shutil; shutil.rmtree(out / 'tuned');" + only_base + "sys.exit(1)")
    output = attempt(3, "", code=0)
    found = {one.parent.name: one.read_text() for one in output.glob("*/run.json")}
    assert found == {"tuned": "tuned", "base": "newer"}
    assert len((output / "base" / "predictions.jsonl").read_text().splitlines()) == 2
