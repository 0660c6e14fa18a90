"""Whether the rows show each class often enough, and what an answer scores that never changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.checks.class_counts import ClassCounts
from orchestrator.dataset.checks.length_spread import LengthSpread
from orchestrator.dataset.checks.row_classes import classes_of
from orchestrator.dataset.constant_answers import (
    ConstantAnswer,
    constant_plan,
    constant_text,
    constant_tool,
    constant_tools_of_plan,
)
from orchestrator.dataset.example import Example, answer_text, prompt_text
from orchestrator.dataset.privacy.masking import shown
from orchestrator.dataset.report import MAX_EXAMPLES, Figure, Finding, Group, Level, Table
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

#: A class with fewer rows is hardly learned, and a split of it measures nothing.
LEAST_ROWS = 30
#: Classes of one sort beyond which they are not counted one by one.
_MOST_CLASSES = 5000
#: Whole answers and plans beyond which none of them can be common enough to matter.
_MOST_ANSWERS = 20_000
_SHOWN_CLASSES = 30
_NAMED_CLASSES = 3
_SPLITS = ("train", "validation", "test")
#: Sorts of classes, and how bad it is if one has few rows.
_SORTS = {
    "tool": Level.WARNING,
    "agent": Level.WARNING,
    "first tool of the route plan": Level.WARNING,
    "choice": Level.WARNING,
    "difficulty": Level.NOTE,
    "tag": Level.NOTE,
}
#: A constant answer that is right less often than this says nothing.
_WORTH_SAYING = 0.05


class BalanceCheck(Check):
    """Counts classes and lengths, and scores constant answers."""

    kind = "balance"

    def __init__(self, rules: Rules) -> None:
        self._tools = tuple(tool.name for tool in rules.tools)
        self._classes = {sort: ClassCounts[str](_MOST_CLASSES) for sort in _SORTS}
        self._calls = ClassCounts[tuple[str, ...]](_MOST_CLASSES)
        self._agents = ClassCounts[tuple[str, ...]](_MOST_CLASSES)
        self._plan_tools = ClassCounts[tuple[str, ...]](_MOST_CLASSES)
        self._plans = ClassCounts[tuple[str, ...]](_MOST_ANSWERS)
        self._answers = ClassCounts[str](_MOST_ANSWERS)
        self._lengths = {"prompt": LengthSpread(), "answer": LengthSpread()}
        self._file = ""
        self._rows = 0

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """Count the rows."""
        for example in examples:
            self._file = self._file or example.file
            self._rows += 1
            self._count(example)
            for part, text in (("prompt", prompt_text), ("answer", answer_text)):
                self._lengths[part].add(len(text(example)), example.file, example.line)
        return ()

    def _count(self, example: Example) -> None:
        row, split = classes_of(example), example.split
        values = {
            "tool": row.tools,
            "agent": (row.agent,) if row.agent else (),
            "first tool of the route plan": row.plan_tools[:1],
            "choice": (row.choice,) if row.choice else (),
            "difficulty": (row.difficulty,) if row.difficulty else (),
            "tag": row.tags,
        }
        for sort, found in values.items():
            if found:
                self._classes[sort].add(found, split)
        if row.tools:
            self._calls.add([row.tools], split)
        if row.agent:
            self._agents.add([(row.agent,)], split)
        if row.plan:
            self._plan_tools.add([row.plan_tools], split)
            self._plans.add([row.plan], split)
        if row.answer:
            self._answers.add([row.answer], split)

    def shift(self, lines: int) -> None:
        """Learn that this part starts further down."""
        for lengths in self._lengths.values():
            lengths.shift(lines)

    def merge(self, later: Self) -> None:
        """Add the counts of the next part."""
        self._file = self._file or later._file
        self._rows += later._rows
        for sort, counts in later._classes.items():
            self._classes[sort].merge(counts)
        self._calls.merge(later._calls)
        self._agents.merge(later._agents)
        self._plan_tools.merge(later._plan_tools)
        self._plans.merge(later._plans)
        self._answers.merge(later._answers)
        for part, lengths in later._lengths.items():
            self._lengths[part].merge(lengths)

    def conclude(self) -> Iterable[Group]:
        """Few rows, tools never called, outliers, constant answers."""
        if self._rows:
            yield from self._few_rows()
            yield from self._never_called()
            yield from self._outliers()
            yield from self._constant_answers()

    def figures(self) -> Iterable[Figure]:
        """Rows of each class, by split where files give the splits; scores of constant answers."""
        for sort, counts in self._classes.items():
            if counts.rows and not counts.too_many:
                yield _table(sort, counts)
        rows = [
            (name, _shortened(constant.answer), score.metric, round(score.value, 4))
            for name, constant in self._constants()
            for score in constant.scores
        ]
        if rows:
            header = ("always", "answer", "metric", "score")
            yield Table("What a constant answer scores", header, tuple(rows))

    def _few_rows(self) -> Iterator[Group]:
        """One finding for each class that is chosen between; one for all tags or difficulties."""
        few = {
            sort: sorted((n, value) for value, n in counts.totals().items() if n < LEAST_ROWS)
            for sort, counts in self._classes.items()
        }
        messages = [
            f"The {sort} `{_shortened([value])}` has {_rows(count)}, fewer than {LEAST_ROWS}."
            for count, sort, value in sorted(
                (count, sort, value)
                for sort, found in few.items()
                if _SORTS[sort] is Level.WARNING
                for count, value in found
            )
        ]
        hint = "Add rows of it, or expect it to be learned and measured badly."
        yield from self._group(Level.WARNING, "few-rows", messages, hint)
        messages = [
            self._few_of(sort, found)
            for sort, found in few.items()
            if found and _SORTS[sort] is Level.NOTE
        ]
        hint = "Nothing is measured by a class with so few rows."
        yield from self._group(Level.NOTE, "few-rows", messages, hint)
        messages = [
            f"There are more than {_MOST_CLASSES} different values of {sort} in "
            f"{_rows(counts.rows)}: they are not counted one by one."
            for sort, counts in self._classes.items()
            if counts.too_many
        ]
        hint = "Look whether free text stands where classes should."
        yield from self._group(Level.NOTE, "too-many-classes", messages, hint)

    def _few_of(self, sort: str, found: Sequence[tuple[int, str]]) -> str:
        named = ", ".join(
            f"`{_shortened([value])}` ({_rows(count)})" for count, value in found[:_NAMED_CLASSES]
        )
        total = len(self._classes[sort].totals())
        of_all = f"{len(found)} of {total} values" if total > 1 else "The one value"
        have = "has" if total == 1 else "have"
        return f"{of_all} of {sort} {have} fewer than {LEAST_ROWS} rows, fewest: {named}."

    def _never_called(self) -> Iterator[Group]:
        counts = self._classes["tool"]
        called = counts.totals()
        if counts.too_many:
            return
        if self._tools and not called:
            messages = [f"No row calls any of the {len(self._tools)} tools."]
        else:
            messages = [f"No row calls `{tool}`." for tool in self._tools if tool not in called]
        hint = "Add rows that call it, or take it out of the tools: it costs tokens in every row."
        yield from self._group(Level.WARNING, "never-called", messages, hint)

    def _outliers(self) -> Iterator[Group]:
        for part, spread in self._lengths.items():
            found = spread.outliers()
            if not found.longer + found.shorter:
                continue
            code = f"{part}-length-outlier"
            hint = "Look at these rows: often something was pasted, cut or joined by mistake."
            examples = tuple(
                Finding(
                    self.kind,
                    Level.NOTE,
                    code,
                    place,
                    f"Its {part} has {length} characters; usual are about {found.median}. "
                    f"({found.longer} are much longer, {found.shorter} much shorter.)",
                    hint,
                )
                for length, place in found.rows
            )
            yield Group(self.kind, Level.NOTE, code, found.longer + found.shorter, examples)

    def _constant_answers(self) -> Iterator[Group]:
        for name, constant in self._constants():
            if max(score.value for score in constant.scores) < _WORTH_SAYING:
                continue
            scores = ", ".join(f"{score.metric} {score.value:.1%}" for score in constant.scores)
            message = (
                f"Always {name} (`{_shortened(constant.answer)}`) scores {scores} on "
                f"{_rows(constant.rows)}: a gate below that is worthless."
            )
            hint = "Set gates above these figures, and show them beside every result."
            yield from self._group(Level.NOTE, _CODES[name], [message], hint)

    def _constants(self) -> Iterator[tuple[str, ConstantAnswer]]:
        plans = {} if self._plans.too_many else self._plans.totals()
        answers = {} if self._answers.too_many else self._answers.totals()
        for name, constant in (
            (_PLAN_TOOLS, constant_tools_of_plan(self._plan_tools.totals())),
            (_PLAN, constant_plan(plans)),
            (_TOOL, constant_tool(self._calls.totals())),
            (_AGENT, constant_tool(self._agents.totals())),
            (_ANSWER, constant_text(answers)),
        ):
            if constant is not None:
                yield name, constant

    def _group(
        self, level: Level, code: str, messages: Sequence[str], hint: str
    ) -> Iterator[Group]:
        if messages:
            place = Place(self._file)
            examples = tuple(
                Finding(self.kind, level, code, place, message, hint)
                for message in messages[:MAX_EXAMPLES]
            )
            yield Group(self.kind, level, code, len(messages), examples)


_PLAN_TOOLS = "the commonest tools of a route plan"
_PLAN = "the commonest route plan"
_TOOL = "the commonest tool"
_AGENT = "the commonest agent"
_ANSWER = "the commonest answer"
_CODES = {
    _PLAN_TOOLS: "constant-plan-tools",
    _PLAN: "constant-plan",
    _TOOL: "constant-tool",
    _AGENT: "constant-agent",
    _ANSWER: "constant-answer",
}


def _table(sort: str, counts: ClassCounts[str]) -> Table:
    totals = counts.totals()
    splits = [name for name in _SPLITS if any(counts.of(value, name) for value in totals)]
    shown = list(totals)[:_SHOWN_CLASSES]
    rows: list[tuple[str | int | float | None, ...]] = []
    for value in shown:
        by_split = (counts.of(value, name) for name in splits)
        rows.append((value, totals[value], round(totals[value] / counts.rows, 4), *by_split))
    rest = len(totals) - len(shown)
    if rest:
        left = sum(totals.values()) - sum(totals[value] for value in shown)
        rows.append((f"({rest} others)", left, None, *(None for _ in splits)))
    header = (sort, "rows", "share", *splits)
    return Table(f"Rows of each {sort}", header, tuple(rows))


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _shortened(answer: Sequence[str], most: int = 100) -> str:
    # Masked before it is shortened: half a key tells too much, and is no longer seen as one.
    text = shown(", ".join(answer))
    return f"{text[: most - 1]}…" if len(text) > most else text
