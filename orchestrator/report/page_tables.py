"""The tables of a run's page: figures as the texts that stand in their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.evaluation.evidence import Evidence
from orchestrator.report.axes import interval_text, number_text
from orchestrator.report.causes import CauseGroup
from orchestrator.report.evaluated import in_order, meaning_of, wanted
from orchestrator.report.run_report import SCORES, Audit, RunReport

Cells = tuple[str, ...]
AUDIT = ("reviewer", "rubric", "rows", "mean", *map(str, SCORES), "no score")
COMPARISONS = ("metric", "against", "rows", "before", "after", "difference", "p", "gained", "lost")
ANSWERS = (
    "condition",
    "rows",
    "missing",
    "empty",
    "cut off",
    "different",
    "commonest",
    "mean tokens",
    "median s",
    "95 % s",
)
ATTEMPTS = ("attempt", "state", "began (UTC)", "time", "error")
_MINUTE_S, _HOUR_S = 60, 3600


@dataclass(frozen=True)
class GateLine:
    """A gate as its line in the table."""

    metric: str
    slice: str
    wanted: str
    found: str
    passed: bool
    words: str


def about(report: RunReport) -> list[tuple[str, str]]:
    """What is said of a run at the top of its page."""
    view = report.view
    run = view.facts.run
    pairs = [
        ("service", run.target.service),
        ("base model", run.plan.model.id),
        ("created", f"{run.created_at:%Y-%m-%d %H:%M} UTC"),
        ("cost", str(report.cost)),
        ("training time", seconds_text(view.training_seconds)),
        ("gates", report.gates),
    ]
    if view.published:
        pairs.append(("published", f"{view.published.get('repo')}, {view.published.get('tag')}"))
    return pairs


def gate_rows(evaluation: Evidence) -> list[GateLine]:
    """The gates with what was found."""
    return [
        GateLine(
            gate.metric,
            ": ".join(gate.slice) if gate.slice else "all rows",
            wanted(gate),
            interval_text(gate.value, gate.low, gate.high),
            gate.passed,
            gate.words,
        )
        for gate in evaluation.gates
    ]


def metric_rows(evaluation: Evidence) -> list[Cells]:
    """A line for each metric that any condition has, in the scorer's order."""
    conditions = in_order(evaluation)[::-1]
    found = [metric.name for condition in conditions for metric in condition.metrics]
    order = [kind.name for kind in evaluation.kinds if kind.name in found]
    lines = []
    for name in dict.fromkeys([*order, *found]):
        better = "\u00a0↓" if meaning_of(evaluation, name).better == "lower" else ""
        cells = []
        for condition in conditions:
            one = condition.metric(name)
            cells.append(interval_text(one.value, one.low, one.high) if one else "–")
        lines.append((f"{name}{better}", *cells))
    return lines


def comparison_rows(evaluation: Evidence) -> list[Cells]:
    """The run against its baselines, row by row."""
    return [
        (
            one.metric,
            one.against,
            f"{one.rows:,}",
            number_text(one.before),
            number_text(one.after),
            f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]",
            f"{one.p_value:.3g}",
            _count(one.gained),
            _count(one.lost),
        )
        for one in evaluation.comparisons
    ]


def answer_rows(evaluation: Evidence) -> list[Cells]:
    """How the answers look, right or wrong."""
    return [
        (
            one.name,
            *map(_count, (a.rows, a.missing, a.empty, a.cut, a.different, a.commonest_rows)),
            *map(_short, (a.tokens_mean, a.latency_s_p50, a.latency_s_p95)),
        )
        for one in reversed(in_order(evaluation))
        if (a := one.answers) is not None
    ]


def audit_rows(audits: Sequence[Audit]) -> list[Cells]:
    """What each reviewer gave."""
    return [
        (
            one.who,
            one.rubric,
            f"{one.rows:,}",
            "–" if one.mean is None else f"{one.mean:.2f}",
            *map(str, one.counts),
            str(one.unjudged),
        )
        for one in audits
    ]


def cause_header(groups: Sequence[CauseGroup]) -> Cells:
    """The columns of the causes: with the base model's where it was evaluated."""
    with_base = any(group.base is not None for group in groups)
    return ("cause", *(["base"] if with_base else []), "tuned", "of the rows")


def cause_rows(groups: Sequence[CauseGroup]) -> list[Cells]:
    """The causes of failure by how many rows have them."""
    with_base = any(group.base is not None for group in groups)
    return [
        (
            group.words,
            *([_count(group.base)] if with_base else []),
            f"{group.tuned:,}",
            f"{100 * group.tuned / group.rows:.0f} %" if group.rows else "–",
        )
        for group in groups
    ]


def attempt_rows(report: RunReport) -> list[Cells]:
    """The jobs of a run at its service."""
    lines: list[Cells] = []
    for attempt in report.view.facts.attempts:
        found = attempt.snapshot
        began = found.started_at if found else None
        ended = found.ended_at if found else None
        error = found.error if found and found.error else ""
        if attempt.refusal is not None:
            error = f"refused: {attempt.refusal.message}"
        seconds = (ended - began).total_seconds() if began and ended else None
        lines.append(
            (
                f"{attempt.kind} {attempt.ordinal}",
                found.raw_state if found else "no news yet",
                f"{began:%Y-%m-%d %H:%M}" if began else "–",
                seconds_text(seconds),
                error,
            )
        )
    return lines


def made_rows(report: RunReport) -> list[Cells]:
    """The hyperparameters, and what the trainer was told beside them."""
    plan = report.view.facts.run.plan
    hyper = plan.hyperparameters
    lines: list[Cells] = [
        ("plan", plan.digest),
        ("mode", hyper.mode),
        ("epochs", f"{hyper.epochs}"),
        ("learning rate", f"{hyper.learning_rate:g}"),
    ]
    if hyper.rank is not None:
        lines.append(("rank", f"{hyper.rank}"))
    if plan.recipe is not None:
        batch = f"{plan.recipe.batch_size} × {plan.recipe.gradient_accumulation}"
        lines += [
            ("batch", batch),
            ("optimizer", plan.recipe.optimizer),
            ("schedule", f"{plan.recipe.scheduler}, warm-up {plan.recipe.warmup_ratio:g}"),
            ("longest row", f"{plan.recipe.max_length:,} tokens"),
        ]
    if plan.machine is not None:
        lines.append(("machine", plan.machine.flavor))
    if report.view.libraries:
        told = ", ".join(f"{name} {version}" for name, version in report.view.libraries.items())
        lines.append(("libraries", told))
    lines.append(("seed of the splits", f"{plan.spec.seed}"))
    lines.append(("rows that were read", f"{plan.data.rows:,}, sha256 {plan.data.sha256}"))
    return lines


def split_rows(report: RunReport) -> list[Cells]:
    """The splits with their digests."""
    return [(one.name, f"{one.rows:,}", one.sha256) for one in report.view.facts.run.plan.splits]


def seconds_text(seconds: float | None) -> str:
    """A time span for people: 47 s, 3 m 20 s, 4 h 05 m; a dash for none."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} m {whole % _MINUTE_S:02} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} m"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
