"""How the evaluation and the gates of a plan are told to people."""

from __future__ import annotations

from orchestrator.hardware.durations import format_duration
from orchestrator.plan import EvaluationPlan, Plan
from orchestrator.spec import GateBlock


def evaluation_pairs(plan: Plan) -> list[tuple[str, str]]:
    """What answers which rows, how they are scored, and what they must reach."""
    planned = plan.evaluation
    pairs = [] if planned is None else _planned(planned)
    if plan.spec.gates == ():
        pairs.append(("gates", "none: it is published whatever its answers are"))
    elif plan.gates:
        pairs.append(("gates", "; ".join(map(gate_text, plan.gates))))
    return pairs


def _planned(planned: EvaluationPlan) -> list[tuple[str, str]]:
    ways = ", ".join(planned.conditions)
    rows = f"{planned.rows} rows of {planned.split}, scorer {planned.scorer}"
    pairs = [("evaluation", f"{rows}; answers by {planned.service}: {ways}")]
    if planned.flavor is not None and planned.usd is not None:
        least, most = planned.usd
        longest = format_duration(planned.timeout_s or 0)
        cost = f"${least:,.2f} to ${most:,.2f} on {planned.flavor}, for {longest} at most"
        pairs.append(("answers", f"{cost} ({planned.basis})"))
    return pairs


def gate_text(gate: GateBlock) -> str:
    """A gate in words."""
    part = " of {}: {}".format(*gate.slice_of) if gate.slice_of else ""
    wanted = []
    if gate.min is not None:
        wanted.append(f"at least {gate.min:g}")
    if gate.max is not None:
        wanted.append(f"at most {gate.max:g}")
    if gate.better_than is not None:
        wanted.append(f"better than {gate.better_than} ({gate.confidence:.0%} confidence)")
    return f"{gate.metric}{part} {', '.join(wanted)}"
