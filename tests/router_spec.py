"""The shipped router spec, changed in places, and the plans that are made of it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.catalog import Catalog
from orchestrator.data_files import data_folder
from orchestrator.data_rules import resolve_rules
from orchestrator.dataset.rules import RowsFile
from orchestrator.planner import Prepared, make_plan, resolve_model
from orchestrator.preparation import prepare
from orchestrator.spec import load_spec

ROUTER = data_folder("jobs") / "router" / "llama-3.1-8b.yaml"
SAMPLE = ROUTER.with_name("sample.jsonl")


def without_evaluation(text: str) -> str:
    """A shipped spec that publishes unjudged: for tests of what comes before or after judging."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if line.startswith(("evaluation:", "gates:")):
            inside = True
            while kept and kept[-1].startswith("#"):
                kept.pop()
        elif inside and line[:1].strip():
            inside = False
        if not inside:
            kept.append(line)
    return "".join(kept) + "gates: none\n"


SPEC = without_evaluation(ROUTER.read_text(encoding="utf-8"))


def plan(
    folder: Path,
    *,
    spec: str = SPEC,
    data: Path = SAMPLE,
    limit: int | None = None,
    catalog: Catalog | None = None,
) -> Prepared:
    """A plan of a spec that lies as `spec.yaml` in `folder`; its rows are prepared there too."""
    file = folder / "spec.yaml"
    file.write_text(spec, encoding="utf-8")
    loaded = load_spec(file, "spec.yaml")
    rules = resolve_rules(loaded, resolve_model(loaded, catalog))
    files = [RowsFile(data, str(data))]
    return make_plan(
        loaded, prepare(files, rules, folder / "prepared-rows", limit=limit), catalog=catalog
    )


def changed(found: str, replacement: str) -> str:
    """The router spec with its first `found` replaced."""
    assert SPEC.count(found) >= 1
    return SPEC.replace(found, replacement, 1)
