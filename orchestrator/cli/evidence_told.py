"""How what came of a run's evaluation is told to people."""

from __future__ import annotations

import click

from orchestrator.cli.printing import counted, print_table
from orchestrator.errors import InputError
from orchestrator.evaluation.evidence import Evidence, Figures
from orchestrator.evaluation_facts import candidate, evaluation, override
from orchestrator.ledger import Facts
from orchestrator.run_answers import evidence_of

#: So many metrics, and causes, are shown on a terminal; the documents have all.
_METRICS, _CAUSES = 6, 8


def judged_pairs(facts: Facts) -> list[tuple[str, str]]:
    """What is known of a run's candidate, its evaluation, and a person's override."""
    offered, judged, overridden = candidate(facts), evaluation(facts), override(facts)
    pairs = []
    if offered is not None:
        pairs.append(("candidate", f"{offered.data.get('repo')} at {offered.data.get('revision')}"))
    if judged is not None:
        pairs.append(("evaluated", _evaluated(facts)))
    if overridden is not None:
        pairs.append(("override", str(overridden.data.get("reason"))))
    return pairs


def _evaluated(facts: Facts) -> str:
    """The newest evaluation in a line; also where nobody can read it."""
    try:
        evidence = evidence_of(facts)
    except InputError as problem:
        return str(problem)
    main = next(iter(evidence.conditions[0].metrics), None) if evidence.conditions else None
    passed = sum(gate.passed for gate in evidence.gates)
    told = f"gates passed: {passed} of {len(evidence.gates)}"
    if main is not None:
        told = f"{main.name} {_cell(main)} on {main.rows} rows of {evidence.split}; {told}"
    if evidence.alarms:
        told += f"; alarms: {', '.join(alarm.name for alarm in evidence.alarms)}"
    return told


def print_evidence(evidence: Evidence) -> None:
    """An evaluation for people: every way to answer, the verdict on each gate, alarms, causes."""
    gated = [gate.metric for gate in evidence.gates]
    names = list(dict.fromkeys([*gated, *(kind.name for kind in evidence.kinds)]))[:_METRICS]
    rows = counted(evidence.rows, "row")
    click.echo(f"{rows} of {evidence.split}, scorer {evidence.scorer}, 95 % intervals\n")
    print_table(
        ("answers", *names),
        [(one.name, *(_cell(one.metric(name)) for name in names)) for one in evidence.conditions],
    )
    lines = [f"gate {'passed' if one.passed else 'FAILED'}: {one.words}" for one in evidence.gates]
    lines += [f"alarm: {one.words}" for one in evidence.alarms]
    if lines:
        click.echo("\n" + "\n".join(lines))
    tuned = evidence.condition("tuned")
    if tuned is not None and tuned.causes:
        click.echo()
        causes = [(one.cause, str(one.rows), one.example[:12]) for one in tuned.causes[:_CAUSES]]
        print_table(("cause", "rows", "example"), causes)


def _cell(found: Figures | None) -> str:
    if found is None:
        return ""
    return f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"
