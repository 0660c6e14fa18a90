"""Plans of a few rows, for tests that submit them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.planner import Prepared
from tests.router_spec import ROUTER as ROUTER
from tests.router_spec import SPEC, plan


def router_plan(folder: Path, *, rows: int | None = 20, on_uncertain: str = "hold") -> Prepared:
    """A plan of the router spec, left as `spec.yaml` in `folder`, over the first of its rows."""
    text = SPEC if on_uncertain == "hold" else f"{SPEC}on_uncertain: {on_uncertain}\n"
    return plan(folder, spec=text, limit=rows)
