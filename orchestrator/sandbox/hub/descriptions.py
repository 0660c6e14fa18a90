"""How the Hub describes a repository: who made it, what is in it, what its card and files say."""

from __future__ import annotations

import json
import struct
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from orchestrator.sandbox.hub.access import Call, HubFace
from orchestrator.sandbox.hub.cards import card_data
from orchestrator.sandbox.hub.git import Entry
from orchestrator.sandbox.hub.repos import MAIN, Commit, Repo, pointer_size
from orchestrator.sandbox.hub.wire import HubError, instant

#: What comes without being asked for when one repository is described.
_INFO = """
author cardData config createdAt description disabled downloads gated lastModified library_name
likes model-index pipeline_tag private safetensors sha siblings spaces tags usedStorage
"""
#: What a client may ask for with `expand`, beyond the above. Absent where there is nothing to tell.
_FURTHER = """
baseModels childrenModelCount citation downloadsAllTime evalResults gguf inference
inferenceProviderMapping mainSize mask_token paperswithcode_id resourceGroup transformersInfo
trendingScore widgetData
"""
INFO = frozenset(_INFO.split())
PROPERTIES = INFO | frozenset(_FURTHER.split())
_CONFIG_KEYS = ("architectures", "model_type", "quantization_config")
_MOST_HEADER_BYTES = 25_000_000


def info(face: HubFace, call: Call) -> Response:
    """GET `/api/models/{id}` and `/revision/{rev}`: the repository at a revision."""
    repo = face.readable(call)
    commit = face.repos.resolve(repo, call.params.get("rev", MAIN))
    names = wanted_properties(call) or INFO
    value = describe(face, repo, commit, names, blobs=call.flag("blobs"))
    if call.flag("securityStatus"):
        # Nothing is scanned here, and clients read "done" as "safe".
        value["securityRepoStatus"] = {"scansDone": False, "filesWithIssues": []}
    return JSONResponse(value)


def wanted_properties(call: Call) -> frozenset[str]:
    """What `expand` asks for; empty if it is not given. Unknown names are refused."""
    names = frozenset({*call.query.getlist("expand"), *call.query.getlist("expand[]")})
    unknown = sorted(names - PROPERTIES)
    if unknown:
        raise HubError(400, f'"expand" must be one of [{", ".join(sorted(PROPERTIES))}]')
    return names


def describe(
    face: HubFace, repo: Repo, commit: Commit, names: Iterable[str], *, blobs: bool = False
) -> dict[str, Any]:
    """The properties with these names, as far as they exist, and the ids."""
    card = _card(face, repo, commit)
    value: dict[str, Any] = {"_id": repo.hex_id, "id": repo.id}
    if repo.kind == "model":
        value["modelId"] = repo.id
    properties = _PROPERTIES
    for name in sorted(names):
        found = properties[name](face, repo, commit, card) if name in properties else None
        if found is not None:
            value[name] = found
    if "siblings" in value:
        value["siblings"] = [_sibling(path, entry, blobs) for path, entry in commit.files.items()]
    return value


def tags_of(face: HubFace, repo: Repo, commit: Commit) -> list[str]:
    """The tags that lists are filtered by: the card's own, and those that the Hub derives."""
    return _tags(_card(face, repo, commit), commit)


def _card(face: HubFace, repo: Repo, commit: Commit) -> dict[str, Any]:
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    return card_data(face.repos.content(repo, readme).read_text("utf-8", "replace"))


def _tags(card: Mapping[str, Any], commit: Commit) -> list[str]:
    tags = [card[name] for name in ("library_name", "pipeline_tag") if name in card]
    if any(path.endswith(".safetensors") for path in commit.files):
        tags.append("safetensors")
    tags += [tag for tag in _many(card.get("tags")) if tag not in tags]
    for name in ("task_categories", "language", "base_model", "datasets", "license"):
        prefix = {"datasets": "dataset:", "language": ""}.get(name, f"{name}:")
        tags += [f"{prefix}{one}" for one in _many(card.get(name))]
    for name in ("size_categories", "annotations_creators", "multilinguality"):
        tags += [f"{name}:{one}" for one in _many(card.get(name))]
    return [str(tag) for tag in tags] + ["region:us"]


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"rfilename": path}
    if blobs:
        value |= {"size": entry.size_bytes, "blobId": entry.oid}
        if entry.sha256:
            value["lfs"] = {
                "sha256": entry.sha256,
                "size": entry.size_bytes,
                "pointerSize": pointer_size(entry),
            }
    return value


