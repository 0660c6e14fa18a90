"""Files of expected and predicted answers: read, and matched row by row.

Rows are those of the dataset module's readers (JSONL, JSON, CSV, Parquet, compressed or not) with
`prompt` and `completion`, or `messages`; or those that `generate.py` writes: `prompt_sha256`,
`expected`, `predicted`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.dataset.reading.opening import read_rows
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.rules import RowsFile
from orchestrator.errors import InputError, Place
from orchestrator.evaluation.answer_facts import likelihood_of, slices_of, timing_of, tool_names
from orchestrator.evaluation.scores import Answered, Likelihood, Timing

Role = Literal["expected", "predicted"]
#: Fields that hold an answer, in the order in which they are looked for.
_FIELDS: Mapping[Role, tuple[str, ...]] = {
    "expected": ("expected", "completion", "answer", "messages"),
    "predicted": ("predicted", "completion", "messages"),
}


@dataclass(frozen=True)
class AnswerRow:
    """One row of a file: its answer (None: it has none), and by what it is found."""

    place: Place
    answer: str | None
    #: The other answer, where the row has both (`generate.py`).
    expected: str | None
    id: str | None
    digest: str | None
    number: int | None
    prompt: str
    slices: Mapping[str, str]
    #: The names of the tools that the row offers.
    tools: tuple[str, ...] = ()
    timing: Timing | None = None
    #: What the model made of its own line's `expected`.
    likelihood: Likelihood | None = None


@dataclass(frozen=True)
class Matched:
    """Rows to score, and where each of them stands by its key.

    `by` is what they were matched by (None where nothing had to be). `missing` are the places of
    rows without a prediction, `without_row` those of predictions that belong to no row.
    """

    rows: tuple[Answered, ...]
    places: Mapping[str, Place]
    by: str | None
    missing: tuple[Place, ...] = ()
    without_row: tuple[Place, ...] = ()


def prompt_sha256(prompt: Any, tools: Any = None) -> str:
    """SHA-256 of a row's prompt and tools as JSON: sorted keys, no spaces, UTF-8 as it is.

    It is what `generate.py` writes for the same row, which cannot import it from here.
    """
    value = {"prompt": prompt, "tools": tools}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_answers(file: Path, role: Role) -> list[AnswerRow]:
    """All rows of a file. Raises `InputError` with the place of the first that is wrong."""
    name = str(file)
    rows = []
    for found in read_rows(RowsFile(file, name)):
        if not isinstance(found, Row):
            raise InputError(found.message, where=found.place, hint=found.hint)
        rows.append(_row(found.value, Place(name, found.line), role))
    return rows


def write_lines(file: Path, into: Path) -> None:
    """Write the rows of a file of any kind as lines of JSON; they must be sound."""
    with into.open("w", encoding="utf-8", newline="\n") as lines:
        for found in read_rows(RowsFile(file, str(file))):
            if isinstance(found, Row):
                lines.write(json.dumps(found.value, default=str) + "\n")


def match(expected: Sequence[AnswerRow], predicted: Sequence[AnswerRow]) -> Matched:
    """Each expected row with its prediction. Raises `InputError` where rows are there twice."""
    by = _common_key(expected, predicted)
    wanted, given = _by_key(expected, by), _by_key(predicted, by)
    common = wanted.keys() & given.keys()
    if not common:
        raise InputError(
            f"no prediction belongs to any of the expected rows: no {_SAID[by]} is the same",
            hint="Both files must be of the same rows"
            + (", with the same system prompt and tools." if by == "digest" else "."),
        )
    return Matched(
        tuple(_answered(key, row, given.get(key)) for key, row in wanted.items()),
        {key: row.place for key, row in wanted.items()},
        _SAID[by],
        tuple(
            row.place
            for key, row in wanted.items()
            if key not in given or given[key].answer is None
        ),
        tuple(row.place for key, row in given.items() if key not in wanted),
    )


def alone(predicted: Sequence[AnswerRow]) -> Matched:
    """Predictions that carry what is expected, as `generate.py` writes them."""
    for row in predicted:
        if row.expected is None:
            raise InputError(
                "this prediction does not say what is `expected`",
                where=row.place,
                hint="Name the file with the rows: --expected FILE.",
            )
    # Two rows may ask the same; but a row that stands twice in the file has one number.
    by = next((by for by in _ALONE if all(getattr(row, by) is not None for row in predicted)), None)
    if by is None:
        keys = {f"line {row.place.line}": row for row in predicted}
    else:
        keys = _by_key(predicted, by)
    return Matched(
        tuple(_answered(key, replace(row, answer=row.expected), row) for key, row in keys.items()),
        {key: row.place for key, row in keys.items()},
        None,
        tuple(row.place for row in keys.values() if row.answer is None),
    )


def _answered(key: str, row: AnswerRow, given: AnswerRow | None) -> Answered:
    """A row with its prediction, if it has one."""
    if given is None:
        return Answered(key, _required(row), None, row.prompt, row.slices, row.tools)
    return Answered(
        key,
        _required(row),
        given.answer,
        row.prompt or given.prompt,
        {**given.slices, **row.slices},
        row.tools or given.tools,
        given.timing,
        _likelihood(row, given),
    )


def _likelihood(row: AnswerRow, given: AnswerRow) -> Likelihood | None:
    """What was measured with a prediction; None where that was of another expected answer."""
    measured, expected = given.expected, row.answer
    same = measured is None or (expected is not None and measured.strip() == expected.strip())
    return given.likelihood if same else None


_ALONE = ("id", "number", "digest")
_SAID = {"id": "`id`", "number": "`row`", "digest": "prompt's digest"}
_COMMON = ("id", "digest")


def _common_key(expected: Sequence[AnswerRow], predicted: Sequence[AnswerRow]) -> str:
    every = [*expected, *predicted]
    for by in _COMMON:
        if all(getattr(row, by) is not None for row in every):
            return by
    lacking = next(row for row in every if row.digest is None)
    raise InputError(
        "this row has no `prompt_sha256` and no prompt to match it by, and not all rows have ids",
        where=lacking.place,
        hint="Give the rows of both files an `id`, or their prompts.",
    )


def _by_key(rows: Sequence[AnswerRow], by: str) -> dict[str, AnswerRow]:
    found: dict[str, AnswerRow] = {}
    for row in rows:
        key = str(getattr(row, by))
        if key in found:
            raise InputError(
                f"this row has the same {_SAID[by]} as the one on line {found[key].place.line}",
                where=row.place,
                hint="Keep one of them, or give every row of both files an `id` of its own.",
            )
        found[key] = row
    return found


def _required(row: AnswerRow) -> str:
    if row.answer is None:
        fields = ", ".join(f"`{name}`" for name in _FIELDS["expected"])
        raise InputError(
            "this row does not say what is expected",
            where=row.place,
            hint=f"It is one of {fields}.",
        )
    return row.answer


# -------------------- rows of files


def _row(value: dict[str, Any], place: Place, role: Role) -> AnswerRow:
    field = next((name for name in _FIELDS[role] if name in value), None)
    if field is None:
        wanted = ", ".join(f"`{name}`" for name in _FIELDS[role])
        raise InputError(
            f"this row holds no {role} answer",
            where=place,
            hint=f"It is looked for in {wanted}; `orchestrator prepare` writes rows of any format "
            "as prompt and completion.",
        )
    turns = _turns(value.get("messages"))
    if field == "messages" and (not turns or turns[-1].get("role") not in ("assistant", "model")):
        raise InputError(
            "`messages` must be a list of turns that ends with the assistant's",
            where=place,
            hint="The last turn is the answer.",
        )
    prompt = value.get("prompt")
    if prompt is None and turns:
        prompt = turns[:-1] if turns[-1].get("role") in ("assistant", "model") else turns
    answer = turns[-1:] if field == "messages" else value[field]
    expected = value.get("expected") if role == "predicted" else None
    return AnswerRow(
        place,
        answer_text(answer),
        answer_text(expected),
        _id(value.get("id")),
        _digest(value, prompt, place),
        value["row"] if type(value.get("row")) is int else None,
        _question(prompt),
        slices_of(value),
        tool_names(value.get("tools")),
        timing_of(value) if role == "predicted" else None,
        likelihood_of(value) if role == "predicted" else None,
    )


def _turns(value: Any) -> list[dict[str, Any]]:
    """Messages, also as JSON of them, which is what tables hold; empty for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    sound = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return value if sound else []


