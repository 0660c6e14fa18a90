"""Masks what a report quotes of the rows: findings and tables show nothing private."""

from __future__ import annotations

import dataclasses
import re

from orchestrator.dataset.privacy.detection import redact
from orchestrator.dataset.report import Figure, Finding, Group, Report, Table

#: The beginnings of keys, and of addresses and numbers, that a message cut short: too little of
#: them is left for the detectors, and too much to be shown.
_CUT_SHORT = (
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-|[sr]k_live_|gh[opusr]_|github_pat_|gl[a-z]{2,5}-|hf_|AKIA|ASIA"
            r"|AIza|ya29\.|xox[a-z]-|eyJ|npm_|pypi-Ag|SG\.)[A-Za-z0-9_.-]{8,}"
            r"(?=(?:…|\.\.\.)|['\"`”]|$)"
        ),
        "[SECRET]",
    ),
    (re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*", re.DOTALL), "[SECRET]"),
    (re.compile(r"[\w.%+-]+@[\w.-]*(?=(?:…|\.\.\.)|['\"`”]|$)"), "[EMAIL]"),
    (re.compile(r"\+\d[\d ().-]{5,}(?=(?:…|\.\.\.)|['\"`”]|$)"), "[PHONE]"),
)


def shown(text: str) -> str:
    """A text as it may be shown, also where what it quotes was cut short."""
    text = redact(text)
    for pattern, replacement in _CUT_SHORT:
        text = pattern.sub(replacement, text)
    return text


def masked(report: Report) -> Report:
    """The report with nothing private in its messages and tables."""
    groups = {key: _group(group) for key, group in report.groups.items()}
    return dataclasses.replace(
        report, groups=groups, figures=tuple(_figure(figure) for figure in report.figures)
    )


def _group(group: Group) -> Group:
    return dataclasses.replace(group, examples=tuple(_finding(one) for one in group.examples))


def _finding(finding: Finding) -> Finding:
    message, hint = shown(finding.message), shown(finding.hint)
    return dataclasses.replace(finding, message=message, hint=hint)


def _figure(figure: Figure) -> Figure:
    if not isinstance(figure, Table):
        return figure
    rows = tuple(
        tuple(shown(value) if isinstance(value, str) else value for value in row)
        for row in figure.rows
    )
    return dataclasses.replace(figure, rows=rows)
