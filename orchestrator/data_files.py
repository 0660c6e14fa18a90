"""Finds the schemas and specs that travel with the package, in every kind of install."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import InputError

_SUFFIX = ".schema.json"


def data_folder(kind: Literal["schemas", "jobs"]) -> Path:
    """The folder of that kind: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "_data" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise InputError(
        f"the {kind} that belong to this program are missing",
        hint="The installation is damaged: install it again.",
    )


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """A JSON Schema by its name, e.g. `route-plan`."""
    loaded: dict[str, Any] = json.loads(schema_text(name))
    return loaded


def schema_text(name: str) -> str:
    """A JSON Schema as it stands in its file; raises `InputError` that names those there are."""
    folder = data_folder("schemas")
    known = sorted(file.name.removesuffix(_SUFFIX) for file in folder.glob(f"*{_SUFFIX}"))
    if name not in known:
        raise InputError(f"there is no schema {name}", hint=f"Schemas: {', '.join(known)}.")
    return (folder / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
