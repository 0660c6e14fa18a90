"""Types of arguments that the scripts share: what is taken, and what is said of all else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def whole(minimum: int) -> Callable[[str], int]:
    """Whole numbers from `minimum` on."""

    def parse(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, not {text}")
        return value

    parse.__name__ = "whole number"
    return parse


def file_name(text: str) -> str:
    """The name of a file, without its ending."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", text):
        raise argparse.ArgumentTypeError(f"{text}: letters, digits, dots, dashes and underscores")
    return text
