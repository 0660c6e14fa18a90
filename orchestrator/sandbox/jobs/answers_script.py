"""Answers rows without a model: some as is expected of them, the others as of another row.

Run as a script in the place of `generate.py`, with its arguments and `--answers good|weak`. What it
leaves is written by the scripts' own record, so it has the same fields; `engine` is `canned`, and
no time and no tokens are told, for there were none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.calls import CannotRender, Syntax, ToolCall, render
from orchestrator.catalog import load_catalog

if TYPE_CHECKING:
    from orchestrator.training.generate import parse_arguments
    from orchestrator.training.generate_conditions import arguments_of, parse_conditions
    from orchestrator.training.generate_model import EOS, Answer
    from orchestrator.training.generate_prompts import Prompt, prompt_sha256
    from orchestrator.training.generate_record import Header, Record
    from orchestrator.training.sft_events import BadInput, Metrics
    from orchestrator.training.sft_rows import Row, read_rows
else:
    # They find each other as files beside them, as they do in a job.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))
    from generate import parse_arguments
    from generate_conditions import arguments_of, parse_conditions
    from generate_model import EOS, Answer
    from generate_prompts import Prompt, prompt_sha256
    from generate_record import Header, Record
    from sft_events import BadInput, Metrics
    from sft_rows import read_rows

ENGINE = "canned"
TUNED = "tuned"
#: Of ten rows in the order of their digests, those that are answered as is expected.
_GOOD = frozenset(range(9))
_BASE = frozenset({2, 5, 8})
_OUT_OF = 10
#: Where every row expects the same, so no other row has a wrong answer to lend.
_NO_OTHER = "no answer"


@dataclass(frozen=True)
class Asked:
    """A row, its digest, and what is expected of it."""

    number: int
    place: str
    sha256: str
    expected: str


def main(argv: Sequence[str]) -> int:
    """Write the answers; the exit code, as that of `generate.py`."""
    own = argparse.ArgumentParser(prog="answers_script.py", allow_abbrev=False)
    own.add_argument("--answers", choices=("good", "weak"), required=True)
    mine, rest = own.parse_known_args(argv)
    metrics = Metrics(sys.stdout)
    try:
        given = parse_arguments(rest)
        conditions = parse_conditions(given.condition)
        # All are looked at before the first begins, as by the script itself.
        each = [(one.name, parse_arguments(arguments_of(one, given))) for one in conditions]
        if not each:
            name = TUNED if given.adapter is not None else "base"
            _answer(given, _right(name, mine.answers), metrics, {})
        for name, arguments in each:
            _answer(arguments, _right(name, mine.answers), metrics, {"condition": name})
    except BadInput as error:
        sys.stderr.write(f"generate.py: {error}\n")
        return 2
    return 0


def _right(name: str, answers: str) -> frozenset[int]:
    return _GOOD if name == TUNED and answers == "good" else _BASE


def _answer(
    given: argparse.Namespace, right: frozenset[int], metrics: Metrics, about: dict[str, str]
) -> None:
    rows = read_rows(given.rows)[: given.limit]
    asked = [
        Asked(number, row.place, prompt_sha256(row), _expected(row, given.base_model_name))
        for number, row in enumerate(rows)
    ]
    header = Header.of(given, given.base_revision, ENGINE, "none")
    record = Record(given.output, header, [one.sha256 for one in asked])
    metrics.emit("start", **about, rows=len(asked), done=record.done, engine=ENGINE)
    said = _said(asked, right)
    for one in asked[record.done :]:
        text = said[one.number]
        prompt = Prompt(one.number, one.place, one.sha256, "", (), one.expected)
        record.add(prompt, Answer(text, text, (), EOS, None))
    record.close()
    metrics.emit("end", **about, rows=len(asked), canned=True)


def _said(asked: Sequence[Asked], right: frozenset[int]) -> dict[int, str]:
    """The answer to each row, by its number; the same for the same rows in whatever order."""
    ranked = sorted(asked, key=lambda one: (_digest(one), one.number))
    said = {}
    for rank, one in enumerate(ranked):
        others = (other.expected for other in [*ranked[rank + 1 :], *ranked[:rank]])
        wrong = next((text for text in others if text != one.expected), _NO_OTHER)
        said[one.number] = one.expected if rank % _OUT_OF in right else wrong
    return said


def _digest(one: Asked) -> str:
    return hashlib.sha256(f"{one.sha256}\n{one.expected}".encode()).hexdigest()


def _expected(row: Row, model_name: str) -> str:
    """What is expected, as the model would write it: without a tokenizer, so without a template."""
    if isinstance(row.completion, str):
        return row.completion
    turn = row.completion[-1]
    content = turn.get("content")
    text = content if isinstance(content, str) else ""
    try:
        calls = [_call(one) for one in turn.get("tool_calls") or []]
        return text + render(calls, _syntax(model_name)) if calls else text
    except CannotRender as error:
        raise BadInput(f"{row.place}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{row.place}: tool_calls are no calls: {error!r}") from error


def _call(value: Any) -> ToolCall:
    function = value.get("function", value)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return ToolCall(str(function["name"]), arguments)


def _syntax(model_name: str) -> Syntax:
    """How the model writes calls; as OpenAI's interface does where the catalog does not say."""
    models = load_catalog().models.values()
    found = (one.call_syntax for one in models if model_name in (one.hub_id, one.id))
    return Syntax(next((one for one in found if one), Syntax.OPENAI))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
