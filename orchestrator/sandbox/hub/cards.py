"""What the Hub checks in a card: the YAML block at the top of README.md."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import yaml

from orchestrator.hub_licences import HUB_LICENCES

_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LISTS = (
    *("tags", "widget", "model-index", "extra_gated_fields_order"),
    *("task_categories", "task_ids", "size_categories"),
)
_TEXTS = ("pipeline_tag", "library_name", "license_name", "license_link", "pretty_name")
#: Names of the first cards, which are refused by now.
_RENAMED = {"languages": "language", "licenses": "license"}
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_LANGUAGE_WORDS = frozenset({"code", "multilingual"})


def card_data(content: str) -> dict[str, Any]:
    """The card's metadata as the API shows it; empty if there is none that can be read."""
    metadata, errors = _metadata(content)
    return {} if errors or metadata is None else dict(_plain(metadata))


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors, which refuse the card, and warnings, in the Hub's way."""
    metadata, errors = _metadata(content)
    if errors:
        return errors, []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    return list(_mistakes(metadata)), []


def _metadata(content: str) -> tuple[dict[str, Any] | None, list[str]]:
    block = _BLOCK.match(content)
    if block is None:
        return None, []
    try:
        value = yaml.safe_load(block.group(1))
        _plain(value)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a day that no calendar has
        return None, [f"Invalid YAML: {' '.join(str(error).split())}"]
    except RecursionError:
        return None, ["Invalid YAML: it is nested too deeply, or holds itself"]
    if value is None:
        return None, []
    if not isinstance(value, dict):
        return None, ["The metadata must be a mapping of names to values"]
    return value, []


def _plain(value: Any) -> Any:
    """YAML's values as the Hub's JSON has them, where what is not a number is null."""
    if isinstance(value, dict):
        return {_text(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set):
        return {_text(str(key)): None for key in value}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return _text(value)
    return value.isoformat() if isinstance(value, date) else value


def _text(value: str) -> str:
    """Halves of characters, which YAML can name and UTF-8 cannot write, as question marks."""
    return value.encode("utf-8", "replace").decode()


def _mistakes(metadata: dict[str, Any]) -> Iterator[str]:
    for old, new in _RENAMED.items():
        if old in metadata:
            yield f'"{old}" is not allowed. Use "{new}"'
    yield from _licence_mistakes(metadata)
    for name in _LISTS:
        if not isinstance(metadata.get(name, []), list):
            yield f'"{name}" must be an array'
    for name in _TEXTS:
        if not isinstance(metadata.get(name, ""), str):
            yield f'"{name}" must be a string'
    if not all(isinstance(tag, str) for tag in _listed(metadata, "tags")):
        yield '"tags" must be an array of strings'
    yield from _name_mistakes(metadata)
    for index, model in enumerate(_listed(metadata, "model-index")):
        yield from _index_mistakes(f"model-index[{index}]", model)


def _licence_mistakes(metadata: dict[str, Any]) -> Iterator[str]:
    licence = metadata.get("license")
    for one in licence if isinstance(licence, list) else [licence]:
        if licence is not None and (not isinstance(one, str) or one not in HUB_LICENCES):
            yield f'"license" must be one of [{", ".join(sorted(HUB_LICENCES))}, array]'


def _name_mistakes(metadata: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the names of languages and of other repositories."""
    for place, one in _placed(metadata, "language"):
        known = isinstance(one, str) and (_LANGUAGE.fullmatch(one) or one in _LANGUAGE_WORDS)
        if not known:
            yield (
                f'"{place}" with value "{one}" is not valid. It must be an ISO 639-1, 639-2 or '
                '639-3 code (two/three letters), or a special value like "code", "multilingual". '
                "If you want to use BCP-47 identifiers, you can specify them in language_bcp47."
            )
    for name, kind in (("base_model", "model"), ("datasets", "dataset")):
        for place, one in _placed(metadata, name):
            if not isinstance(one, str) or not _REPO_ID.fullmatch(one):
                use = "Use" if kind == "model" else "If possible, use"
                yield (
                    f'"{place}" with value "{one}" is not valid. '
                    f"{use} a {kind} id from https://hf.co/{kind}s."
                )


def _placed(metadata: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """The values under a name, with the place of each as the Hub writes it."""
    value = metadata.get(name)
    if isinstance(value, list):
        yield from ((f"{name}[{index}]", one) for index, one in enumerate(value))
    elif value is not None:
        yield name, value


def _listed(metadata: dict[str, Any], name: str) -> list[Any]:
    value = metadata.get(name, [])
    return value if isinstance(value, list) else [value]


def _index_mistakes(where: str, model: Any) -> Iterator[str]:
    if not isinstance(model, dict) or not model.get("name"):
        yield f'"{where}.name" is not allowed to be empty'
        return
    results = model.get("results")
    if not isinstance(results, list):
        yield f'"{where}.results" is required'
        return
    for number, result in enumerate(results):
        yield from _result_mistakes(f"{where}.results[{number}]", result)


def _result_mistakes(place: str, result: Any) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f'"{place}" must be of type object'
        return
    for path in ("task.type", "dataset.type", "dataset.name"):
        outer, inner = path.split(".")
        part = result.get(outer)
        # A result may leave out its dataset altogether.
        if outer == "dataset" and part is None:
            continue
        if not isinstance(part, dict) or not part.get(inner):
            yield f'"{place}.{path}" is required'
    for path in ("task.name", "dataset.config", "dataset.split", "dataset.revision"):
        outer, inner = path.split(".")
        part = result.get(outer)
        if isinstance(part, dict) and not isinstance(part.get(inner, ""), str):
            yield f'"{place}.{path}" must be a string'
    metrics = result.get("metrics")
    if not isinstance(metrics, list):
        yield f'"{place}.metrics" is required'
        return
    for index, metric in enumerate(metrics):
        for name in ("type", "value"):
            if not isinstance(metric, dict) or metric.get(name) is None:
                yield f'"{place}.metrics[{index}].{name}" is required'
