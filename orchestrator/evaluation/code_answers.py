"""Finds the program in what a model said, and puts it behind what the task gives."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from orchestrator.evaluation.code_tasks import Task

_THOUGHT, _THOUGHT_END = "<think>", "</think>"
#: Possessive, so that no text takes long.
_FENCE = re.compile(
    r"(?P<indent>[ \t]*+)(?P<marks>`{3,}+|~{3,}+)[ \t]*+(?P<language>[^\s`]*+)[^\n`]*+$"
)
_PYTHON = {"", "python", "py", "python3", "py3"}
#: A line that can give a name something: without one a text is no program for tests to use.
_DEFINES = re.compile(
    r"^[ \t]*(?:(?:async[ \t]+)?(?:def|class|import|from)\b|@"
    r"|[A-Za-z_][\w., ]*(?::[^=\n]+)?=(?!=))",
    re.MULTILINE,
)


def program_of(task: Task, said: str | None) -> str | None:
    """The whole program for an answer; None where it holds no code.

    The code is the last fenced block of Python that defines what the tests use, else the last
    one, else all that was said after any thinking. Code that does not define what the task's prompt
    begins is its continuation; of a prompt that is written again the part before it stays.
    """
    text = _after_thought(said or "")
    blocks = _blocks(text)
    code = _chosen(blocks, task.names) if blocks else text
    if not code.strip() or _is_data(code):
        return None
    if not task.prompt:
        return code if _DEFINES.search(code) else None
    written_again = any(_definition(name).search(code) for name in task.names)
    return f"{_before(task)}\n{code}" if written_again else task.prompt + code


def _after_thought(text: str) -> str:
    _, end, after = text.rpartition(_THOUGHT_END)
    if end:
        return after
    before, begun, _ = text.partition(_THOUGHT)
    return before if begun else text


@dataclass(frozen=True)
class _Block:
    language: str
    code: str


def _blocks(text: str) -> list[_Block]:
    """The fenced blocks (CommonMark); one that is not closed reaches to the end."""
    found: list[_Block] = []
    inside: list[str] | None = None
    indent = marks = language = ""
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if inside is None:
            if fence:
                indent, marks, language = fence["indent"], fence["marks"], fence["language"]
                inside = []
        elif fence and not fence["language"] and fence["marks"].startswith(marks):
            found.append(_Block(language, "\n".join(inside)))
            inside = None
        else:
            inside.append(line.removeprefix(indent))
    if inside is not None:
        found.append(_Block(language, "\n".join(inside)))
    return found


def _chosen(blocks: list[_Block], names: tuple[str, ...]) -> str:
    python = [one.code for one in blocks if one.language.lower() in _PYTHON]
    for code in reversed(python):
        if any(_definition(name).search(code) for name in names):
            return code
    return python[-1] if python else ""


def _definition(name: str) -> re.Pattern[str]:
    word = re.escape(name)
    return re.compile(
        rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{word}\b|^{word}[ \t]*(?::[^=\n]+)?=(?!=)",
        re.MULTILINE,
    )


def _before(task: Task) -> str:
    """What the prompt gives before the function that it begins: imports, other functions."""
    starts = [
        found.start() for name in task.names for found in _definition(name).finditer(task.prompt)
    ]
    return task.prompt[: max(starts)] if starts else task.prompt


def _is_data(code: str) -> bool:
    if not code.lstrip().startswith("{"):
        return False
    try:
        json.loads(code)
    except (ValueError, RecursionError):
        return False
    return True
