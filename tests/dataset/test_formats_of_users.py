"""A format of a user's own is a Python file; what is wrong in it is said with its line."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.conversion import Converter
from orchestrator.dataset.formats.registry import FORMATS, find_format
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.rules import Rules
from orchestrator.errors import InputError
from tests.dataset.rules_of import example_of, finding_of, rules_of

SOUND = """\
from dataclasses import dataclass
from orchestrator.dataset.example import Example
from orchestrator.dataset.formats.base import Format, RowError


@dataclass(frozen=True)
class Pair:
    left: str
    right: str


class Pairs(Format):
    name = "pairs"
    schema = {"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string"}}}
    columns = ("a", "b")
    looks = 'A row is {"a": "...", "b": "..."}.'

    def example(self, file, line, fields, context):
        pair = Pair(fields["a"], fields["b"])
        if pair.right == "?":
            raise RowError("no-idea", "b: nobody knows", "Ask.")
        return Example(file, line, pair.left, pair.right.lower(), fields, context.tools)


FORMAT = Pairs()
"""


def written(folder: Path, text: str) -> Rules:
    (folder / "my_rows.py").write_text(text, encoding="utf-8")
    return rules_of("./my_rows.py", folder=folder)


def test_a_format_of_ones_own_converts_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    found = example_of(written(tmp_path, SOUND), {"a": "x", "b": "Y"})
    assert (found.prompt, found.answer) == ("x", "y")
    assert [file.name for file in tmp_path.iterdir()] == ["my_rows.py"]


def test_its_schema_and_its_own_refusals_are_findings(tmp_path: Path) -> None:
    rules = written(tmp_path, SOUND)
    found = finding_of(rules, {"a": 1, "b": "Y"})
    assert (found.code, found.message) == ("row-schema", "row: a: 1 is not of type 'string'")
    assert found.hint == 'A row is {"a": "...", "b": "..."}.'
    found = finding_of(rules, {"a": "x", "b": "?"})
    assert (found.code, found.message, found.hint) == ("no-idea", "b: nobody knows", "Ask.")


def test_an_exception_in_it_is_a_finding_with_its_line(tmp_path: Path) -> None:
    found = finding_of(written(tmp_path, SOUND), {"a": "x", "b": 3})
    assert found.code == "format-failed"
    assert found.message.startswith("./my_rows.py:22 failed: AttributeError: 'int' object has no")
    assert found.place.line == 1


def test_what_is_no_example_is_a_finding(tmp_path: Path) -> None:
    text = SOUND.replace("return Example(", "return (")
    found = finding_of(written(tmp_path, text), {"a": "x", "b": "Y"})
    assert found.message == "./my_rows.py gave tuple for the row, which is no Example"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("x = (\n", 1, "SyntaxError"),
        ("import orjson\nx = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("\nimport no_such_library\n", 2, "ModuleNotFoundError"),
        ("raise SystemExit(0)\n", 1, "SystemExit"),
        ("x = 1\n", None, "the file sets no FORMAT"),
        ("FORMAT = 3\n", None, "FORMAT is of type int"),
        (SOUND.replace("Pairs()", "Pairs"), None, "write FORMAT = Pairs()"),
        (SOUND.replace('    name = "pairs"\n', ""), None, "`name` is missing"),
        (SOUND.replace("def example", "def sample"), 25, "TypeError"),
        (SOUND.replace('"type": "object"', '"type": "objekt"'), None, "is no JSON Schema"),
        (SOUND.replace("schema = {", "schema = 'nope' or {"), None, "there is no schema nope"),
    ],
)
def test_a_file_that_is_no_format_is_refused(
    tmp_path: Path, text: str, line: int | None, part: str
) -> None:
    with pytest.raises(InputError) as caught:
        Converter(written(tmp_path, text))
    assert part in caught.value.message
    assert caught.value.hint
    if line is not None:
        assert caught.value.where is not None
        assert (caught.value.where.file, caught.value.where.line) == ("./my_rows.py", line)


def test_a_file_that_is_not_there_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\./none\.py does not exist"):
        find_format("./none.py", tmp_path)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(InputError, match=r"folder\.py is a folder"):
        find_format("folder.py", tmp_path)
    with pytest.raises(InputError, match="there is no format messages") as caught:
        find_format("messages", tmp_path)
    assert all(name in caught.value.hint for name in FORMATS)


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    row = {"a": "x", "b": "Y"}
    assert example_of(written(tmp_path, SOUND), row).answer == "y"
    assert example_of(written(tmp_path, SOUND.replace("lower", "title")), row).answer == "Y"


def convert_elsewhere(rules: Rules) -> str:
    made = Converter(rules).convert("f", Row(1, {"a": "x", "b": "Y"}), "train")
    assert isinstance(made, Example)
    return f"{made.answer} {made.split}"


def test_it_works_in_other_processes(tmp_path: Path) -> None:
    rules = written(tmp_path, SOUND)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(convert_elsewhere, rules).result() == "y train"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_that_ships_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    found = find_format(name, tmp_path)
    assert found.name == name
    assert found.looks.endswith(".")
    assert set(found.mapped) <= {"system", "developer", "template", "think"}


ANY = """\
import sys
from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.formats.base import Format, RowError

