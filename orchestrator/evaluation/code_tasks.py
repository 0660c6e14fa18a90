"""What a row of programming expects: tests, and what is given before the answer.

Three forms of the expected answer, as the data sets have them: a JSON object with `test`,
`entry_point` and `prompt` (HumanEval, Chen et al. 2021), one with `test_list` and perhaps
`test_setup_code` or `test_imports` (MBPP, Austin et al. 2021), or the tests as plain Python.
"""

from __future__ import annotations

import ast
import builtins
import json
import warnings
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InputError

_HINT = (
    "Expected are tests: a JSON object with `test`, `entry_point` and `prompt` (HumanEval) or with"
    " `test_list` (MBPP), or Python with asserts."
)


@dataclass(frozen=True)
class Task:
    """`tests` run after the program; `names` are what they use of it; `prompt` is its beginning."""

    tests: str
    names: tuple[str, ...]
    prompt: str = ""


def task_of(expected: str, key: str) -> Task:
    """The task that a row's expected answer holds. Raises `InputError` where it holds no tests."""
    value = _object(expected)
    names: tuple[str, ...] = ()
    prompt = ""
    if value is None:
        tests = expected
    elif "test_list" in value:
        tests = _mbpp(value, key)
    else:
        tests, prompt, names = _human_eval(value, key)
    tree = _parsed(tests, key)
    if not tree.body:
        raise _wrong(key, "the expected answer holds no tests")
    return Task(tests, names or _names(tree), prompt)


def _human_eval(value: dict[str, Any], key: str) -> tuple[str, str, tuple[str, ...]]:
    tests, name = _text(value, "test", key), _text(value, "entry_point", key)
    if not name.isidentifier():
        raise _wrong(key, f"`entry_point` is {name[:40]!r}, which is no name of a function")
    prompt = _text(value, "prompt", key) if "prompt" in value else ""
    return f"{tests}\ncheck({name})\n", prompt, (name,)


def _mbpp(value: dict[str, Any], key: str) -> str:
    tests = value["test_list"]
    before = value.get("test_imports", [])
    if not all(
        isinstance(some, list) and all(isinstance(one, str) for one in some)
        for some in (tests, before)
    ):
        raise _wrong(key, "`test_list` and `test_imports` are not lists of texts")
    setup = _text(value, "test_setup_code", key) if value.get("test_setup_code") else ""
    return "\n".join([*before, setup, *tests]) if tests else ""


def _text(value: dict[str, Any], name: str, key: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise _wrong(key, f"`{name}` is {'missing' if text is None else 'no text'}")
    return text


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parsed(tests: str, key: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(tests)
    except SyntaxError as error:
        raise _wrong(key, f"the tests are no Python (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _wrong(key, f"the tests are no Python ({type(error).__name__})") from None


def _names(tree: ast.Module) -> tuple[str, ...]:
    """Names that tests use and do not make themselves."""
    used, made = dict[str, None](), set(vars(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                used[node.id] = None
            else:
                made.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).split(".")[0])
    return tuple(name for name in used if name not in made)


def _wrong(key: str, what: str) -> InputError:
    return InputError(f"row {key}: {what}", hint=_HINT)
