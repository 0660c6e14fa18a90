"""What a job's command becomes on a machine without the real base model: the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: Gives the local file or folder of a path as the job sees it (`/orchestrator/staged/x.jsonl`).
Files = Callable[[str], Path]
#: Whether the job that is being prepared shall end; what takes long asks now and then, and raises
#: `StandInFailed`.
is_stopped: ContextVar[Callable[[], bool]] = ContextVar("is_stopped", default=lambda: False)


@dataclass(frozen=True)
class Prepared:
    """The command as it is run. `differences` has a line for each change, for people.

    `instead` maps the name of a script (`sft.py`) to the local file that `uv run` of that script
    runs in its place, with the same arguments. `mark` is what a model that comes of it says of its
    base: the stand-in's `name`, what it is `for`, and a `note` for people.
    """

    command: tuple[str, ...]
    differences: tuple[str, ...] = ()
    instead: Mapping[str, Path] = field(default_factory=dict)
    mark: Mapping[str, str] | None = None


class JobStandIn(Protocol):
    """Puts something that this machine can run in the place of what the command asks for."""

    name: str

    def prepare(self, command: Sequence[str], files: Files) -> Prepared:
        """The command to run, once the job's volumes are in place.

        Paths below volumes and /tmp are those of the job's own local folder already; `files` takes
        them and the paths as the job was given them. May take long, such as for making a model.
        Raises `StandInFailed` where nothing can stand in.
        """
        ...


class StandInFailed(Exception):
    """Nothing can stand in for what a command asks for; the job ends in ERROR with the message."""


def beside(files: Files, own: Path) -> Files:
    """The same files, and those below `own`, which a stand-in has made, where they are."""
    return lambda text: Path(text) if Path(text).is_relative_to(own) else files(text)


def script_of(command: Sequence[str]) -> str | None:
    """The name of the script that does the work: the last one, behind whatever starts it."""
    scripts = [part for part in _head(command) if part.endswith(".py")]
    return Path(scripts[-1]).name if scripts else None


def value_of(command: Sequence[str], flag: str) -> str | None:
    """What a flag is given, as `--flag VALUE` or `--flag=VALUE`; the last one counts."""
    found = None
    for number, part in enumerate(command):
        if part == flag and number + 1 < len(command):
            found = command[number + 1]
        elif part.startswith(f"{flag}="):
            found = part.removeprefix(f"{flag}=")
    return found


def with_value(command: Sequence[str], flag: str, value: str) -> tuple[str, ...]:
    """The command with a flag set once, at its end."""
    return (*without(command, flag), flag, value)


def without(command: Sequence[str], flag: str, *, takes_value: bool = True) -> tuple[str, ...]:
    """The command without a flag and, unless it `takes_value` not, what it is given."""
    kept: list[str] = []
    skip = False
    for part in command:
        if skip:
            skip = False
        elif part == flag:
            skip = takes_value
        elif not part.startswith(f"{flag}="):
            kept.append(part)
    return tuple(kept)


def _head(command: Sequence[str]) -> list[str]:
    """The command up to the arguments of the script that does the work."""
    if "--" in command:
        cut = list(command).index("--")
        return [*command[: cut + 2]]
    # Without a keeper before it, the first script is the one.
    first = next((n for n, part in enumerate(command) if part.endswith(".py")), len(command) - 1)
    return list(command[: first + 1])
