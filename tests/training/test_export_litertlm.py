"""export_litertlm.py: what it checks; and a real export where its environment is at hand.

`ORCHESTRATOR_LITERTLM_PYTHON` names a Python that has what the script's first lines name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.sandbox.standins import tiny_model
from orchestrator.training import export_litertlm as script

SCRIPT = Path(script.__file__)
PARITY = SCRIPT.parents[2] / "benchmarks" / "export_parity.py"
WRITTEN = script.Written(256, (32,), "<s>", ("#1", "<|end|>\n", " <|end|>\n"), "gemma3")


def _tokenizer() -> Any:
    def render(messages: list[dict[str, str]], *, tokenize: bool) -> str:
        return "".join(f"[{one['role']}]{one['content']}<|end|>\n" for one in messages)

    return SimpleNamespace(
        apply_chat_template=render,
        added_tokens_encoder={"<|end|>": 7, "<s>": 0},
        convert_tokens_to_ids={"<|end|>": 7}.get,
    )


def _check(**changes: Any) -> list[str]:
    arguments = script.parse_arguments(
        ["--model", "m", "--output", "o", "--prefill", "32", "--kv-cache", "256"]
    )
    written = script.Written(**{**WRITTEN.__dict__, **changes})
    return script.check(written, arguments, _tokenizer())


def test_a_file_that_is_as_it_was_asked_for_passes() -> None:
    assert _check() == []
    assert _check(stop=("#7",)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kv_cache": 4096}, "holds 4096 tokens instead of 256"),
        ({"prefill": (128,)}, "prefills (128,) tokens instead of [32]"),
        ({"stop": ("#1",)}, "does not stop at '<|end|>"),
    ],
)
def test_what_is_not_as_it_was_asked_for_is_told(changes: dict[str, Any], words: str) -> None:
    (problem,) = _check(**changes)
    assert words in problem


def test_the_cache_must_hold_more_than_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.parse_arguments(
            ["--model", "m", "--output", "o", "--prefill", "8", "64", "--kv-cache", "64"]
        )
    assert stopped.value.code == 2
    assert "--prefill 64 must be smaller than --kv-cache 64" in capsys.readouterr().err


def test_without_a_model_the_script_says_so_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--model", str(tmp_path / "m"), "--output", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.startswith("export_litertlm.py: --model ")
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_exported_file_loads_and_answers_much_as_the_model_does(tmp_path: Path) -> None:
    python = os.environ.get("ORCHESTRATOR_LITERTLM_PYTHON")
    if not python:
        pytest.skip("needs ORCHESTRATOR_LITERTLM_PYTHON: a Python with litert-torch and litert-lm")
    rows, model, output = tmp_path / "rows.jsonl", tmp_path / "model", tmp_path / "o"
    turns = [[{"role": "user", "content": f"Where is order {number}?"}] for number in range(6)]
    lines = [json.dumps({"prompt": one, "completion": "x"}) + "\n" for one in turns]
    rows.write_text("".join(lines))
    maker = [sys.executable, "-I", str(tiny_model.__file__), str(rows), str(model), "0"]
    subprocess.run(maker, check=True, capture_output=True)
    environment = {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [python, str(SCRIPT), "--model", str(model), "--output", str(output)]
    command += ["--prefill", "32", "--kv-cache", "256", "--name", "t", "--quantization", "none"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((output / "export.json").read_text())
    assert (record["kv_cache"], record["prefill"], record["start"]) == (256, [32], "<s>")
    # Its own runtime rendered conversations with and without tools, and answered (`judge`).
    assert record["declares_tools"] is True
    # As a user runs it: with nothing but the file and a prompt.
    run = [python, "-c", "from litert_lm_cli.main import main; main()", "run"]
    run += [str(output / "t.litertlm"), "--prompt", "Hi"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = tmp_path / "answers.json"
    command = [sys.executable, str(PARITY), str(model), str(rows), "--json", str(answers)]
    command += ["--litertlm", str(output / "t.litertlm"), "--litertlm-python", python]
    subprocess.run(command, check=True, env=environment)
    result = json.loads(answers.read_text())["exports"]["t.litertlm"]
    assert result["prompts_as_long"] == 6
    assert result["same"] >= 3
