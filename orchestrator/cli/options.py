"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.calls import Syntax
from orchestrator.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

# Existence is checked where the file is read: one place words the error, and words it well.
_PATH = click.Path(path_type=Path, readable=False)


class RowsName(click.Path):
    """A file with rows, as it was written: as a path, an address would lose its double slashes."""

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if value == "-" and not Path(value).exists():
            raise InputError(
                "--data -: the rows are read from a file",
                hint="Standard input has a file's name too: --data /dev/stdin",
            )
        return str(super().convert(value, param, ctx))


def spec_argument(function: F) -> F:
    """SPEC: a path, or the name of a shipped spec."""
    return click.argument("spec", type=_PATH)(function)


def data_option(function: F) -> F:
    """--data FILE."""
    text = (
        "File with the rows, instead of the one that the spec names; or gs://bucket/file, or "
        "hf://datasets/owner/name/file."
    )
    return click.option("--data", type=RowsName(), metavar="FILE", help=text)(function)


def limit_option(function: F) -> F:
    """--limit N."""
    text = "Take only the first N rows of the seeded shuffle, before they are split."
    return click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help=text)(function)


def json_option(function: F) -> F:
    """--json."""
    text = "Print one JSON document on standard output; everything else goes to standard error."
    return click.option("--json", "as_json", is_flag=True, help=text)(function)


def figures_options(function: F) -> F:
    """--json, --csv and --markdown of commands that print figures; see `one_format`."""
    function = click.option("--markdown", "as_markdown", is_flag=True, help="Print as Markdown.")(
        function
    )
    function = click.option("--csv", "as_csv", is_flag=True, help="Print the figures as CSV.")(
        function
    )
    return json_option(function)


def one_format(as_json: bool, as_csv: bool, as_markdown: bool) -> None:
    """Refuse two formats at once."""
    if as_json + as_csv + as_markdown > 1:
        raise click.UsageError("--json, --csv and --markdown exclude each other: give one of them.")


def seed_option(function: F) -> F:
    """--seed N, of intervals."""
    text = "For intervals that are drawn."
    return click.option("--seed", type=click.IntRange(0), default=0, help=text)(function)


def syntax_option(text: str) -> Callable[[F], F]:
    """--syntax NAME."""
    return click.option("--syntax", type=click.Choice([one.value for one in Syntax]), help=text)
