"""What a run's rows were asked, expected and answered: on this machine only, never in the ledger.

Everything may be missing (another machine evaluated, or the folder was swept up) or broken: what
cannot be read is left out, and `problems` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.answer_files import prompt_sha256

SCORES = "scores.jsonl"
#: A line that is longer is no answer of a model.
_LONGEST_LINE = 4_000_000


@dataclass(frozen=True)
class Answer:
    """What one condition said to one row."""

    expected: str
    said: str | None
    stopped_by: str


@dataclass(frozen=True)
class RowScore:
    """A row's metrics by name, and why its answer is wrong."""

    values: Mapping[str, float]
    causes: tuple[str, ...]


@dataclass(frozen=True)
class LocalAnswers:
    """Answers and scores by condition and the row's key, in the order of the rows."""

    answers: Mapping[str, Mapping[str, Answer]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, RowScore]] = field(default_factory=dict)
    #: What was asked, by the key of the row.
    prompts: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def answer(self, condition: str, key: str) -> Answer | None:
        """What a condition said to a row."""
        return self.answers.get(condition, {}).get(key)


def read_local_answers(run_folder: Path, rows: Path) -> LocalAnswers:
    """The answers in a run's folder; `rows` is the file of the rows that were asked."""
    folder, problems = run_folder / "answers", list[str]()
    if not folder.is_dir():
        return LocalAnswers()
    scores: dict[str, dict[str, RowScore]] = {}
    for line in _objects(folder / SCORES, problems):
        score = _score(line)
        if score is not None:
            scores.setdefault(str(line.get("condition")), {})[str(line.get("key"))] = score
    keys = {key for by_key in scores.values() for key in by_key}
    answers: dict[str, dict[str, Answer]] = {}
    prompts: dict[str, str] = {}
    asked = _asked(rows, problems)
    for file in sorted(folder.glob("*.jsonl")):
        if file.name == SCORES:
            continue
        by_key = answers.setdefault(file.stem, {})
        for line in _objects(file, problems):
            key = _key(line, keys)
            if key is None or key in by_key:
                continue
            by_key[key] = _answer(line)
            prompt = asked.get(str(line.get("prompt_sha256")))
            if prompt is not None:
                prompts.setdefault(key, prompt)
    return LocalAnswers(answers, scores, prompts, tuple(problems))


def _key(line: Mapping[str, Any], keys: set[str]) -> str | None:
    """By what the row of an answer was scored: its id, its prompt's digest or its number."""
    for name in ("id", "prompt_sha256", "row"):
        value = line.get(name)
        if isinstance(value, str | int) and str(value) in keys:
            return str(value)
    return None


def _answer(line: Mapping[str, Any]) -> Answer:
    said = line.get("predicted")
    return Answer(
        expected=_text(line.get("expected")),
        said=None if said is None else _text(said),
        stopped_by=_text(line.get("stopped_by") or ""),
    )


def _score(line: Mapping[str, Any]) -> RowScore | None:
    """A row's metrics as numbers; None for a line that is no score."""
    metrics, causes = line.get("metrics"), line.get("causes") or ()
    if not isinstance(metrics, Mapping) or not isinstance(causes, list | tuple):
        return None
    values: dict[str, float] = {}
    for name, part in metrics.items():
        if isinstance(part, list | tuple) and len(part) == 2 and all(map(_is_number, part)):
            above, below = part
            if below:
                values[str(name)] = above / below
    return RowScore(values, tuple(map(str, causes)))


def _asked(rows: Path, problems: list[str]) -> dict[str, str]:
    """What the rows ask, by the digest of their prompts."""
    if not rows.is_file():
        return {}
    found: dict[str, str] = {}
    for line in _objects(rows, problems):
        prompt, turns = line.get("prompt"), line.get("messages")
        if prompt is None and isinstance(turns, list):
            prompt = turns[:-1]  # the last turn is the answer
        if prompt is not None:
            found[prompt_sha256(prompt, line.get("tools"))] = _question(prompt)
    return found


def _question(prompt: Any) -> str:
    """A prompt as text: turns with who says them."""
    if not isinstance(prompt, list):
        return _text(prompt)
    turns = [turn for turn in prompt if isinstance(turn, Mapping)]
    return "\n\n".join(f"{turn.get('role')}: {_text(turn.get('content'))}" for turn in turns)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _objects(file: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; the first line that is none is a problem."""
    told = False
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                value = _parsed(line)
                if value is not None:
                    yield value
                elif not told:
                    told = True
                    problems.append(f"{file.name}:{number} is no JSON object, and is left out")
    except OSError as error:
        problems.append(f"{file.name} cannot be read: {error.strerror}")


def _parsed(line: str) -> dict[str, Any] | None:
    if len(line) > _LONGEST_LINE:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
