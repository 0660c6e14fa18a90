"""What a model answers before a training and after it: the figures, and tables of them.

Every share comes with its 95 % interval (Wilson), and the change with McNemar's exact test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.evaluation.intervals import Paired, Share, paired
from orchestrator.evaluation.routing import RoutingScores


@dataclass(frozen=True)
class Condition:
    """One way to answer the held-out rows, and what came of it."""

    name: str
    scores: RoutingScores


@dataclass(frozen=True)
class BeforeAndAfter:
    """All ways to answer the same held-out rows: three without the tuning, and the tuned model."""

    stand_in: str
    zero_shot: Condition
    few_shot: Condition
    constant: Condition
    tuned: Condition

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """In the order in which they are shown."""
        return (self.zero_shot, self.few_shot, self.constant, self.tuned)

    @property
    def change(self) -> Paired:
        """Which rows the tuning made exactly right or wrong, against the untuned model."""
        before, after = self.zero_shot.scores.rows, self.tuned.scores.rows
        return paired([row.exact for row in before], [row.exact for row in after])

    def lines(self) -> tuple[str, ...]:
        """The tables for people, a line each."""
        return (*_whole_table(self), "", *_agents_table(self))

    def to_json(self) -> dict[str, Any]:
        """The figures as data."""
        return {
            "stand_in": self.stand_in,
            "rows": self.tuned.scores.agent.rows,
            "conditions": {one.name: _figures(one) for one in self.conditions},
            "gained": self.change.gained,
            "lost": self.change.lost,
            "p_value": self.change.p_value,
        }


def _told(share: Share) -> str:
    low, high = share.interval
    counts = f"{share.right}/{share.rows}"
    return f"{counts:>7} {share.value:6.1%} [{low:4.0%}, {high:4.0%}]"


def _whole_table(result: BeforeAndAfter) -> list[str]:
    width = len(_told(result.tuned.scores.agent))
    lines = [
        f"{result.tuned.scores.agent.rows} held-out rows, {result.stand_in}, 95 % intervals",
        f"  {'':<10} {'agent right':<{width}}  {'call exact':<{width}}".rstrip(),
    ]
    for one in result.conditions:
        agent, exact = _told(one.scores.agent), _told(one.scores.exact)
        lines.append(f"  {one.name:<10} {agent}  {exact}")
    change = result.change
    lines.append(
        f"  exact calls gained {change.gained}, lost {change.lost}"
        f" (McNemar, exact: p = {change.p_value:.2g})"
    )
    return lines


def _agents_table(result: BeforeAndAfter) -> list[str]:
    width = max(len(name) for name, _, _ in result.tuned.scores.by_agent)
    lines = [f"  {'by agent':<{width}}  agent: zero-shot → few-shot → tuned; exact: the same"]
    shown = (result.zero_shot, result.few_shot, result.tuned)
    for number, (name, share, _) in enumerate(result.tuned.scores.by_agent):
        parts = [one.scores.by_agent[number] for one in shown]
        agent = " → ".join(str(part[1].right) for part in parts)
        exact = " → ".join(str(part[2].right) for part in parts)
        lines.append(f"  {name:<{width}}  {agent}; {exact} of {share.rows}")
    return lines


def _figures(condition: Condition) -> dict[str, Any]:
    scores = condition.scores
    return {
        "parsed": _share(scores.parsed),
        "agent": _share(scores.agent),
        "exact": _share(scores.exact),
        "by_agent": {
            name: {"agent": _share(agent), "exact": _share(exact)}
            for name, agent, exact in scores.by_agent
        },
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"right": share.right, "rows": share.rows, "interval": [round(low, 4), round(high, 4)]}
