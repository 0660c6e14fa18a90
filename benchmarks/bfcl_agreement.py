"""How the scorer `calls` agrees with the checker of the Berkeley Function Calling Leaderboard.

python benchmarks/bfcl_agreement.py FOLDER [--json FILE]

FOLDER holds bfcl-eval unpacked (pip download --no-deps bfcl-eval==2026.3.23, then unzip it): its
checker `ast_checker.py` is imported from there, and its rows of single turns in Python are read
with their possible answers. Every row is answered rightly and with errors planted one kind at a
time; each answer is written in one of the syntaxes of `orchestrator.calls`, read back and scored.
The checker is given the calls themselves. Ours is the scorer `bfcl`: `calls_exact` of the permitted
answer that is nearest to what was said, and `bfcl_correct`, which compares texts as they do.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.calls import CannotRender, Syntax, ToolCall, render
from orchestrator.evaluation import permitted_calls
from orchestrator.evaluation.permitted_calls import CORRECT, PermittedCallsScorer, read_permitted
from orchestrator.evaluation.scores import Answered

CATEGORIES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
)
#: Why the two differ, as far as it is known.
STANDARDIZED = "they compare texts without case, spaces and punctuation"
WHOLE = "they refuse 3.0 for a whole number, which is 3 in JSON"
CONTRADICTION = "their permitted answer breaks their tool's own declaration"
UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Row:
    """A question of the leaderboard: its tools, and for each call the permitted values."""

    name: str
    category: str
    tools: list[dict[str, Any]]
    permitted: list[dict[str, dict[str, list[Any]]]]

    @property
    def expected(self) -> str:
        """The expected answer of the scorer `bfcl`."""
        return json.dumps(self.permitted)


@dataclass(frozen=True)
class Verdict:
    """What both said of one answer. `theirs` is None where the checker itself broke.

    `ours` compares texts to the letter (`calls_exact`), `loosely` as they do (`bfcl_correct`).
    """

    row: str
    kind: str
    theirs: bool | None
    ours: bool
    loosely: bool
    #: Why they differ, where they do: to the letter, and compared loosely.
    why: str = ""
    why_loosely: str = ""


def main() -> int:
    """Print the table and, with --json, write the counts and the disagreements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    verdicts = list(compare(arguments.folder))
    table = counts(verdicts)
    print(f"{'answers':<34} {'agree':>6} {'theirs only':>12} {'ours only':>10} {'broke':>6}")
    for kind, row in table.items():
        print(
            f"{kind:<34} {row['agree']:>6} {row['theirs']:>12} {row['ours']:>10} {row['broke']:>6}"
        )
    reasons = Counter(one.why for one in verdicts if one.why)
    for why, count in reasons.most_common():
        print(f"{count:>6}  {why}")
    known = [one for one in verdicts if one.theirs is not None]
    apart = Counter(one.why_loosely for one in known if one.why_loosely)
    print(f"bfcl_correct: {len(known) - apart.total()} of {len(known)} agree; the others:")
    for why, count in apart.most_common():
        print(f"{count:>6}  {why}")
    if arguments.json is not None:
        apart_here = [vars(one) for one in verdicts if one.why]
        whole = {"counts": table, "reasons": reasons, "disagreements": apart_here}
        arguments.json.write_text(json.dumps(whole, indent=2), encoding="utf-8")
    return 0


