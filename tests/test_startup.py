"""What a command loads is what it needs: an offline command waits for no library of a service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.router_spec import ROUTER

#: What the model of the spec brings, and the reader of YAML.
SPEC = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
SPEC |= {"click", "orjson", "yaml"}
ROWS = SPEC | {"jsonschema_rs", "jiter", "jinja2", "markupsafe", "rensa"}
#: So multiprocessing names the main module once more.
ROWS |= {"__mp_main__"}
#: Our own parts that no offline command has a use for.
ONLINE = {"connections", "ledger", "pipeline", "sandbox", "services", "stores", "submission"}

MAY_LOAD = {
    "--help": {"click"},
    "--version": {"click"},
    "check --help": ROWS,
    "specs": SPEC,
    "schema": SPEC,
    f"check {ROUTER}": ROWS,
    "check router/llama-3.1-8b --json": ROWS,
    f"plan {ROUTER} --json": ROWS,
    f"plan {ROUTER}": ROWS | {"rich"},  # draws the tables
}

#: Runs a command, then says which modules it left loaded that were not before.
PROBE = """
import json, sys
before = set(sys.modules)
from orchestrator.cli import run
code = run(sys.argv[1:])
loaded = sorted(set(sys.modules) - before)
print(json.dumps([code, loaded, sorted(sys.stdlib_module_names)]), file=sys.stderr)
"""
#: Names that compilers and the platform give to modules of theirs.
_GENERATED = ("_cython_", "cython_runtime", "_sysconfigdata")


@dataclass(frozen=True)
class Loaded:
    """Libraries by their top-level names, and the parts of our own package."""

    libraries: set[str]
    own: set[str]


def loaded_by(command: str, folder: Path) -> Loaded:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *command.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules, standard = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    tops = {name.split(".")[0] for name in modules} - set(standard) - {"orchestrator"}
    return Loaded(
        {name for name in tops if not name.startswith(_GENERATED)},
        {name.split(".")[1] for name in modules if name.startswith("orchestrator.")},
    )


@pytest.mark.parametrize("command", MAY_LOAD, ids=lambda command: command.replace(str(ROUTER), "F"))
def test_a_command_loads_only_the_libraries_that_it_needs(command: str, tmp_path: Path) -> None:
    loaded = loaded_by(command, tmp_path)
    assert loaded.libraries - MAY_LOAD[command] == set()
    assert loaded.own & ONLINE == set()
    # The probe sees what is there: without this, it could pass by seeing nothing.
    assert "click" in loaded.libraries
    assert "cli" in loaded.own


def test_the_probe_sees_what_a_command_loads_late(tmp_path: Path) -> None:
    assert "rich" in loaded_by(f"plan {ROUTER}", tmp_path).libraries
    assert "rich" not in loaded_by(f"plan {ROUTER} --json", tmp_path).libraries
