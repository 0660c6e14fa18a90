"""What is installed is what is in the tree, and every requirement is pinned once."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import orchestrator
from orchestrator.data_files import data_folder, schema
from orchestrator.errors import InputError
from tests.source_tree import FILES, FOLDERS, ROOT, copy_tree


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def requirements(group: str) -> list[Requirement]:
    """The requirements of `core`, or of an extra."""
    config = setup_cfg()
    section, key = (
        ("options", "install_requires") if group == "core" else ("options.extras_require", group)
    )
    return [Requirement(line) for line in config[section][key].split("\n") if line.strip()]


def pins() -> dict[str, list[Version]]:
    """The pinned versions by canonical name; a list, so that a name given twice shows."""
    found: dict[str, list[Version]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


def built(folder: Path, kind: str) -> Path:
    """A wheel or an sdist, made by the build backend from a copy of the tree."""
    copy = folder / "tree"
    copy_tree(copy)
    build = f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return copy / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel."""
    with zipfile.ZipFile(built(tmp_path_factory.mktemp("wheel"), "wheel")) as file:
        return file.namelist()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in an sdist, without its own folder."""
    with tarfile.open(built(tmp_path_factory.mktemp("sdist"), "sdist")) as file:
        return {name.partition("/")[2] for name in file.getnames()}


def test_the_package_list_is_the_tree() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "orchestrator").rglob("__init__.py")
    }
    assert len(listed) == len(set(listed))
    assert set(listed) - folders == {"orchestrator._data.schemas", "orchestrator._data.jobs"}
    assert folders - set(listed) == set()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {file.parent for file in (ROOT / "orchestrator").rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_the_wheel_holds_every_module(wheel: list[str]) -> None:
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "orchestrator").rglob("*.py")}
    assert {name for name in wheel if name.endswith(".py")} == modules


def test_the_wheel_holds_the_schemas_the_jobs_and_the_catalog(wheel: list[str]) -> None:
    kinds = {"schemas": ("*.json",), "jobs": ("*.yaml", "*.jsonl", "*.json", "*.csv")}
    expected = {
        f"orchestrator/_data/{file.relative_to(ROOT).as_posix()}"
        for kind, patterns in kinds.items()
        for pattern in patterns
        for file in (ROOT / kind).rglob(pattern)
    }
    assert len(expected) >= 4
    assert {name for name in wheel if name.startswith("orchestrator/_data/")} == expected
    assert {"orchestrator/catalog.toml", "orchestrator/py.typed"} <= set(wheel)


def test_no_file_of_schemas_or_jobs_is_left_out_for_its_suffix() -> None:
    suffixes = {
        file.suffix
        for kind in ("schemas", "jobs")
        for file in (ROOT / kind).rglob("*")
        if file.is_file()
    }
    assert suffixes <= {".json", ".yaml", ".jsonl", ".csv"}


def test_the_sdist_holds_the_whole_tree(sdist: set[str]) -> None:
    """So that whoever has only the sdist can build, test and change it."""
    expected = set(FILES)
    for folder in FOLDERS:
        expected |= {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
    assert expected - sdist == set()


def test_the_sdist_holds_nothing_that_tools_left_behind(sdist: set[str]) -> None:
    left = re.compile(r"__pycache__|\.pyc$|\.coverage|_cache/|^build/|^\.git/")
    assert {name for name in sdist if left.search(name)} == set()


def test_a_clone_holds_no_other_files_than_those_that_are_built_from() -> None:
    """A new file at the top must be named, or it would be missing from the sdist unnoticed."""
    done = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 (any git will do)
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    tops = {name.partition("/")[0] for name in done.stdout.split("\0") if name}
    assert tops - {*FILES, *FOLDERS} <= {".ci", ".gitignore", ".github"}


def test_the_wheel_holds_no_tests(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"orchestrator"}


def test_the_version_is_the_same_everywhere() -> None:
    assert setup_cfg()["metadata"]["version"] == orchestrator.__version__


@pytest.mark.parametrize("group", ["core", "sandbox", "dev"])
def test_every_requirement_is_pinned_to_a_version_that_it_allows(group: str) -> None:
    versions = pins()
    wanted = requirements(group)
    assert len(wanted) >= 7
    for requirement in wanted:
        pinned = versions.get(canonicalize_name(requirement.name), [])
        assert len(pinned) == 1, requirement
        assert requirement.specifier.contains(pinned[0]), requirement


def test_nothing_is_pinned_twice() -> None:
    assert {name for name, versions in pins().items() if len(versions) > 1} == set()


def test_every_core_and_sandbox_requirement_has_a_lower_and_an_upper_bound() -> None:
    for requirement in requirements("core") + requirements("sandbox"):
        assert {part.operator for part in requirement.specifier} == {">=", "<"}, requirement


def test_what_the_build_needs_is_what_the_tests_build_with() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r'requires = \["([^"]+)"\]', text)
    assert needed is not None
    assert Requirement(needed[1]) in requirements("dev")


def test_the_data_is_found_inside_the_package_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an installed wheel; a checkout has it beside the package."""
    assert data_folder("schemas") == ROOT / "schemas"
    module = tmp_path / "site" / "orchestrator" / "data_files.py"
    installed = module.parent / "_data" / "schemas"
    installed.mkdir(parents=True)
    (tmp_path / "site" / "schemas").mkdir()
    monkeypatch.setattr("orchestrator.data_files.__file__", str(module))
    assert data_folder("schemas") == installed
    with pytest.raises(InputError, match="jobs that belong to this program are missing") as caught:
        data_folder("jobs")
    assert "install it again" in caught.value.hint


def test_schemas_are_found_by_their_name() -> None:
    assert schema("route-plan")["title"] == "A route plan"


def test_every_command_has_a_section_in_the_docs() -> None:
    from orchestrator.cli import cli

    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    missing = [
        name for name in cli.list_commands(click.Context(cli)) if f"\n## {name}\n" not in text
    ]
    assert missing == []
