"""Plans of a few rows, for tests that submit them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.planner import Prepared
from tests.router_spec import ROUTER as ROUTER
from tests.router_spec import SPEC, plan, without_evaluation


def router_plan(folder: Path, *, rows: int | None = 20, on_uncertain: str = "hold") -> Prepared:
    """A plan of the router spec, left as `spec.yaml` in `folder`, over the first of its rows."""
    text = SPEC if on_uncertain == "hold" else f"{SPEC}on_uncertain: {on_uncertain}\n"
    return plan(folder, spec=text, limit=rows)


JOBS = ROUTER.parent.parent / "functiongemma" / "support-router.yaml"


def jobs_plan(
    folder: Path,
    *,
    rows: int | None = 30,
    adapter: bool = False,
    more: str = "",
    replace: tuple[str, str] = ("", ""),
) -> Prepared:
    """A plan of the shipped support router, of hf-jobs; `more` is put at the spec's end.

    It trains all weights, or an `adapter` in their place.
    """
    text = without_evaluation(JOBS.read_text(encoding="utf-8"))
    if replace[0]:
        assert replace[0] in text
        text = text.replace(*replace)
    text += more
    if adapter:
        text = text.replace("  mode: full\n", "  mode: peft\n", 1)
    for name in ("support-router.jsonl", "support-router.tools.json"):
        (folder / name).write_bytes((JOBS.parent / name).read_bytes())
    return plan(folder, spec=text, data=folder / "support-router.jsonl", limit=rows)
