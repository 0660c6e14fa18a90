"""`orchestrator audit show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.audit.options import condition_option, open_run
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json, print_table

if TYPE_CHECKING:
    from orchestrator.audit_facts import AuditSummary
    from orchestrator.audit_report import AgainstScorer, AuditReport, RaterFigures

#: So much of a key names a row to people.
_KEY = 12


@click.command()
@click.argument("run")
@condition_option
@json_option
def show(run: str, condition: str, as_json: bool) -> int:
    """Show what reviewers and judge models gave, and how far they agree.

    Agreement: the same score, at most one apart, Cohen's kappa with quadratic weights for two,
    Krippendorff's alpha (interval) for all reviewers; and by point-biserial correlation, how far
    people's scores go with the scorer's main metric.
    """
    from orchestrator import audit_report

    with open_run(run) as found:
        report = audit_report.report(found.ledger.facts(found.id), found.folder, condition)
        run_id = found.id
    if as_json:
        print_json({"run": run_id, **report.to_json()})
    elif not report.reviewers and not report.judges:
        click.echo(f"nobody has scored answers of {condition} yet")
        note(f"next: orchestrator audit sample {run_id}")
    else:
        _print(report)
    return 0


def _print(report: AuditReport) -> None:
    from orchestrator.audit_facts import SCALE

    raters = [_rater(one.who, one) for one in report.reviewers]
    raters += [_rater(f"judge {one.who}", one) for one in report.judges]
    print_table(("by", "answers", "mean", "interval", *map(str, SCALE)), raters)
    if report.summary is not None:
        click.echo()
        _print_summary(report.summary)
    if report.pairs:
        click.echo()
        lines = [
            (
                f"{one.one}, {one.other}",
                str(one.found.rows),
                f"{one.found.same.value:.0%}",
                f"{one.found.within_one.value:.0%}",
                _number(one.found.kappa),
            )
            for one in report.pairs
        ]
        print_table(("of", "answers of both", "same", "within one", "kappa"), lines)
    if report.against_scorer is not None:
        click.echo()
        _print_scorer(report.against_scorer)
    if report.disagreements:
        click.echo()
        names = [one.who for one in report.reviewers]
        rows = [
            (
                one.key[:_KEY],
                *(str(one.scores.get(name, "")) for name in names),
                "; ".join(f"{who}: {text}" for who, text in one.notes.items()),
            )
            for one in report.disagreements
        ]
        print_table(("two or more apart", *names, "notes"), rows)
    if report.other_rubrics:
        note(f"{counted(report.other_rubrics, 'audit')} by another rubric left aside")


def _print_summary(summary: AuditSummary) -> None:
    interval = f"[{summary.low:.2f}, {summary.high:.2f}]"
    click.echo(
        f"{counted(summary.rows, 'answer')}, {counted(summary.reviewers, 'reviewer')}, rubric "
        f"{summary.rubric}: mean {summary.mean:.2f} {interval}, 95 % intervals"
    )
    if not summary.rows_shared:
        return
    both = counted(summary.rows_shared, "answer")
    if summary.alpha is None:
        click.echo(f"Krippendorff's alpha is not defined: all scores of {both} are the same")
        return
    alpha = f"{summary.alpha:.2f} [{summary.alpha_low:.2f}, {summary.alpha_high:.2f}]"
    click.echo(f"Krippendorff's alpha (interval) {alpha}, over {both} of two reviewers or more")


def _print_scorer(found: AgainstScorer) -> None:
    parts = [
        f"{counted(rows, 'answer')} {word}, mean {mean:.2f}"
        for word, rows, mean in (
            ("right", found.right_rows, found.right_mean),
            ("wrong", found.wrong_rows, found.wrong_mean),
        )
        if mean is not None
    ]
    told = "not defined" if found.correlation is None else f"{found.correlation:.2f}"
    click.echo(f"by {found.metric}: {'; '.join(parts)}; point-biserial correlation {told}")


def _rater(name: str, found: RaterFigures) -> tuple[str, ...]:
    mean = found.mean
    interval = f"[{mean.low:.2f}, {mean.high:.2f}]"
    return (name, str(found.rows), f"{mean.value:.2f}", interval, *map(str, found.counts))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
