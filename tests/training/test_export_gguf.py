"""export_gguf.py: what it says and writes; and real exports where its environment is at hand.

The converter needs libraries of its own: `ORCHESTRATOR_GGUF_PYTHON` names a Python that has them,
`ORCHESTRATOR_XLLAMACPP_PYTHON` one that has xllamacpp, which loads and answers.
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
from orchestrator.training import export_gguf, ollama_template

SCRIPT = Path(export_gguf.__file__)
PARITY = SCRIPT.parents[2] / "benchmarks" / "export_parity.py"


def _arguments(*more: str) -> Any:
    return export_gguf.parse_arguments(["--model", "m", "--output", "o", *more])


def _modelfile_lines(*more: str, stops: list[str]) -> list[str]:
    return export_gguf.modelfile(_arguments(*more), "T\nU", stops).splitlines()


def test_a_modelfile_names_the_file_the_template_and_where_to_stop() -> None:
    lines = _modelfile_lines("--name", "router", "--context", "2048", stops=["</s>", "<|end|>"])
    assert lines[:3] == ["FROM ./router.gguf", 'TEMPLATE """T', 'U"""']
    assert {"PARAMETER temperature 0", "PARAMETER repeat_penalty 1"} <= set(lines)
    assert "PARAMETER num_ctx 2048" in lines
    assert lines[-2:] == ['PARAMETER stop "</s>"', 'PARAMETER stop "<|end|>"']


def test_a_stop_text_that_a_modelfile_cannot_hold_is_left_out() -> None:
    assert not [one for one in _modelfile_lines(stops=['a"b', "c\nd"]) if "stop" in one]


def test_an_answer_stops_at_every_end_that_the_model_knows(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    names = {1: "<eos>", 2: "<end>", 3: "<end_of_turn>"}
    tokenizer = SimpleNamespace(
        eos_token_id=1,
        convert_ids_to_tokens=names.get,
        all_special_tokens=["<eos>", "<end"],
        added_tokens_encoder={"<end": 9, "<end_of_turn>": 3},
        get_vocab=lambda: {"<end_of_turn>": 3, "<start_function_response>": 4},
    )
    glue = ollama_template.Glue({("assistant", "user"): "<end_of_turn>\n<turn>"})
    stops = export_gguf.stop_texts(tokenizer, tmp_path, glue)
    # The last is where FunctionGemma waits for what its call gives.
    assert stops == ["<eos>", "<end>", "<end_of_turn>", "<start_function_response>"]


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, "gpt-2"),
        (
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                ],
            },
            "smollm",
        ),
    ],
)
def test_a_tokenizer_without_a_known_fingerprint_is_known_by_its_structure(
    tmp_path: Path, steps: dict[str, Any], name: str
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"pre_tokenizer": steps, "normalizer": None}))
    assert export_gguf.pre_tokenizer(file) == name


@pytest.mark.parametrize(
    "content",
    [
        {"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"pre_tokenizer": {"type": "ByteLevel"}, "normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
    ],
)
def test_a_pre_tokenizer_that_llama_cpp_has_not_is_an_error(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    with pytest.raises(RuntimeError, match="no such pre-tokenizer"):
        export_gguf.pre_tokenizer(file)


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden", "x" * 97])
def test_a_name_is_no_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        _arguments("--name", name)
    assert stopped.value.code == 2
    assert "--name" in capsys.readouterr().err


def test_without_a_model_the_script_says_so_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = export_gguf.main(["--model", str(tmp_path / "m"), "--output", str(tmp_path / "o")])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("export_gguf.py: --model ")
    assert said.out == ""
    assert not (tmp_path / "o").exists()


# --- Real exports ------------------------------------------------------------------------------


def _python(variable: str) -> str:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"needs {variable}: a Python with the libraries that the script names")
    return python


def _export(model: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [_python("ORCHESTRATOR_GGUF_PYTHON"), str(SCRIPT), "--model", str(model)]
    return subprocess.run(
        [*command, "--output", str(output), *more],
        env={"HOME": str(output.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model, and rows to ask it."""
    _python("ORCHESTRATOR_GGUF_PYTHON")
    folder = tmp_path_factory.mktemp("tiny")
    rows = [
        {"prompt": [{"role": "user", "content": f"Where is order {number}?"}], "completion": "x"}
        for number in range(6)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    maker = [sys.executable, "-I", str(tiny_model.__file__), str(folder / "rows.jsonl")]
    subprocess.run([*maker, str(folder / "model"), "0"], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("outtype", ["f16", "q8_0"])
def test_the_exported_file_answers_as_the_model_does(
    tiny: Path, tmp_path: Path, outtype: str
) -> None:
    # Half of them at least: a random model is often undecided between two tokens, and llama.cpp
    # keeps its cache in half precision whatever the weights are.
    done = _export(tiny / "model", tmp_path / "o", "--outtype", outtype, "--name", "t")
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "o" / "export.json").read_text())
    assert json.loads(done.stdout) == {"event": "end", **record}
    assert record["modelfile"]["compared"] == 24
    assert (tmp_path / "o" / "Modelfile").read_text().startswith("FROM ./t.gguf\n")
    answers = tmp_path / "answers.json"
    command = [sys.executable, str(PARITY), str(tiny / "model"), str(tiny / "rows.jsonl")]
    command += ["--gguf", str(tmp_path / "o" / "t.gguf"), "--json", str(answers)]
    command += ["--gguf-python", _python("ORCHESTRATOR_XLLAMACPP_PYTHON")]
    subprocess.run(command, check=True, env={"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"})
    result = json.loads(answers.read_text())["exports"]["t.gguf"]
    assert result["rows"] == result["prompts_as_long"] == 6
    assert result["same"] >= 3


@pytest.mark.slow
def test_a_chat_template_that_cannot_be_a_template_leaves_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (tiny / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    counting = "{% for m in messages %}[{{ loop.index }}]{{ m['content'] }}{% endfor %}A"
    (model / "chat_template.jinja").write_text(counting)
    done = _export(model, tmp_path / "o")
    assert done.returncode == 1
    assert "give --no-modelfile" in done.stderr
    assert not (tmp_path / "o").exists()
    assert _export(model, tmp_path / "o", "--no-modelfile").returncode == 0
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == ["export.json", "model.gguf"]


@pytest.mark.slow
def test_a_number_that_half_precision_cannot_hold_is_an_error(tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (tiny / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    grow = (
        "import sys; from safetensors.torch import load_file, save_file; f = sys.argv[1];"
        "t = load_file(f); t['model.layers.0.mlp.up_proj.weight'][0, 0] = 1e6;"
        "save_file(t, f, metadata={'format': 'pt'})"
    )
    weights = str(model / "model.safetensors")
    subprocess.run([sys.executable, "-c", grow, weights], check=True)
    done = _export(model, tmp_path / "o", "--outtype", "f16")
    assert done.returncode == 1
    assert "blk.0.ffn_up.weight holds NaN or infinity; use --outtype f32" in done.stderr
    assert not (tmp_path / "o").exists()
    assert _export(model, tmp_path / "o", "--outtype", "f32").returncode == 0
