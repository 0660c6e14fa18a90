"""Takes paths of the machines that trained out of JSON that is going to be published."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: Keys that name the base model, and so get its public name instead of a path.
NAME_KEYS = frozenset({"base_model_name_or_path", "name_or_path", "_name_or_path"})
#: Folder and bucket names of the service's own tenants.
TENANT_MARK = "caip-tenant-"

_PATH = re.compile(
    r"""
      /[^/]+/.*                    # /home/someone/model, //host/share
    | ~[^/]*/.*                    # ~/model
    | \.{1,2}[/\\].*               # ./model
    | [A-Za-z]:[/\\].*             # C:\model
    | \\\\.+                       # \\host\share
    | (?:gs|s3|file|hdfs|abfss?|azure|gcs)://.*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
#: Tokens and templates are text that the model sees: they may well look like a path.
_TEXT_KEYS = frozenset({"content", "chat_template", "template"})
_TOKEN_KEYS = re.compile(r".*_tokens?(_map|_decoder)?")


@dataclass(frozen=True)
class Scrubbed:
    """A JSON value without paths, and the places that were changed (`name_or_path`, `a.b[2]`)."""

    value: Any
    changed: tuple[str, ...]


def is_path(text: str) -> bool:
    """Whether a text is a path or a location that means nothing to anyone else."""
    return TENANT_MARK in text or _PATH.fullmatch(text.strip()) is not None


def scrub(value: Any, base_name: str) -> Scrubbed:
    """Remove every path; where it named the base model, put its public name there."""
    changed: list[str] = []
    clean = _scrub(value, "", base_name, changed)
    return Scrubbed(clean, tuple(changed))


def _scrub(value: Any, place: str, base_name: str, changed: list[str]) -> Any:
    if isinstance(value, dict):
        return _scrub_object(value, place, base_name, changed)
    if isinstance(value, list):
        kept = []
        for number, item in enumerate(value):
            at = f"{place}[{number}]"
            if isinstance(item, str) and is_path(item):
                changed.append(at)
            else:
                kept.append(_scrub(item, at, base_name, changed))
        return kept
    return value


def _scrub_object(
    value: dict[str, Any], place: str, base_name: str, changed: list[str]
) -> dict[str, Any]:
    kept = {}
    for key, item in value.items():
        # A key can be a path too, as in a map from files to digests.
        if is_path(key):
            changed.append(f"{place}.(a key)" if place else "(a key)")
            continue
        at = f"{place}.{key}" if place else key
        if key in _TEXT_KEYS or _TOKEN_KEYS.fullmatch(key):
            kept[key] = item
        elif not isinstance(item, str) or not is_path(item):
            kept[key] = _scrub(item, at, base_name, changed)
        else:
            changed.append(at)
            if key in NAME_KEYS:
                kept[key] = base_name
    return kept
