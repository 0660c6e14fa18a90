"""Finds what a finished job left, in any of the layouts that have been seen, and downloads it.

The service's answer names no folder, so the adapter is searched under the output. Names of objects
come from outside and are never trusted as paths.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from orchestrator.digests import sha256_file
from orchestrator.ledger import Artifact, Metric
from orchestrator.progress import SILENT, Reporter
from orchestrator.stores.base import ObjectStore, StoredObject

_WEIGHTS = re.compile(r"(adapter_model|model(-\d+-of-\d+)?)\.(safetensors|bin)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
#: Names that are devices on Windows, whatever their suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_METRIC_FILES = ("trainer_state.json", "eval_results.json")
#: The versions of what trained, as `sft.py` leaves them beside the weights.
_LIBRARIES_FILE = "libraries.json"
_LIBRARY, _VERSION = (
    re.compile(r"[a-z][a-z0-9_.-]{0,40}"),
    re.compile(r"\d[\w.+!-]{0,40}", re.ASCII),
)
_MOST_LIBRARIES = 30
_MAX_METRIC_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Collected:
    """What was found: the files in `folder`, the time series, and what was left out and why."""

    folder: Path
    source_uri: str
    artifacts: tuple[Artifact, ...]
    metrics: tuple[Metric, ...]
    summary: Mapping[str, float]
    ignored: tuple[str, ...] = field(default_factory=tuple)
    #: Names and versions of what trained, where the job tells.
    libraries: Mapping[str, str] = field(default_factory=dict)


def collect(
    store: ObjectStore,
    output_uri: str,
    folder: Path,
    *,
    still_ours: Callable[[], None] = lambda: None,
    reporter: Reporter = SILENT,
) -> Collected | None:
    """Download the final checkpoint under `output_uri` to `folder`; None if there is no adapter.

    `still_ours` is called before each file, to keep (or notice the loss of) the right to go on.
    """
    prefix = output_uri.rstrip("/") + "/"
    objects = {item.uri.removeprefix(prefix): item for item in store.list(prefix)}
    best = best_checkpoint(objects)
    if best is None:
        return None
    wanted, ignored = files_of(best, objects)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _download(store, wanted, partial, still_ours, reporter)
        metric_files = {
            name: path
            for name in _METRIC_FILES
            if (path := _metric_file(store, name, best, objects, partial)) is not None
        }
        values = {name: _json_object(file) for name, file in metric_files.items()}
        unreadable = [name for name, value in values.items() if value is None]
        metrics, summary = _read_metrics(values)
        libraries = _libraries(partial / _LIBRARIES_FILE)
        artifacts = tuple(
            Artifact("collected", name, stored.uri, stored.size_bytes, sha256_file(partial / name))
            for name, stored in sorted(wanted.items())
        )
        still_ours()
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        # An interruption, too, leaves nothing half done.
        shutil.rmtree(partial, ignore_errors=True)
    return Collected(
        folder=folder,
        source_uri=prefix + best,
        artifacts=artifacts,
        metrics=metrics,
        summary=summary,
        ignored=(*ignored, *(f"{name} (not JSON)" for name in unreadable)),
        libraries=libraries,
    )


def _download(
    store: ObjectStore,
    wanted: Mapping[str, StoredObject],
    into: Path,
    still_ours: Callable[[], None],
    reporter: Reporter,
) -> None:
    size_bytes = sum(stored.size_bytes for stored in wanted.values())
    with reporter.transfer("collecting", size_bytes) as moved:

        def keep(moved_bytes: int) -> None:
            still_ours()
            moved(moved_bytes)

        for name, stored in wanted.items():
            still_ours()
            store.get(stored, into / name, keep)


def best_checkpoint(names: Iterable[str]) -> str | None:
    """The folder (with a slash at its end) of the final weights among names below the output.

    An adapter wins over merged weights, a folder of a final state over a numbered checkpoint, a
    later checkpoint over an earlier one.
    """
    candidates: dict[str, bool] = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        if _WEIGHTS.fullmatch(file):
            is_adapter = file.startswith("adapter_model")
            key = folder + slash
            candidates[key] = candidates.get(key, False) or is_adapter

    def rank(folder: str) -> tuple[bool, bool, int, str]:
        numbers = [int(number) for number in _CHECKPOINT.findall(folder)]
        is_final = any("final" in part.lower() for part in folder.split("/"))
        return (candidates[folder], is_final, max(numbers, default=-1), folder)

    return max(candidates, key=rank) if candidates else None


def files_of(
    folder: str, objects: Mapping[str, StoredObject]
) -> tuple[dict[str, StoredObject], list[str]]:
    """The objects directly in a folder whose names are safe as file names, and those left out."""
    wanted: dict[str, StoredObject] = {}
    ignored: list[str] = []
    taken: set[str] = set()
    for name, stored in objects.items():
        if not name.startswith(folder):
            continue
        file = name[len(folder) :]
        if "/" in file and not _is_odd(file):
            continue  # a checkpoint of its own below this folder
        if not file:
            continue  # the folder's own marker object
        # Two names that differ in case alone are one file on some disks.
        if _is_odd(file) or "/" in file or file.lower() in taken:
            ignored.append(name)
            continue
        taken.add(file.lower())
        wanted[file] = stored
    return wanted, ignored


def _is_odd(name: str) -> bool:
    """Whether a name could point out of its folder, or means something else to a file system."""
    return any(
        part in ("", ".", "..")
        or re.search(r'[\\:*?"<>|\x00-\x1f]', part)
        or part.endswith((".", " "))
        or _DEVICES.fullmatch(part)
        or len(part.encode()) > 200
        for part in name.split("/")
    )


def _metric_file(
    store: ObjectStore,
    name: str,
    folder: str,
    objects: Mapping[str, StoredObject],
    into: Path,
) -> Path | None:
    """A file of metrics, beside the weights or nearest to them (it may be in a parent folder)."""
    if (into / name).exists():
        return into / name

    def nearness(other: str) -> tuple[int, int, str]:
        common = 0
        for mine, theirs in zip(folder.split("/"), other.split("/"), strict=False):
            if mine != theirs:
                break
            common += 1
        numbers = [int(number) for number in _CHECKPOINT.findall(other)]
        return (common, max(numbers, default=0), other)

    places = [other for other in objects if other.rpartition("/")[2] == name]
    if not places:
        return None
    store.get(objects[max(places, key=nearness)], into / name)
    return into / name


def _read_metrics(
    files: Mapping[str, dict[str, object] | None],
) -> tuple[tuple[Metric, ...], dict[str, float]]:
    """The log of the trainer as time series, and the last evaluation as single numbers."""
    points: dict[tuple[str, int], Metric] = {}
    state = files.get("trainer_state.json") or {}
    history = state.get("log_history", [])
    for entry in history if isinstance(history, list) else []:
        step = entry.get("step") if isinstance(entry, dict) else None
        if not isinstance(step, int):
            continue
        epoch = _number(entry.get("epoch"))
        for name, value in entry.items():
            number = _number(value)
            if name not in ("step", "epoch") and number is not None:
                points[name, step] = Metric(name, step, number, epoch)
    results = files.get("eval_results.json") or {}
    summary = {
        name: number for name, value in results.items() if (number := _number(value)) is not None
    }
    return tuple(points.values()), summary


def _libraries(file: Path) -> dict[str, str]:
    """Names and versions; what looks like neither is left out."""
    found = (_json_object(file) or {}) if file.is_file() else {}
    known = {
        name: version
        for name, version in found.items()
        if _LIBRARY.fullmatch(name) and isinstance(version, str) and _VERSION.fullmatch(version)
    }
    return dict(list(known.items())[:_MOST_LIBRARIES])


def _number(value: object) -> float | None:
    """A finite number; the ledger keeps no others (JSON and SQL have none)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _json_object(file: Path) -> dict[str, object] | None:
    """A JSON object, empty where it is too large or none; None for what is not JSON.

    Metrics are for information, the adapter is what counts: the service's own file is as it left
    it (its checksum was compared), so that another attempt would find it no better.
    """
    if file.stat().st_size > _MAX_METRIC_FILE_BYTES:
        return {}
    try:
        # The trainer writes NaN where JSON has none.
        text = re.sub(r"\b(NaN|-?Infinity)\b", "null", file.read_text(encoding="utf-8"))
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else {}
