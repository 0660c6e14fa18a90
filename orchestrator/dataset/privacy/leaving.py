"""What is private in files that are about to leave this machine: their very bytes are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.json_texts import texts_in
from orchestrator.dataset.privacy.detection import Private, find_private
from orchestrator.errors import InputError, Place

#: Longer texts that come again, as the tools of all rows do, are searched once.
_LONG = 200


@dataclass(frozen=True)
class Found:
    """Something private: where it stands, what it is, and what may be shown of it."""

    place: Place
    name: str
    masked: str

    def __str__(self) -> str:
        return f"{self.place}: {self.name} {self.masked}"


def private_in_files(files: Mapping[str, Path]) -> Iterator[Found]:
    """What is private in files of JSON, one document a line, by the name that each goes under.

    Names in objects are read as texts are. Addresses that are reserved for examples do not count.
    """
    clean: set[int] = set()
    for name, file in files.items():
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    place = Place(name, number)
                    for one in _private(texts_in(_read(line, place), names=True), clean):
                        yield Found(place, one.name, one.masked)


def private_in_text(name: str, text: str) -> Iterator[Found]:
    """The same for one text of another kind."""
    for one in _private([text], set()):
        yield Found(Place(name), one.name, one.masked)


def _private(texts: Iterable[str], clean: set[int]) -> Iterator[Private]:
    for text in texts:
        key = hash(text) if len(text) > _LONG else 0
        if key and key in clean:
            continue
        found = [one for one in find_private(text) if one.kind != "example-email"]
        yield from found
        if key and not found:
            clean.add(key)


def _read(line: bytes, place: Place) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"the line is no JSON ({error}): it cannot be searched for what is private",
            where=place,
            hint="Prepare the rows again: orchestrator prepare SPEC",
        ) from error