def counts(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """By kind of answer: agreements, and answers that only one side takes."""
    table: dict[str, dict[str, int]] = {}
    for one in verdicts:
        for kind in (one.kind, "all"):
            row = table.setdefault(kind, {"agree": 0, "theirs": 0, "ours": 0, "broke": 0})
            if one.theirs is None:
                row["broke"] += 1
            else:
                side = "agree" if one.theirs == one.ours else "theirs" if one.theirs else "ours"
                row[side] += 1
    table["all"] = table.pop("all")
    return table


def compare(folder: Path) -> Iterator[Verdict]:
    """Both verdicts on all answers to all rows."""
    check = _checker(folder)
    syntaxes = list(Syntax)
    for number, row in enumerate(read_rows(folder)):
        for kind, said in answers(row):
            try:
                theirs: bool | None = check(row, said)
            except Exception:  # their checker, and data that it cannot follow
                theirs = None
            ours, loosely = _ours(row, said, syntaxes[number % len(syntaxes)])
            why = "" if theirs is None or theirs == ours else _why(row, kind, ours=ours)
            apart = theirs is not None and theirs != loosely
            whys = (why, _why(row, kind, ours=loosely) if apart else "")
            yield Verdict(row.name, kind, theirs, ours, loosely, *whys)


def _why(row: Row, kind: str, *, ours: bool) -> str:
    if not ours:
        texts = kind in ("text in capitals", "text with spaces for punctuation")
        return STANDARDIZED if texts else UNEXPLAINED
    if kind == "whole number with .0":
        return WHOLE
    return CONTRADICTION if _contradicts_itself(row) else UNEXPLAINED


def _contradicts_itself(row: Row) -> bool:
    """Whether an argument may be left out that its tool requires, or is none of the tool's."""
    tools = {tool["name"]: tool["parameters"] for tool in row.tools}
    for one in row.permitted:
        for name, options in one.items():
            needed, known = tools[name]["required"], tools[name]["properties"]
            if any(n not in options or not options[n] or "" in options[n] for n in needed):
                return True
            if not options.keys() <= known.keys():
                return True
    return False


def read_rows(folder: Path) -> Iterator[Row]:
    """The leaderboard's rows of single turns in Python."""
    for category in CATEGORIES:
        name = f"BFCL_v4_{category}.json"
        data = folder / "bfcl_eval" / "data"
        lines = (data / name).read_text(encoding="utf-8").splitlines()
        solved = (data / "possible_answer" / name).read_text(encoding="utf-8").splitlines()
        truths = {one["id"]: one["ground_truth"] for one in map(json.loads, filter(None, solved))}
        for one in map(json.loads, filter(None, lines)):
            yield Row(one["id"], category, one["function"], truths[one["id"]])


def _checker(folder: Path) -> Callable[[Row, Sequence[ToolCall]], bool]:
    """Their `ast_checker`, without the clients of all models that it imports for one flag."""
    sys.path.insert(0, str(folder))
    models = types.ModuleType("bfcl_eval.constants.model_config")
    plain = types.SimpleNamespace(underscore_to_dot=False)
    models.MODEL_CONFIG_MAPPING = {"any": plain}  # type: ignore[attr-defined]  # a stand-in
    sys.modules[models.__name__] = models
    try:
        checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
        python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON
    finally:
        sys.path.remove(str(folder))

    def check(row: Row, said: Sequence[ToolCall]) -> bool:
        calls = [{call.name: json.loads(json.dumps(call.arguments))} for call in said]
        verdict = checker.ast_checker(row.tools, calls, row.permitted, python, row.category, "any")
        return bool(verdict["valid"])

    return check


def _ours(row: Row, said: Sequence[ToolCall], syntax: Syntax) -> tuple[bool, bool]:
    """Whether calls are right to the letter, and whether they are as the leaderboard compares."""
    try:
        predicted = render(said, syntax)
    except CannotRender:
        predicted = render(said, Syntax.OPENAI)
    parts = PermittedCallsScorer().score(Answered(row.name, row.expected, predicted)).parts
    return parts["calls_exact"].above == 1, parts[CORRECT.name].above == 1


def nearest(row: Row, said: Sequence[ToolCall]) -> list[ToolCall]:
    """The permitted answer that has most calls in common with what was said."""
    return permitted_calls.nearest(read_permitted(row.expected, row.name), said)


# -------------------- answers with planted errors


def answers(row: Row) -> Iterator[tuple[str, list[ToolCall]]]:
    """Answers by kind: right ones first, then one error each."""
    right = nearest(row, [])
    first = right[0]
    yield "right", right
    yield (
        "right, other order",
        [ToolCall(one.name, dict(reversed(one.arguments.items()))) for one in reversed(right)],
    )
    last = [{n: _last(v) for n, v in next(iter(one.values())).items()} for one in row.permitted]
    yield (
        "right, other permitted values",
        [
            ToolCall(
                call.name, {name: value for name, value in one.items() if value is not _LEFT_OUT}
            )
            for call, one in zip(right, last, strict=True)
        ],
    )
    yield "tool renamed", [ToolCall(f"{first.name}_2", first.arguments), *right[1:]]
    yield "call dropped", right[1:]
    yield "call added", [*right, first]
    yield "argument invented", [ToolCall(first.name, {**first.arguments, "zz": 1}), *right[1:]]
    if first.arguments:
        dropped = dict(list(first.arguments.items())[1:])
        yield "argument dropped", [ToolCall(first.name, dropped), *right[1:]]
    for kind, change in _CHANGES.items():
        for name, value in first.arguments.items():
            changed = change(value)
            if changed is not None:
                turned = ToolCall(first.name, {**first.arguments, name: changed})
                yield kind, [turned, *right[1:]]
                break


_LEFT_OUT = object()


def _last(values: list[Any]) -> Any:
    if not values or values[-1] == "":
        return _LEFT_OUT
    one = permitted_calls.Permitted("f", {"a": values[-1:]})
    return permitted_calls.nearest([one], [])[0].arguments["a"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _when(fits: bool, value: Any) -> Any:
    return value if fits else None


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "number changed": lambda v: v + 1 if _number(v) else None,
    "number as text": lambda v: str(v) if _number(v) else None,
    "whole number with .0": lambda v: float(v) if type(v) is int else None,
    "fraction .0 as whole number": lambda v: int(v) if type(v) is float and v == int(v) else None,
    "true and false turned": lambda v: not v if isinstance(v, bool) else None,
    "true as 1": lambda v: int(v) if isinstance(v, bool) else None,
    "text changed": lambda v: f"{v}zz" if isinstance(v, str) else None,
    "text in capitals": lambda v: _when(isinstance(v, str) and v.upper() != v, _upper(v)),
    "text with spaces for punctuation": lambda v: _when(
        isinstance(v, str) and _spaced(v) != v, _spaced(v)
    ),
    "list turned around": lambda v: _when(isinstance(v, list) and v[::-1] != v, _turned(v)),
    "item added to a list": lambda v: [*v, v[0]] if isinstance(v, list) and v else None,
}


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _spaced(value: Any) -> Any:
    return value.translate({ord(one): " " for one in ",./-_"}) if isinstance(value, str) else value


def _turned(value: Any) -> Any:
    return value[::-1] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
