"""The runner of other people's suites: nothing is hidden, and every exception has its reason."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.faces import FACES
from conformance.results import SuiteResult, keep, read_log, table
from conformance.rules import Rule, Rules, matches, rules_of
from conformance.suites import SUITES, Suite

FOLDER = Path(__file__).parent.parent / "conformance"

CASES = """
import pytest

@pytest.fixture
def broken_afterwards():
    yield
    raise RuntimeError("teardown")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_known(): assert False
def test_skips(): pytest.skip("not today")
def test_is_broken_afterwards(broken_afterwards): pass
@pytest.mark.parametrize("x", ["a[b]"])
def test_left_out(x): assert False
"""

RULES = Rules(
    left_out=(Rule(("test_x.py::test_left_out[a[b]]",), "no such face"),),
    fails=(Rule(("test_x.py::test_kno*", "test_x.py::test_gone"), "not served"),),
)

SUITE = Suite(
    name="example",
    face="storage",
    source="example==1.0",
    environment="example",
    requirements=(),
    tests=(),
    variables=lambda _: {},
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SuiteResult:
    """A suite of every kind of case, recorded as the runner does it."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_x.py").write_text(CASES)
    left_out = [{"cases": rule.cases, "reason": rule.reason} for rule in RULES.left_out]
    variables = {
        "PYTHONPATH": str(FOLDER),
        "CONFORMANCE_LEFT_OUT": json.dumps(left_out),
        "CONFORMANCE_LOG": str(folder / "log"),
    }
    command = [sys.executable, "-m", "pytest", "--rootdir=.", "-c", os.devnull]
    command += ["-p", "recorder", "-p", "no:cacheprovider", "test_x.py"]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, check=False
    )
    assert done.returncode == 1, done.stdout
    return read_log(SUITE, RULES, folder / "log", folder, finished=True)


def test_every_case_is_counted_once_by_its_worst_outcome(result: SuiteResult) -> None:
    assert (result.passed, result.tried) == (1, 4)
    assert result.failed == {
        "test_x.py::test_fails": "assert 1 == 2",
        "test_x.py::test_is_broken_afterwards": "RuntimeError: teardown",
    }
    assert result.known_to_fail == {"not served": 1}
    assert result.skipped == {"not today": 1}
    assert result.left_out == {"no such face": 1}


def test_a_rule_that_fits_no_case_is_reported(result: SuiteResult) -> None:
    assert result.idle_rules == ("test_x.py::test_gone",)
    assert not result.is_good


def test_the_table_names_what_did_not_pass_and_why(result: SuiteResult) -> None:
    text = table([result])
    assert "1 of 4" in text
    for part in ("not served", "no such face", "not today", "test_x.py::test_fails", "test_gone"):
        assert part in text


def test_results_of_other_suites_are_kept(result: SuiteResult, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text('{"other": {"passed": 3}}')
    keep(file, [result])
    kept = json.loads(file.read_text())
    assert (kept["other"], kept["example"]["passed"]) == ({"passed": 3}, 1)


def test_brackets_in_a_pattern_are_plain_characters() -> None:
    assert matches("a::b[x-*]", "a::b[x-1]")
    assert not matches("a::b[x]", "a::bx")
    assert not matches("a::b", "a::b2")


def test_every_suite_is_pinned_and_has_a_face() -> None:
    assert len({suite.name for suite in SUITES}) == len(SUITES)
    for suite in SUITES:
        assert suite.face in FACES
        assert all("==" in pin for pin in (suite.source, *suite.requirements))


def test_every_rule_belongs_to_a_suite_and_has_a_reason() -> None:
    names = {suite.name for suite in SUITES}
    assert {file.stem for file in (FOLDER / "rules").glob("*.toml")} <= names
    for name in names:
        for rule in (*rules_of(name).left_out, *rules_of(name).fails):
            assert rule.cases, name
            assert len(rule.reason) > 10, rule


def test_the_kept_results_are_those_of_the_pinned_suites() -> None:
    kept = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert set(kept) == {suite.name for suite in SUITES}
    for suite in SUITES:
        result = kept[suite.name]
        assert (result["source"], result["face"]) == (suite.source, suite.face)
        assert result["tried"] == result["passed"] + sum(result["known_to_fail"].values())
        assert result["failed"] == {}
        assert result["idle_rules"] == []
        assert result["finished"]


DOCS = FOLDER.parent / "docs" / "sandbox.md"


def documented() -> dict[str, tuple[int, int]]:
    """Command and figures (passed, tried) of each line of the table in the docs."""
    lines = re.findall(r"\| (\d+) of (\d+) \|.*\| `([^`]+)` \|\n", DOCS.read_text())
    return {command: (int(passed), int(tried)) for passed, tried, command in lines}


def test_the_docs_show_what_came_of_the_suites() -> None:
    kept = json.loads((FOLDER / "results.json").read_text())
    shown = {
        command.removeprefix("python3 dev.py conformance "): figures
        for command, figures in documented().items()
        if command.startswith("python3")
    }
    assert shown == {name: (one["passed"], one["tried"]) for name, one in kept.items()}


def collected_ids(request: pytest.FixtureRequest, files: Sequence[str]) -> list[str]:
    """The ids of the tests in files: as they were collected already, or by another process."""
    ids = [item.nodeid for item in request.session.items]
    if all(any(one.startswith(f"{file}::") for one in ids) for file in files):
        return ids
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *files],
        cwd=FOLDER.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()


def test_the_docs_count_the_tests_of_clients_as_they_are(request: pytest.FixtureRequest) -> None:
    commands = {c: figures for c, figures in documented().items() if c.startswith("pytest ")}
    assert len(commands) >= 8
    files = [command.removeprefix("pytest ") for command in commands]
    collected = collected_ids(request, files)
    for command, (passed, tried) in commands.items():
        file = command.removeprefix("pytest ")
        found = sum(one.startswith(f"{file}::") for one in collected)
        assert passed == tried == found, command