def _config(face: HubFace, repo: Repo, commit: Commit) -> dict[str, Any] | None:
    """What the Hub keeps of a model's configuration, and of its tokenizer's."""
    found: dict[str, Any] = {}
    config = _read_json(face, repo, commit, "config.json")
    found |= {key: config[key] for key in _CONFIG_KEYS if key in config}
    if _read_json(face, repo, commit, "adapter_config.json"):
        adapter = _read_json(face, repo, commit, "adapter_config.json")
        keys = ("base_model_name_or_path", "task_type", "peft_type")
        found["peft"] = {key: adapter[key] for key in keys if key in adapter}
    tokenizer = _read_json(face, repo, commit, "tokenizer_config.json")
    special = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")
    texts = {key: tokenizer[key] for key in special if isinstance(tokenizer.get(key), str)}
    if texts:
        found["tokenizer_config"] = texts
    return found or None


def _read_json(face: HubFace, repo: Repo, commit: Commit, path: str) -> dict[str, Any]:
    entry = commit.files.get(path)
    if entry is None:
        return {}
    try:
        # orjson, as it refuses NaN and halves of characters, which no reply could hold.
        value = orjson.loads(face.repos.content(repo, entry).read_bytes().removeprefix(BOM_UTF8))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _safetensors(face: HubFace, repo: Repo, commit: Commit) -> dict[str, Any] | None:
    """How many numbers of each type a model has; adapters are not counted, as at the Hub."""
    index = _read_json(face, repo, commit, "model.safetensors.index.json")
    weights = index.get("weight_map")
    shards = map(str, weights.values()) if isinstance(weights, dict) else ["model.safetensors"]
    counts: dict[str, int] = {}
    for shard in sorted(set(shards)):
        entry = commit.files.get(shard)
        if entry is None:
            return None
        for tensor in _tensors(face, repo, entry):
            count = 1
            for length in tensor["shape"]:
                count *= length
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + count
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


def _tensors(face: HubFace, repo: Repo, entry: Entry) -> list[dict[str, Any]]:
    """The tensors that the header of a safetensors file names; none if it is not such a file."""
    try:
        with face.repos.content(repo, entry).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MOST_HEADER_BYTES)))
        return [
            {"dtype": str(one["dtype"]), "shape": [int(size) for size in one["shape"]]}
            for name, one in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        return []


def _of_model(
    tell: Callable[[HubFace, Repo, Commit], Any],
) -> Callable[[HubFace, Repo, Commit, dict[str, Any]], Any]:
    """A property that only models have, read from their files."""
    return lambda face, repo, commit, _card: (
        tell(face, repo, commit) if repo.kind == "model" else None
    )


def _size(commit: Commit) -> int:
    return sum(entry.size_bytes for entry in commit.files.values())


_PROPERTIES: dict[str, Callable[[HubFace, Repo, Commit, dict[str, Any]], Any]] = {
    "author": lambda _face, repo, _commit, _card: repo.id.split("/")[0],
    "baseModels": lambda _face, repo, _commit, card: (
        _many(card.get("base_model")) or None if repo.kind == "model" else None
    ),
    "cardData": lambda _face, _repo, _commit, card: card or None,
    "childrenModelCount": _of_model(lambda _face, _repo, _commit: 0),
    "config": _of_model(_config),
    "createdAt": lambda _face, repo, _commit, _card: instant(repo.created_at),
    "disabled": lambda _face, _repo, _commit, _card: False,
    "downloads": lambda _face, _repo, _commit, _card: 0,
    "downloadsAllTime": lambda _face, _repo, _commit, _card: 0,
    "gated": lambda _face, repo, _commit, _card: repo.gated or False,
    "lastModified": lambda _face, _repo, commit, _card: instant(commit.date),
    "library_name": lambda _face, repo, _commit, card: (
        card.get("library_name") if repo.kind == "model" else None
    ),
    "likes": lambda _face, _repo, _commit, _card: 0,
    "mainSize": lambda face, repo, _commit, _card: (
        _size(face.repos.resolve(repo, MAIN)) if repo.kind == "dataset" else None
    ),
    "model-index": lambda _face, repo, _commit, card: (
        card.get("model-index") if repo.kind == "model" else None
    ),
    "pipeline_tag": lambda _face, repo, _commit, card: (
        card.get("pipeline_tag") if repo.kind == "model" else None
    ),
    "private": lambda _face, repo, _commit, _card: repo.private,
    "safetensors": _of_model(_safetensors),
    "sha": lambda _face, _repo, commit, _card: commit.oid,
    "siblings": lambda _face, _repo, _commit, _card: [],
    "spaces": _of_model(lambda _face, _repo, _commit: []),
    "tags": lambda _face, _repo, commit, card: _tags(card, commit),
    "trendingScore": lambda _face, _repo, _commit, _card: 0,
    "usedStorage": lambda _face, _repo, commit, _card: _size(commit),
}
