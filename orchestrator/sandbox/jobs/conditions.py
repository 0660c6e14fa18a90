"""What a command of `generate.py` says after `--condition`: words like `adapter=/tuned`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_FLAG = "--condition"


def condition_values(command: Sequence[str], key: str) -> list[str]:
    """What the conditions of a command give for a key, in order."""
    return [
        word.removeprefix(f"{key}=") for word, inside in _words(command) if _is(word, inside, key)
    ]


def condition_models(command: Sequence[str]) -> list[str]:
    """The adapters and full models that its conditions answer with, in order."""
    values = (word.partition("=") for word, inside in _words(command) if inside)
    return [value for key, _, value in values if key in ("adapter", "model")]


def with_condition_values(
    command: Sequence[str], key: str, change: Callable[[str], str]
) -> tuple[str, ...]:
    """The command with what its conditions give for a key changed."""
    return tuple(
        f"{key}={change(word.removeprefix(f'{key}='))}" if _is(word, inside, key) else word
        for word, inside in _words(command)
    )


def _words(command: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each word, and whether it stands among those of a condition."""
    inside = False
    for word in command:
        if word.startswith("--"):
            inside = word == _FLAG
        yield word, inside


def _is(word: str, inside: bool, key: str) -> bool:
    return inside and word.startswith(f"{key}=")
