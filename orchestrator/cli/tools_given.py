"""--tools FILE: other tools than those that the spec names, for rows that came with their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli.given import GivenSpec
from orchestrator.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def tools_option(function: F) -> F:
    """--tools FILE."""
    text = "JSON file with the tools that rows may call, instead of the one that the spec names."
    path = click.Path(path_type=Path, readable=False)
    return click.option("--tools", type=path, metavar="FILE", help=text)(function)


def with_tools(given: GivenSpec, tools: Path | None) -> GivenSpec:
    """The spec with these tools. Raises `InputError` if there is no such file."""
    if tools is None:
        return given
    if not tools.is_file():
        wrong = f"{tools} is a folder" if tools.is_dir() else f"there is no file {tools}"
        raise InputError(f"--tools: {wrong}", hint="Name the JSON file with the tools.")
    spec = given.loaded.spec
    data = spec.data.model_copy(update={"tools": str(tools.absolute())})
    loaded = dataclasses.replace(given.loaded, spec=spec.model_copy(update={"data": data}))
    return dataclasses.replace(given, loaded=loaded)
