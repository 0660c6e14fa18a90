"""The files with the rows, drawn one by one, and what each of them was when it was read."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.dataset.preparing.prepared import InputFacts
from orchestrator.dataset.preparing.prepared_folder import partial_folder
from orchestrator.dataset.rules import RowsFile
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError


@dataclass(frozen=True)
class _Input:
    """A file as it was when its digest was taken."""

    file: RowsFile
    facts: InputFacts
    identity: tuple[int, ...]


class DrawnFiles:
    """The files that were asked for so far; more are drawn when an iteration comes to its end.

    What can be read only once, as a pipe, is copied first.
    """

    def __init__(self, files: Iterable[RowsFile], cache: Path, stack: contextlib.ExitStack) -> None:
        self._more = iter(files)
        self._cache = cache
        self._stack = stack
        self._inputs: list[_Input] = []

    def __iter__(self) -> Iterator[RowsFile]:
        for number in itertools.count():
            found = self._at(number)
            if found is None:
                return
            yield found.file

    def facts(self, most: int | None = None) -> list[InputFacts]:
        """What the first `most` files are, or all."""
        numbers = itertools.count() if most is None else range(most)
        found = itertools.takewhile(lambda one: one is not None, map(self._at, numbers))
        return [one.facts for one in found if one is not None]

    def unchanged(self) -> list[InputFacts]:
        """What the files are that were read. Raises `InputError` if one changed meanwhile."""
        for one in self._inputs:
            if not _is_as_it_was(one):
                raise InputError(
                    f"{one.file.name} changed while it was read", hint="Run the command again."
                )
        return [one.facts for one in self._inputs]

    def _at(self, number: int) -> _Input | None:
        while len(self._inputs) <= number:
            file = next(self._more, None)
            if file is None:
                return None
            self._inputs.append(self._examined(file))
        return self._inputs[number]

    def _examined(self, file: RowsFile) -> _Input:
        path = file.path
        try:
            if not path.is_file() and not path.is_dir() and path.exists():
                path = self._copied(path)
            identity = _identity(path)
            facts = InputFacts(
                sha256=sha256_file(path), size_bytes=path.stat().st_size, split=file.split
            )
        except OSError as error:
            raise _unreadable(file, error) from error
        return _Input(RowsFile(path, file.name, file.split), facts, identity)

    def _copied(self, path: Path) -> Path:
        folder = self._stack.enter_context(partial_folder(self._cache, "pipe"))
        folder.mkdir(parents=True)
        copy = folder / path.name
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        return copy


def _unreadable(file: RowsFile, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {file.name}", hint="Check the path.")
    if isinstance(error, IsADirectoryError):
        hint = "Give the file with the rows."
        return InputError(f"{file.name} is a folder, not a file", hint=hint)
    hint = "Check the path and the rights to read it."
    return InputError(f"cannot read {file.name}: {error.strerror}", hint=hint)


def _is_as_it_was(one: _Input) -> bool:
    try:
        return _identity(one.file.path) == one.identity
    except OSError:  # it is gone
        return False


def _identity(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
