"""Tokenizer folders, whole and broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.dataset.rules import TokenRules
from orchestrator.dataset.tokens.counting import make_counter
from orchestrator.dataset.tokens.tokenizer import load_tokenizer
from orchestrator.errors import InputError
from tests.dataset.length_rows import text_example
from tests.dataset.tiny_tokenizer import make_tokenizer


def broken(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert caught.value.hint
    return caught.value


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    error = broken(tmp_path)
    assert str(error.where) == str(tmp_path / "tokenizer.json")
    assert "No such file" in error.message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "1.0"}', "\0\1", '{"model": 1}'])
def test_a_broken_tokenizer_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    folder = make_tokenizer(tmp_path / "t")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    error = broken(folder)
    assert str(error.where) == str(folder / "tokenizer.json")
    assert "is no tokenizer" in error.message


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('{\n"eos_token": }', 2, "is not JSON"),
        ("[]", None, "is not a JSON object"),
        ('{"eos_token": 3}', None, "eos_token"),
        ('{"eos_token": "<nowhere>"}', None, "does not have"),
    ],
)
def test_a_broken_config_is_named_with_its_line(
    tmp_path: Path, text: str, line: int | None, said: str
) -> None:
    folder = make_tokenizer(tmp_path / "t")
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    error = broken(folder)
    assert error.where is not None
    assert (error.where.file, error.where.line) == (str(folder / "tokenizer_config.json"), line)
    assert said in error.message


def test_a_tokenizer_alone_has_no_end_of_text(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t", None)
    (folder / "tokenizer_config.json").unlink()
    assert load_tokenizer(folder).end is None
    counter = make_counter(TokenRules("m", folder, None, "", 0.2, ""))
    ids = load_tokenizer(folder).ids
    assert counter.count([text_example(1, "a b", " c")])[0].total == len(ids("a b c"))


def test_an_end_of_text_may_be_written_as_an_object(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t")
    config = {"eos_token": {"content": "<|endoftext|>", "lstrip": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_tokenizer(folder).eos == "<|endoftext|>"


def test_truncation_and_padding_in_the_file_are_set_aside(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t")
    expected = load_tokenizer(folder).ids("one two three four five six")
    file = folder / "tokenizer.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    value["padding"] = {
        "strategy": {"Fixed": 40},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    file.write_text(json.dumps(value), encoding="utf-8")
    assert load_tokenizer(folder).ids("one two three four five six") == expected


def test_a_tokenizer_is_loaded_once_and_again_when_it_changes(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t")
    first = load_tokenizer(folder)
    assert load_tokenizer(folder) is first
    make_tokenizer(folder, vocabulary_size=300)
    assert load_tokenizer(folder) is not first


def test_counting_does_not_import_transformers(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "t")
    code = (
        "import sys; from pathlib import Path;"
        "from orchestrator.dataset.rules import TokenRules;"
        "from orchestrator.dataset.checks.length import LengthCheck;"
        "assert 'tokenizers' not in sys.modules;"
        "from orchestrator.dataset.tokens.counting import make_counter;"
        f"make_counter(TokenRules('m', Path({str(folder)!r}), None, '', 0.2, ''));"
        "assert not {'transformers', 'torch', 'trl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