print("loaded")


class Any(Format):
    name = "any"
    schema = {"type": "object"}
    columns = ("a",)
    looks = 'A row is {"a": "..."}.'

    def example(self, file, line, fields, context):
        USER = Message("user", "x")
        print("a row")
        BODY


FORMAT = Any()
"""


def made(folder: Path, prompt: str, answer: str = "'y'", more: str = "fields") -> Rules:
    body = f"return Example(file, line, {prompt}, {answer}, {more})"
    return written(folder, ANY.replace("BODY", body))


@pytest.mark.parametrize(
    ("prompt", "answer", "more", "part"),
    [
        ("None", "'y'", "fields", "prompt is neither a text nor"),
        ("'x'", "5", "fields", "answer is neither a text nor"),
        ("[USER]", "'y'", "fields", "prompt is neither a text nor"),
        ("'\\ud83d'", "'y'", "fields", "prompt is neither a text nor"),
        ("({'role': 'user'},)", "'y'", "fields", "prompt[0] is no Message"),
        ("(Message('human', 'x'),)", "'y'", "fields", "prompt[0].role is none of system"),
        ("(Message('user', 5),)", "'y'", "fields", "prompt[0].content is no text"),
        ("(USER,)", "(Message('assistant', None, [1]),)", "fields", "calls are no tuple of Call"),
        ("(USER,)", "(Message('assistant', None, (Call('f', '{}'),)),)", "fields", "arguments are"),
        (
            "(USER,)",
            "(Message('assistant', None, (Call('f', {'a': {1}}),)),)",
            "fields",
            "answer[0].calls[0].arguments are no dict",
        ),
        (
            "(USER,)",
            "(Message('assistant', None, (Call('f', {'a': float('nan')}),)),)",
            "fields",
            "arguments are no dict of plain JSON values",
        ),
        ("'x'", "'y'", "None", "fields are no dict"),
        ("'x'", "'y'", "fields, ({},)", "tools are no tuple of Tool"),
        ("'x'", "'y'", "fields, (Tool('f', {}, {'a': {1}}),)", "tools[0] holds something"),
        ("'x'", "'y'", "fields, (), 5", "reference is no text"),
        ("'x'", "'y'", "fields, (), None, 'ab'", "tags are no tuple of texts"),
        ("'x'", "'y'", "fields, (), None, (), 5", "difficulty is no text"),
    ],
)
def test_an_example_that_checks_could_not_read_is_a_finding(
    prompt: str, answer: str, more: str, part: str, tmp_path: Path
) -> None:
    found = finding_of(made(tmp_path, prompt, answer, more), {"a": "b"})
    assert found.code == "format-failed"
    assert found.message.startswith("./my_rows.py gave an Example whose ")
    assert part in found.message


def test_the_place_of_an_example_is_that_of_its_row(tmp_path: Path) -> None:
    text = ANY.replace("BODY", "return Example(3, 'x', 'p', 'a', fields)")
    found = example_of(written(tmp_path, text), {"a": "b"})
    assert (found.file, found.line) == ("rows.jsonl", 1)


def test_what_a_format_prints_does_not_mix_with_what_a_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example_of(made(tmp_path, "'x'"), {"a": "b"})
    out, err = capsys.readouterr()
    assert (out, err) == ("", "loaded\na row\n")


def test_an_exit_in_a_format_is_a_finding(tmp_path: Path) -> None:
    found = finding_of(written(tmp_path, ANY.replace("BODY", "sys.exit(0)")), {"a": "b"})
    assert found.message == "./my_rows.py:17 failed: SystemExit: 0"


def test_a_refusal_of_anything_but_text_is_shown_as_text(tmp_path: Path) -> None:
    text = ANY.replace("BODY", "raise RowError(5, '\\ud83d', 7)")
    found = finding_of(written(tmp_path, text), {"a": "b"})
    assert (found.code, found.message, found.hint) == ("5", "\\ud83d", "7")


def test_a_module_beside_a_format_is_not_imported_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("x = 1")
    with pytest.raises(InputError) as caught:
        find_format(written(tmp_path, f"import beside\n{ANY}").data.format, tmp_path)
    assert caught.value.hint.startswith("A format is one file")


@pytest.mark.parametrize(
    "line", ["columns = (1, None)", "columns = 'ab', 5", "mapped = 5", "mapped = [None]"]
)
def test_lists_of_a_format_hold_texts(line: str, tmp_path: Path) -> None:
    text = ANY.replace("BODY", "pass").replace("    looks =", f"    {line}\n    looks =")
    with pytest.raises(InputError, match=r"texts|wrong type"):
        find_format(written(tmp_path, text).data.format, tmp_path)
