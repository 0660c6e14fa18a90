"""The direction of dependence, read from the imports of every module, those in functions too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "orchestrator"

#: From the bottom to the top: a part imports only parts that stand in a line before its own.
LAYERS = [
    {"__init__", "errors", "clock"},
    {"settings", "catalog", "yaml_places", "spec", "spec_data", "spec_problems", "plan", "retry"}
    | {"digests", "visible_text", "job_scripts", "hardware", "spec_tuning", "exports"}
    | {"data_files", "shipped", "shipped_copy", "spec_schema", "written_files"}
    | {"safetensors_file", "lora", "scrub", "publishable", "progress", "calls", "name_patterns"}
    | {"data_addresses", "endpoints", "run_folders", "hub_client", "hub_licences"}
    | {"jail", "spec_evaluation"},
    {"dataset", "services", "stores", "ledger", "evaluation"},
    {"state", "report", "connections", "attempt_requests", "jobs_planner", "jobs_refusals"}
    | {"data_sources", "data_rules", "token_rules", "tokenizer_cache", "fetched_files"}
    | {"answer_files", "answering", "answer_figures", "evaluation_facts", "evaluation_planner"}
    | {"evaluation_warnings"}
    | {"gates", "gates_beforehand", "audit_facts", "audit_files", "audit_notes", "suites"},
    {"planner", "staging", "launcher", "collector", "adapter", "publisher"}
    | {
        "cancellation",
        "training_log",
        "garbage",
        "fetching",
        "preparation",
        "inspection",
        "preflight",
        "rollback",
        "dataset_publishing",
        "evaluator",
    },
    {"evaluation_actions", "job_following"},
    {"stage_actions", "run_answers"},
    {"submission"},
    {"adoption", "decisions", "sweeping", "run_actions"}
    | {"audits", "audit_report", "run_comparison"},
    {"pipeline"},
    {"sandbox"},
    {"cli"},
    {"__main__"},
]
#: Lines whose parts may use each other: what they hold is small and has no steps.
OPEN_LAYERS = {1, 3}
STEPS = LAYERS[4]
#: Imports across a line: the ledger stores what the contract of services defines; answers are read
#: and judged, and constant answers counted, as the checks of the data do it.
ACROSS = {("ledger", "services.base")} | {
    ("evaluation", f"dataset.{module}")
    for module in ("constant_answers", "checks.schemas", "reading.repeated_keys")
}
#: Scripts that travel into jobs: they import nothing of ours; only stand-ins for a job run them.
TRAVELLING = {"training"}


@dataclass(frozen=True)
class Module:
    """A module by its name below the package (`cli.check`; a package by its own name)."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.split(".")[0] or "__init__"

    def imports(self) -> set[str]:
        """The full names of all that is imported, wherever the statement stands."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative imports hide the direction"
                # `from a import b` is module a.b if there is one, and a name of a otherwise.
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found.add(inner if inner in KNOWN else str(node.module))
        return found

    def imports_for_types(self) -> set[str]:
        """Those of `own_imports` that only a type checker sees (`if TYPE_CHECKING:`)."""
        guarded = [
            statement
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for statement in node.body
        ]
        body = ast.Module(guarded, [])
        rest = [one for one in ast.walk(self.tree) if isinstance(one, ast.ImportFrom | ast.Import)]
        seen = {*ast.walk(body)}
        unguarded = ast.Module([one for one in rest if one not in seen], [])
        return (
            Module(self.name, self.file, body).own_imports()
            - Module(self.name, self.file, unguarded).own_imports()
        )

    def own_imports(self) -> set[str]:
        """The modules of this package that are imported, by their names below it."""
        return {
            name.removeprefix("orchestrator").removeprefix(".") or "__init__"
            for name in self.imports()
            if name.split(".")[0] == "orchestrator"
        }


def _modules() -> Iterator[Module]:
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(name, file, ast.parse(file.read_text(encoding="utf-8")))


MODULES = list(_modules())
KNOWN = {f"orchestrator.{module.name}".rstrip(".") for module in MODULES}
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}


def importers(*names: str) -> set[str]:
    """The modules that import one of these libraries, or anything inside one."""
    return {
        module.name
        for module in MODULES
        for imported in module.imports()
        if any(imported == name or imported.startswith(f"{name}.") for name in names)
    }


def beyond(names: set[str], *places: str) -> set[str]:
    """Those names that are in none of the places (`services.vertex*`, `sandbox`)."""
    return {
        name
        for name in names
        if not any(
            name.startswith(place[:-1])
            if place.endswith("*")
            else name == place or name.startswith(f"{place}.")
            for place in places
        )
    }


def test_the_tree_is_read() -> None:
    assert {"cli.check", "errors", "services.base", "ledger"} <= {m.name for m in MODULES}
    assert "launcher" in next(m for m in MODULES if m.name == "run_actions").own_imports()
    assert "services.vertex" in next(m for m in MODULES if m.name == "connections").own_imports()


def test_every_part_has_its_place() -> None:
    assert {module.part for module in MODULES} - set(LAYER_OF) == TRAVELLING


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "__init__")
def test_a_module_imports_only_what_stands_below_it(module: Module) -> None:
    if module.part in TRAVELLING:
        # For the type checker alone: those are beside each other, under these names, in a job too.
        beside = {name for name in module.imports_for_types() if name.split(".")[0] in TRAVELLING}
        assert module.own_imports() - beside == set()
        return
    here = LAYER_OF[module.part]
    for imported in module.own_imports():
        part = imported.split(".")[0]
        if part == module.part or (module.part, imported) in ACROSS:
            continue
        if part in TRAVELLING:
            assert module.part == "sandbox", f"{module.name} imports {imported}"
            continue
        below = LAYER_OF[part] < here or (LAYER_OF[part] == here and here in OPEN_LAYERS)
        assert below, f"{module.name} imports {imported}"


def test_services_and_stores_import_neither_the_ledger_nor_each_other() -> None:
    for module in MODULES:
        if module.part in {"services", "stores"}:
            other = {"services", "stores", "ledger"} - {module.part}
            assert {name for name in module.own_imports() if name.split(".")[0] in other} == set()


def test_steps_never_import_each_other() -> None:
    for module in MODULES:
        if module.name in STEPS:
            assert module.own_imports() & STEPS == set(), module.name


def test_only_the_command_line_imports_the_sandbox() -> None:
    outside = [m for m in MODULES if m.part not in {"sandbox", "cli"}]
    assert {
        m.name for m in outside if any(n.startswith("sandbox") for n in m.own_imports())
    } == set()


def test_only_the_ledger_knows_sql() -> None:
    users = importers("sqlalchemy", "alembic", "sqlite3")
    assert users
    assert beyond(users, "ledger") == set()


def test_only_vertex_and_cloud_storage_import_google() -> None:
    users = importers("google", "grpc", "vertexai")
    assert {"services.vertex_client", "stores.gcs"} <= users
    assert beyond(users, "services.vertex*", "stores.gcs", "sandbox") == set()


def test_only_what_talks_to_the_hub_imports_huggingface_hub() -> None:
    users = importers("huggingface_hub")
    assert {"hub_client", "stores.hub", "services.hf_jobs_client"} <= users
    places = ("hub_client", "stores.hub*", "services.hf_jobs*", "training")
    assert beyond(users, *places) == set()


def test_only_training_and_its_stand_ins_import_the_heavy_libraries() -> None:
    heavy = ("torch", "transformers", "peft", "trl", "datasets", "numpy", "safetensors")
    users = importers(*heavy, "tokenizers", "pandas", "pyarrow")
    assert "training.sft" in users
    # The two that read what they alone can read, and only when there is such a file.
    readers = ("dataset.reading.parquet", "dataset.tokens.tokenizer")
    assert beyond(users, "training", "sandbox.standins", *readers) == set()


def test_only_the_sandbox_serves() -> None:
    assert beyond(importers("starlette", "uvicorn"), "sandbox", "cli") == set()


def _reads_time(node: ast.AST) -> bool:
    """Whether a node asks for the time or sleeps, past the clock that can be driven."""
    if isinstance(node, ast.Import):
        return any(alias.name == "time" for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" or (
            node.module in {"asyncio", "anyio", "trio"}
            and any(alias.name in {"sleep", "timeout"} for alias in node.names)
        )
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
        return (owner, node.attr) in {
            *[("datetime", name) for name in ("now", "utcnow", "today")],
            ("date", "today"),
            *[(library, "sleep") for library in ("time", "asyncio", "anyio")],
        }
    return False


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("import time", True),
        ("from time import monotonic", True),
        ("datetime.now(UTC)", True),
        ("datetime.datetime.utcnow()", True),
        ("date.today()", True),
        ("asyncio.sleep(1)", True),
        ("self._clock.sleep(1)", False),
        ("clock.now()", False),
        ("datetime.fromisoformat(x)", False),
        ("import timeit", False),
    ],
)
def test_the_test_of_time_itself(code: str, reads: bool) -> None:
    assert any(map(_reads_time, ast.walk(ast.parse(code)))) == reads


def test_only_the_clock_reads_the_time_or_sleeps() -> None:
    users = {m.name for m in MODULES if any(map(_reads_time, ast.walk(m.tree)))}
    assert "clock" in users
    assert beyond(users, "clock", "training") == set()


def test_only_the_command_line_prints_or_exits() -> None:
    users = {
        module.name
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "sys.exit", "exit"}
    }
    assert beyond(users, "cli", "training", "__main__") == set()


def test_no_module_is_named_for_nothing() -> None:
    vague = {"utils", "util", "helpers", "common", "manager", "misc"}
    assert {m.name for m in MODULES if vague & set(m.name.split("."))} == set()


#: Scripts that travel into a job alone: they cannot be split into modules that import each other.
LONG_SCRIPTS = ("training.sft", "calls")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "__init__")
def test_no_file_is_over_400_lines(module: Module) -> None:
    most = 500 if module.name in LONG_SCRIPTS else 400
    assert len(module.file.read_text(encoding="utf-8").splitlines()) <= most
