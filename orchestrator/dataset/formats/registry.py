"""Finds a format by its name: one that ships, or a Python file of the user's."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.dataset.formats.base import Format
from orchestrator.errors import InputError, Place

#: The formats that ship, each in a module of its own (imported when it is used).
FORMATS = {
    "chat": "chat",
    "prompt-completion": "prompt_completion",
    "instruction": "instruction",
    "math": "math",
    "tool-calls": "tool_calls",
    "routing": "routing",
    "router-trace": "router_trace",
}
_HOW = "Set FORMAT to an object of a class that extends orchestrator.dataset.formats.base.Format."


def find_format(name: str, folder: Path) -> Format:
    """The format that a spec in `folder` names. Raises `InputError` if there is none such."""
    module = FORMATS.get(name)
    if module is not None:
        found = importlib.import_module(f"orchestrator.dataset.formats.{module}").FORMAT
        assert isinstance(found, Format)  # noqa: S101 (what ships is what it says)
        return found
    if name.endswith(".py"):
        return _users_format(folder / name, name)
    raise InputError(
        f"data.format: there is no format {name}",
        hint=f"Formats: {', '.join(FORMATS)}; or the path of a Python file with one of your own.",
    )


def users_line(error: BaseException, file: Path) -> int | None:
    """The line of a user's file at which an error arose; the last one in that file."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    return lines[-1] if lines else None


class _Loader(importlib.machinery.SourceFileLoader):
    """Leaves no compiled file beside the user's."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


def _users_format(file: Path, name: str) -> Format:
    file = file.absolute()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise InputError(f"data.format: {name} {what}", hint="The path is relative to the spec.")
    # Two files of one name must not meet; and a name of a module must not hide a library.
    module_name = f"orchestrator_format_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(module_name, _Loader(module_name, str(file)))
    assert spec is not None  # noqa: S101 (a loader was given)
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it may print; commands print documents
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _failed(error, file, name) from None
    return _format_of(module, name)


def _failed(error: BaseException, file: Path, name: str) -> InputError:
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    message = f"{type(error).__name__}: {words}" if words else type(error).__name__
    hint = f"Correct the file. {_HOW}"
    if isinstance(error, ModuleNotFoundError):
        hint = "A format is one file: write into it what it needs, or install the library."
    return InputError(
        f"the format cannot be loaded: {message}",
        where=Place(name, users_line(error, file)),
        hint=hint,
    )


def _format_of(module: ModuleType, name: str) -> Format:
    def refuse(what: str) -> InputError:
        return InputError(what, where=Place(name), hint=_HOW)

    if not hasattr(module, "FORMAT"):
        raise refuse("the file sets no FORMAT")
    found = module.FORMAT
    if isinstance(found, type) and issubclass(found, Format):
        raise refuse(f"FORMAT is a class: write FORMAT = {found.__name__}()")
    if not isinstance(found, Format):
        raise refuse(f"FORMAT is of type {type(found).__name__}, which is no Format")
    wanted = {"name": str, "schema": (str, dict), "columns": (tuple, list), "looks": str}
    for attribute, kinds in wanted.items():
        if not isinstance(getattr(found, attribute, None), kinds):  # type: ignore[arg-type]  # a union of types is one too
            raise refuse(f"the format's `{attribute}` is missing or of a wrong type")
    for attribute in ("columns", "mapped"):
        values = getattr(found, attribute)
        if not isinstance(values, tuple | list) or not all(isinstance(v, str) for v in values):
            raise refuse(f"the format's `{attribute}` holds something else than texts")
    return found
