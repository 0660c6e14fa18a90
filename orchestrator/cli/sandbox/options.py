"""What the commands of the sandbox share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from orchestrator.sandbox.edge.remote import RemoteSandbox

F = TypeVar("F", bound=Callable[..., Any])

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def dir_option(help_text: str = "The folder of the sandbox.") -> Callable[[F], F]:
    """--dir DIR."""
    return click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path),
        default=Path("sandbox"),
        show_default=True,
        help=help_text,
    )


def answers_option(function: F) -> F:
    """--answers real|good|weak."""
    return click.option(
        "--answers",
        type=click.Choice(["real", "good", "weak"]),
        help="What jobs of hf-jobs answer when a model is evaluated: real is what the stand-in "
        "says; good is made up, right for 9 of 10 rows after tuning and for 3 before; weak is made "
        "up too, no better after tuning. Default: good, and real for smollm2.",
    )(function)


def remote(folder: Path) -> RemoteSandbox:
    """The sandbox that is being served from the folder, or an error that says how to serve it."""
    from orchestrator.sandbox.edge.remote import RemoteSandbox

    return RemoteSandbox(folder)


class Duration(click.ParamType[float]):
    """Seconds, from 90, 90s, 15m, 4h, 2d or 1h30m."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        text = str(value)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
            self.fail(f"{text!r} is not a duration: write it as 90, 15m, 4h or 1h30m", param, ctx)
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
