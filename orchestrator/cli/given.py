"""The spec and the rows that a command line names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.planner import Prepared, make_plan
from orchestrator.shipped import SpecSource, find_spec
from orchestrator.spec import LoadedSpec, load_spec


@dataclass(frozen=True)
class Rows:
    """The file with the rows, and how messages call it."""

    file: Path
    label: str


@dataclass(frozen=True)
class GivenSpec:
    """A spec that was given by its path or, if it is shipped, by its name."""

    source: SpecSource
    loaded: LoadedSpec

    def rows(self, override: Path | None) -> Rows:
        """The file with the rows: `override`, or the one that the spec names."""
        if override == Path("-") and not override.exists():
            raise InputError(
                "--data -: the rows are read from a file",
                hint="Standard input has a file's name too: --data /dev/stdin",
            )
        file = self.loaded.data_file(override)
        return Rows(file, str(file) if override else self.source.data_label(file))


def read_given(spec: Path) -> GivenSpec:
    """Find and read a spec; raises `InputError` or `SpecError` with places."""
    source = find_spec(spec)
    return GivenSpec(source, load_spec(source.file, source.label))


def plan_given(spec: Path, data: Path | None, *, limit: int | None) -> Prepared:
    """The plan of what a command line names."""
    given = read_given(spec)
    rows = given.rows(data)
    return make_plan(given.loaded, rows.file, limit=limit, name=rows.label)