def _id(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def _digest(value: dict[str, Any], prompt: Any, place: Place) -> str | None:
    given = value.get("prompt_sha256")
    if isinstance(given, str) and given:
        return given
    if prompt is None:
        return None
    tools = value.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError) as error:
            raise InputError(
                "`tools` is a text that is not JSON", where=place, hint="Write a list of tools."
            ) from error
    return prompt_sha256(prompt, tools)


def answer_text(value: Any) -> str | None:
    """An answer as one text; turns with calls as the message in which OpenAI has them."""
    if value is None or isinstance(value, str):
        return value
    turns = _turns(value)
    if not turns or any("role" not in turn for turn in turns):
        return json.dumps(value, ensure_ascii=False)
    calls = [call for turn in turns for call in turn.get("tool_calls") or ()]
    content = "\n".join(turn["content"] for turn in turns if isinstance(turn.get("content"), str))
    if not calls:
        return content
    return json.dumps({"content": content, "tool_calls": calls}, ensure_ascii=False)


def _question(prompt: Any) -> str:
    """What is asked, as text: of a chat, what the user says."""
    if isinstance(prompt, str):
        return prompt
    said = (turn.get("content") for turn in _turns(prompt) if turn.get("role") == "user")
    return "\n".join(text for text in said if isinstance(text, str))
