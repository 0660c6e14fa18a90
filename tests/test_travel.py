"""The program works however it was installed, from an empty folder, without a checkout nearby."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec_schema import job_schema
from tests.router_spec import ROUTER, SAMPLE, plan
from tests.source_tree import ROOT, copy_tree

NAME = "router/llama-3.1-8b"


def call(*arguments: str | Path, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A process that inherits neither settings nor a path to any checkout."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "TMPDIR": str(home),
            "PYTHONSAFEPATH": "1",
            **({"SYSTEMROOT": os.environ["SYSTEMROOT"]} if "SYSTEMROOT" in os.environ else {}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@dataclass(frozen=True)
class Installed:
    """One way of having the program. `code` is where its modules must be found."""

    command: tuple[str, ...]
    python: Path
    code: Path
    home: Path

    def __call__(self, folder: Path, *arguments: str | Path) -> str:
        """Run the program in a folder; gives what it printed, and fails if it did."""
        done = call(*self.command, *arguments, folder=folder, home=self.home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, folder: Path, *arguments: str | Path) -> Any:
        return json.loads(self(folder, *arguments, "--json"))


class Workshop:
    """Builds and installs, with nothing from a network, in a folder of its own.

    The new environment sees the libraries of the present one, but not what is installed there
    editable: only `site` reads the .pth files that do that, and only in its own folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.home = folder / "home"
        self.home.mkdir()
        copy_tree(self.tree)
        builder = venv.EnvBuilder(symlinks=os.name != "nt")
        builder.create(folder / "venv")
        context = builder.ensure_directories(folder / "venv")
        self.python = Path(context.env_exe)
        base = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
        self.site = Path(sysconfig.get_path("purelib", "venv", vars=base))
        (self.site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *arguments: str | Path, target: bool = True) -> None:
        where = ["--python", str(self.python)] if target else []
        flags = ["--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir", "-q"]
        done = call(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", *where),
            *(*arguments, *flags),
            folder=self.folder,
            home=self.home,
        )
        assert done.returncode == 0, done.stderr

    def install(self, *what: str | Path) -> None:
        self.pip("install", "--ignore-installed", *what)

    def installed(self, code: Path) -> Installed:
        script = self.python.with_name("orchestrator")
        return Installed((str(script),), self.python, code, self.home)


def from_wheel(shop: Workshop) -> Installed:
    shop.pip("wheel", "--wheel-dir", shop.folder / "dist", shop.tree, target=False)
    (wheel,) = (shop.folder / "dist").iterdir()
    shop.install(wheel)
    return shop.installed(shop.site)


def from_sdist(shop: Workshop) -> Installed:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    dist = shop.folder / "dist"
    done = call(sys.executable, "-c", build, dist, folder=shop.tree, home=shop.home)
    assert done.returncode == 0, done.stderr
    (sdist,) = dist.iterdir()
    shop.install(sdist)
    return shop.installed(shop.site)


def editable(shop: Workshop) -> Installed:
    shop.install("--editable", shop.tree)
    return shop.installed(shop.tree)


def from_checkout(shop: Workshop) -> Installed:
    """Not installed at all: only its folder is on the path."""
    (shop.site / "checkout.pth").write_text(f"{shop.tree}\n")
    return Installed((str(shop.python), "-m", "orchestrator"), shop.python, shop.tree, shop.home)


WAYS: dict[str, Callable[[Workshop], Installed]] = {
    "wheel": from_wheel,
    "sdist": from_sdist,
    "editable": editable,
    "checkout": from_checkout,
}


@pytest.fixture(scope="module", params=WAYS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return WAYS[request.param](Workshop(tmp_path_factory.mktemp(request.param)))


def test_what_runs_is_what_was_installed(program: Installed, tmp_path: Path) -> None:
    code = (
        "import sys, orchestrator, orchestrator.data_files as d;"
        "print(orchestrator.__file__, d.data_folder('jobs'), d.data_folder('schemas'), *sys.path,"
        "sep='\\n')"
    )
    done = call(program.python, "-c", code, folder=tmp_path, home=program.home)
    assert done.returncode == 0, done.stderr
    module, jobs, schemas, *path = map(Path, done.stdout.splitlines())
    for found in (module, jobs, schemas):
        assert found.is_relative_to(program.code), found
    assert not {ROOT, ROOT / "tests"} & set(path)


def test_specs_are_listed_checked_and_planned_by_name(program: Installed, tmp_path: Path) -> None:
    names = [entry["name"] for entry in program.json(tmp_path, "specs")]
    assert NAME in names
    assert len(names) >= 3
    expected = plan(program.home, spec=ROUTER.read_text(encoding="utf-8"), data=SAMPLE).plan
    assert "40 rows, no errors" in program(tmp_path, "check", NAME).splitlines()[-1]
    assert program.json(tmp_path, "plan", NAME)["digest"] == expected.digest
    assert list(tmp_path.iterdir()) == []


def test_a_copy_and_its_schema_work_where_they_are(program: Installed, tmp_path: Path) -> None:
    program(tmp_path, "specs", "copy", NAME, "mine")
    last = program(tmp_path / "mine", "check", "llama-3.1-8b.yaml").splitlines()[-1]
    assert last.startswith("sample.jsonl: 40")
    schema = tmp_path / "mine" / ".orchestrator" / "job.schema.json"
    assert json.loads(schema.read_text(encoding="utf-8")) == job_schema()
    assert json.loads(program(tmp_path, "schema")) == job_schema()


def test_the_schema_that_a_shipped_spec_points_to_is_there(
    program: Installed, tmp_path: Path
) -> None:
    for entry in program.json(tmp_path, "specs"):
        file = Path(entry["file"])
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert (file.parent / first.partition("$schema=")[2]).is_file()


def test_a_rehearsal_by_name_ends_published(program: Installed, tmp_path: Path) -> None:
    result = program.json(
        tmp_path, "rehearse", NAME, "--stand-in", "replay", "--keep", tmp_path / "kept"
    )
    assert result["state"] == "PUBLISHED"
    assert Path(result["adapter_path"], "adapter_model.safetensors").is_file()
