"""The specs that travel with the package, found by name (`router/llama-3.1-8b`) from anywhere."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.data_files import data_folder
from orchestrator.errors import InputError
from orchestrator.spec import load_spec

#: The comment by which editors find the schema of a YAML file.
MODELINE = "# yaml-language-server: $schema="
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class SpecSource:
    """A file that holds a spec. `shipped` is its name if it came with the package."""

    file: Path
    shipped: str | None = None

    @property
    def label(self) -> str:
        """How messages call the file: where a shipped one lies on disk helps nobody."""
        return self._label(self.file)

    def data_label(self, data: Path) -> str:
        """How messages call the file with the spec's rows."""
        return self._label(data) if data.parent == self.file.parent else str(data)

    def _label(self, file: Path) -> str:
        if self.shipped is None:
            return str(file)
        return f"(shipped) {self.shipped.rpartition('/')[0]}/{file.name}"


@dataclass(frozen=True)
class ShippedSpec:
    """What the list of shipped specs says of one. `description` is the spec's first comment."""

    name: str
    file: Path
    base_model: str
    service: str
    description: str


def shipped_names() -> dict[str, Path]:
    """The files of all shipped specs, by name."""
    folder = data_folder("jobs")
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def shipped_specs() -> list[ShippedSpec]:
    """All shipped specs, in the order of their names."""
    found = []
    for name, file in shipped_names().items():
        spec = load_spec(file).spec
        text = file.read_text(encoding="utf-8")
        found.append(
            ShippedSpec(name, file, spec.base_model, spec.service.name, first_comment(text))
        )
    return found


def first_comment(text: str) -> str:
    """The first line of comment that speaks to people; empty if there is none."""
    for line in text.splitlines():
        if line.startswith(MODELINE):
            continue
        comment = re.match(r"#\s*(.*\S)", line)
        return comment[1] if comment else ""
    return ""


def find_spec(given: Path) -> SpecSource:
    """The spec that a person means by a path or a name.

    A file of that path wins, with or without its suffix: an edited copy must never lose to the
    shipped spec of the same name. Raises `InputError` that names the nearest shipped spec.
    """
    for file in (given, given.with_name(f"{given.name}.yaml") if given.name else given):
        if _is_file(file):
            return SpecSource(file)
    names = shipped_names()
    name = _name(given)
    if name in names:
        return SpecSource(names[name], name)
    if given.is_dir():
        raise InputError(f"{given} is a folder, not a file", hint="Give the file itself.")
    raise _unknown(f"there is no file {given}", name, "Check the path. ")


def find_shipped(name: str) -> SpecSource:
    """A shipped spec by its name alone; raises `InputError` that names the nearest."""
    names = shipped_names()
    plain = _name(Path(name))
    if plain not in names:
        raise _unknown(f"no spec of the name {name} is shipped", plain)
    return SpecSource(names[plain], plain)


def _name(given: Path) -> str:
    text = given.as_posix()
    return text.removesuffix(given.suffix) if given.suffix in _SUFFIXES else text


def _unknown(message: str, name: str, advice: str = "") -> InputError:
    close = _nearest(name)
    first = f"Did you mean {close}? " if close else advice
    return InputError(message, hint=f"{first}All that are shipped: orchestrator specs")


def _nearest(name: str) -> str | None:
    """The shipped name that looks most like `name`, which may lack the folder."""
    known = {name: name for name in shipped_names()}
    known |= {full.rpartition("/")[2]: full for full in known}
    wanted = name if "/" in name and not name.startswith("/") else name.rpartition("/")[2]
    close = difflib.get_close_matches(wanted.lower(), known, n=1, cutoff=0.55)
    return known[close[0]] if close else None


def _is_file(path: Path) -> bool:
    """Whether there is something to read; pipes count, and so does what we have no right to."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # who reads it will say why that fails
        return True
    except ValueError:  # a name that no file can have
        return False
