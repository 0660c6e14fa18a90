"""Scores route plans: a router's JSON that names the agents to call, in order.

Every row weighs the same: a metric is the mean over rows, unless its meaning says otherwise. An
answer that holds no JSON is wrong in all that its plan should show. What one wrong step moves is
kept apart: a step too few moves recall, one too many precision, a swap the order.

Sources: recall, precision by sets, exact plan and the length ratio are those of the router
benchmark of CourseGPT-Pro (DSAI Lab Group 6, `Milestone-5/router-agent/schema_score.py`), where
answers without JSON are left out of them and not wrong. ROUGE-1: Lin, "ROUGE: A Package for
Automatic Evaluation of Summaries" (2004). Longest common subsequence: Wagner and Fischer, "The
String-to-String Correction Problem" (1974).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.dataset import constant_answers as plans
from orchestrator.errors import InputError
from orchestrator.evaluation.route_plan_causes import causes
from orchestrator.evaluation.route_plan_reading import (
    PlanAnswer,
    argument_of,
    named_in,
    read_expected,
    read_plan,
)
from orchestrator.evaluation.route_plan_steps import order_kept, similarity
from orchestrator.evaluation.scores import Answered, MetricKind, Part, RowScores, yes

_BENCHMARK = "as CourseGPT-Pro's schema_score.py"
_METRICS = (
    MetricKind(
        "exact_tool_sequence",
        "Share of answers whose steps call the expected tools, in the expected order and number.",
    ),
    MetricKind(
        "tool_recall",
        "Share of the expected steps that are given, a tool as often as the plan names it; "
        "mean over rows.",
    ),
    MetricKind(
        "tool_precision",
        "Share of the given steps that are expected, a tool as often as the plan names it; "
        "mean over rows, 0 where no step is given.",
    ),
    MetricKind(
        "tool_recall_set",
        f"Share of the different expected tools that are given; mean over rows ({_BENCHMARK}).",
    ),
    MetricKind(
        "tool_precision_set",
        "Share of the different given tools that are expected; mean over rows, 0 where no step "
        f"is given ({_BENCHMARK}, which gives 1 there).",
    ),
    MetricKind(
        "order",
        "Longest common subsequence of the two sequences of tools (Wagner and Fischer 1974) "
        "through the number of steps they share; mean over rows, 0 where they share none.",
    ),
    MetricKind(
        "exact_plan",
        "Share of answers whose steps are those expected to the letter, with all they ask "
        f"({_BENCHMARK}, route_plan_exact).",
    ),
    MetricKind(
        "argument_similarity",
        "ROUGE-1 F (Lin 2004) of what is asked of a tool, over the steps that both plans share; "
        "mean over rows, 0 where they share none.",
    ),
    MetricKind(
        "hallucinated_tools",
        "Share of the given steps whose tool is not offered; mean over the rows whose answer has "
        "a step.",
        higher_is_better=False,
    ),
    MetricKind("json_validity", "Share of answers that are one JSON document behind any thinking."),
    MetricKind("schema_validity", "Share of answers that follow the JSON Schema route-plan."),
    MetricKind(
        "todo_coverage",
        "Share of the tools of the expected plan that its todo list names which the answer's todo "
        "list names too; mean over the rows where it names one.",
    ),
    MetricKind(
        "handoff_coverage",
        "Share of the tools of the expected plan that its hand-off plan names which the answer's "
        "hand-off plan names too; mean over the rows where it names one.",
    ),
    MetricKind(
        "think_kept",
        "Share of answers that begin with a closed <think> block that is not empty, of the rows "
        "whose expected answer does.",
    ),
    MetricKind(
        "length_ratio",
        "Characters of the answer behind any thinking through those of the expected one; mean "
        f"over rows; 1 is right, more is no better ({_BENCHMARK}).",
    ),
)


@dataclass(frozen=True)
class RoutePlanScorer:
    """Scores route plans whose steps may call the tools `offered` (`/math`)."""

    offered: tuple[str, ...]
    name: str = field(default="route-plan", init=False)
    metrics: tuple[MetricKind, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offered", tuple(sorted({*self.offered})))
        object.__setattr__(self, "metrics", (*_METRICS, *_metrics_by_tool(self.offered)))

    @classmethod
    def of(cls, rows: Iterable[Answered]) -> RoutePlanScorer:
        """The scorer that offers the tools which any row expects.

        Raises `InputError` that names the row whose expected answer is no route plan.
        """
        tools = (read_expected(row.key, row.expected).tools for row in rows)
        return cls(tuple({tool for of_plan in tools for tool in of_plan}))

    def score(self, row: Answered) -> RowScores:
        """The parts of one row, with its archetype and difficulty as slices.

        Raises `InputError` if the expected answer is no route plan, or calls what is not offered.
        """
        expected, given = read_expected(row.key, row.expected), read_plan(row.predicted)
        strange = sorted({*expected.tools} - {*self.offered})
        if strange:
            raise InputError(
                f"row {row.key}: the expected plan calls {strange[0]}, which is not offered",
                hint=f"Offer it, or correct the row. Offered: {', '.join(self.offered)}.",
            )
        parts = {
            "json_validity": yes(given.problem is None),
            "schema_validity": yes(given.follows_schema),
            **dict(_of_steps(expected, given)),
            **dict(self._by_tool(expected, given)),
            **dict(_of_texts(expected, given)),
        }
        hallucinated = sum(tool not in self.offered for tool in given.tools)
        if given.tools:
            parts["hallucinated_tools"] = Part(hallucinated / len(given.tools))
        slices = {"archetype": expected.archetype}
        if expected.difficulty is not None:
            slices["difficulty"] = expected.difficulty
        return RowScores(
            key=row.key,
            parts=parts,
            slices=slices | dict(row.slices),  # what the data says of itself counts more
            causes=causes(expected, given, self.offered),
        )

    def _by_tool(self, expected: PlanAnswer, given: PlanAnswer) -> Iterator[tuple[str, Part]]:
        wanted, said = Counter(expected.tools), Counter(given.tools)
        for tool in self.offered:
            both = min(wanted[tool], said[tool])
            if wanted[tool]:
                yield f"tool_recall[{tool}]", Part(both, wanted[tool])
            if said[tool]:
                yield f"tool_precision[{tool}]", Part(both, said[tool])


def constant_answer(rows: Iterable[Answered]) -> str:
    """The baseline that gives every row one answer: an expected one with the commonest tools.

    Take `rows` to train on, not those to score. Of sequences of tools that are equally common, and
    of answers with that sequence, the first in the alphabet. Raises `InputError` for rows that
    expect no route plan, and `ValueError` where there are no rows.
    """
    read = [(read_expected(row.key, row.expected).tools, row.expected) for row in rows]
    constant = plans.constant_tools_of_plan(Counter(tools for tools, _ in read))
    if constant is None:
        raise ValueError("there are no rows to take a constant answer from")
    return min(answer for tools, answer in read if tools == constant.answer)


def _metrics_by_tool(tools: Iterable[str]) -> Iterator[MetricKind]:
    for tool in tools:
        yield MetricKind(
            f"tool_recall[{tool}]",
            f"Share of all expected steps of {tool} that are given, over all rows together.",
        )
        yield MetricKind(
            f"tool_precision[{tool}]",
            f"Share of all given steps of {tool} that are expected, over all rows together.",
        )


def _of_steps(expected: PlanAnswer, given: PlanAnswer) -> Iterator[tuple[str, Part]]:
    wanted, said = expected.tools, given.tools
    yield "exact_tool_sequence", Part(plans.exact_tool_sequence(wanted, said))
    yield "tool_recall", Part(plans.tool_recall_multiset(wanted, said))
    yield "tool_precision", Part(plans.tool_precision_multiset(wanted, said))
    yield "tool_recall_set", Part(plans.tool_recall_set(wanted, said))
    yield "tool_precision_set", Part(plans.tool_precision_set(wanted, said))
    yield "order", Part(order_kept(wanted, said))
    yield "exact_plan", Part(plans.exact_plan(expected.steps, given.steps))
    yield "argument_similarity", Part(similarity(_asked(expected), _asked(given)))


def _of_texts(expected: PlanAnswer, given: PlanAnswer) -> Iterator[tuple[str, Part]]:
    for name, wanted, said in (
        ("todo_coverage", expected.todo_text, given.todo_text),
        ("handoff_coverage", expected.handoff_text, given.handoff_text),
    ):
        tools = named_in(wanted, {*expected.tools})
        if tools:
            yield name, Part(len(named_in(said, tools)) / len(tools))
    if expected.thought:
        yield "think_kept", yes(given.thought)
    yield "length_ratio", Part(len(given.text) / len(expected.text))


def _asked(plan: PlanAnswer) -> list[tuple[str, str]]:
    return [(tool, argument_of(step)) for tool, step in zip(plan.tools, plan.steps, strict=True)]
