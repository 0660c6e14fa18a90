"""Plans for tests: the shipped router spec over a few of its rows."""

from __future__ import annotations

from pathlib import Path

from orchestrator.planner import Prepared, make_plan
from orchestrator.spec import load_spec

ROOT = Path(__file__).parent.parent
ROUTER = ROOT / "jobs" / "router" / "llama-3.1-8b.yaml"


def router_plan(folder: Path, *, rows: int | None = 20, on_uncertain: str = "hold") -> Prepared:
    """A plan of the router spec over the first rows of its sample."""
    text = ROUTER.read_text(encoding="utf-8")
    if on_uncertain != "hold":
        text += f"on_uncertain: {on_uncertain}\n"
    spec = folder / "router.yaml"
    spec.write_text(text, encoding="utf-8")
    return make_plan(load_spec(spec), ROUTER.parent / "sample.jsonl", limit=rows)
