"""The part of a model card that says what had to be reached, whether it was, and who decided."""

from __future__ import annotations

from orchestrator.evaluation.evidence import GateVerdict
from orchestrator.report.card_audit import audit_lines
from orchestrator.report.card_facts import CardFacts
from orchestrator.report.card_text import Markdown, code, escaped, interval, own, table
from orchestrator.report.evaluated import wanted
from orchestrator.spec import GateBlock

_NO_GATES = "No gates were set (`gates: none`)"


def gate_lines(card: CardFacts) -> list[str]:
    """The section on gates, alarms and overrides, and what people and judges said."""
    return [
        "## Gates",
        "",
        *_verdicts(card),
        *_alarms(card),
        *_override(card),
        *audit_lines(card.audits),
    ]


def _verdicts(card: CardFacts) -> list[str]:
    if not card.gates:
        whatever = ": it was published whatever its figures are" if card.evaluation else ""
        return [f"{_NO_GATES}{whatever}.", ""]
    if card.evaluation is None or not card.evaluation.gates:
        rows = [(code(card.mask(one.metric)), _rows_of(card, one)) for one in card.gates]
        lines = ["Gates were set, and none was judged:", ""]
        return [*lines, *table(("metric", "rows of"), rows)]
    header = ("gate", "rows of", "wanted", "reached", "verdict", "in words")
    passed = sum(one.passed for one in card.evaluation.gates)
    return [
        f"{passed} of {len(card.evaluation.gates)} gates passed.",
        "",
        *table(header, map(_verdict, card.evaluation.gates)),
    ]


def _rows_of(card: CardFacts, gate: GateBlock) -> Markdown:
    return escaped(card.mask(": ".join(gate.slice_of))) if gate.slice_of else own("all rows")


def _verdict(gate: GateVerdict) -> tuple[Markdown, ...]:
    return (
        code(gate.metric),
        escaped(": ".join(gate.slice)) if gate.slice else own("all rows"),
        escaped(wanted(gate)),
        interval(gate.value, gate.low, gate.high),
        own("passed" if gate.passed else "**failed**"),
        escaped(gate.words),
    )


def _alarms(card: CardFacts) -> list[str]:
    found = card.evaluation.alarms if card.evaluation else ()
    if not found:
        return []
    lines = [f"- alarm {code(one.name)}: {escaped(one.words)}" for one in found]
    return [*lines, ""]


def _override(card: CardFacts) -> list[str]:
    if card.override is None:
        return []
    return [
        (
            "**A person published it although it was held.** The reason that was given: "
            f"{escaped(card.override) or 'none'}"
        ),
        "",
    ]
