"""Runs suites against the sandbox: `python3 dev.py conformance [SUITE...] [-- PYTEST OPTIONS]`.

Exit code 1 if a case fails that no rule names, or a rule fits no case any more. With options for
pytest (`-- -k compose`) some cases are run only, and the results are not kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from conformance.environment import FOLDER, ROOT, prepared, variables
from conformance.faces import FACES
from conformance.results import SuiteResult, keep, read_log, table
from conformance.rules import rules_of
from conformance.suites import SUITES, Suite

RESULTS = Path(__file__).parent / "results.json"


def main(arguments: list[str]) -> int:
    """Run the named suites, or all of them; print the table."""
    names, options = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        names, options = arguments[:at], arguments[at + 1 :]
    known = {suite.name: suite for suite in SUITES}
    if unknown := [name for name in names if name not in known]:
        print(f"no such suite: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    results = [_result(known[name], options) for name in names or known]
    if not options:
        keep(RESULTS, results)
    print(table(results))
    return 0 if all(result.is_good for result in results) else 1


def _result(suite: Suite, options: list[str]) -> SuiteResult:
    python, source = prepared(suite)
    output = FOLDER / f"{suite.name}.log"
    output.unlink(missing_ok=True)
    print(f"{suite.name}: running; its output is in {output}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="conformance-") as temporary:
        run = _Run(suite, python, source, output, Path(temporary))
        batches = [[case] for case in run.cases(options)] if suite.alone else [list(suite.tests)]
        ends = [run.pytest(batch, options) for batch in batches]
        return read_log(suite, rules_of(suite.name), run.log, FOLDER, finished=all(ends))


@dataclass(frozen=True)
class _Run:
    """One run of a suite; `folder` is for what it leaves, `output` for what pytest says."""

    suite: Suite
    python: Path
    source: Path
    output: Path
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def cases(self, options: list[str]) -> list[str]:
        """The ids of the suite's cases; nothing is run."""
        command = self._command(["--collect-only", *options], self.suite.tests)
        environment = self._environment("http://127.0.0.1:9", self.folder / "collected")
        found = subprocess.run(
            command, cwd=self.source, env=environment, capture_output=True, text=True, check=False
        )
        return [line for line in found.stdout.splitlines() if "::" in line]

    def pytest(self, tests: Sequence[str], options: list[str]) -> bool:
        """Run tests against an empty face; whether pytest came to its end, whatever they said."""
        face = FACES[self.suite.face](Path(tempfile.mkdtemp(dir=self.folder)))
        with face as address, self.output.open("ab") as output:
            try:
                done = subprocess.run(
                    self._command(options, tests),
                    cwd=self.source,
                    env=self._environment(address, self.log),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=self.suite.timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return False
        # 0 all passed, 1 some failed; the others mean that pytest stopped before the end.
        return done.returncode in (0, 1)

    def _command(self, options: list[str], tests: Sequence[str]) -> list[str]:
        # Without its own settings a suite would be run under those of this project, above it.
        command = [str(self.python), "-m", "pytest", "--rootdir=.", "-c", os.devnull]
        command += ["-p", "recorder", "-p", "no:cacheprovider", "-q", "--tb=short", "--color=no"]
        return [*command, "--timeout", str(self.suite.case_timeout_s), *options, *tests]

    def _environment(self, address: str, log: Path) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        left_out = [asdict(rule) for rule in rules_of(self.suite.name).left_out]
        return (
            variables(home)
            | self.suite.variables(address)
            | {"CONFORMANCE_LEFT_OUT": json.dumps(left_out), "CONFORMANCE_LOG": str(log)}
        )


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
