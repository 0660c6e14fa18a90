"""Schemas of the Hub's replies that its OpenAPI description lacks.

Sources: Git LFS (`docs/api/batch.md` and its JSON schema of the batch reply), the Hub's page on
its API, and the attributes that `huggingface_hub` documents for `ModelInfo` and `DatasetInfo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def record(required: str, optional: Mapping[str, Any] = {}, **known: Any) -> Schema:
    """An object with these properties and no others; `required` names those always there."""
    return {
        "type": "object",
        "properties": {**known, **optional},
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
HEX_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
OID: Schema = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
INSTANT: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
TEXTS: Schema = {"type": "array", "items": TEXT}

_LFS = record("sha256 size pointerSize", sha256=SHA256, size=COUNT, pointerSize=COUNT)
_SIBLING = record("rfilename", rfilename=TEXT, size=COUNT, blobId=OID, lfs=_LFS)
_COMMON: Schema = {
    "_id": HEX_ID,
    "id": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
    "author": TEXT,
    "cardData": {"type": "object"},
    "createdAt": INSTANT,
    "description": TEXT,
    "disabled": FLAG,
    "downloads": COUNT,
    "downloadsAllTime": COUNT,
    "gated": {"enum": [False, "auto", "manual"]},
    "lastModified": INSTANT,
    "likes": COUNT,
    "private": FLAG,
    "sha": OID,
    "siblings": {"type": "array", "items": _SIBLING},
    "tags": TEXTS,
    "trendingScore": COUNT,
    "usedStorage": COUNT,
}
_SAFETENSORS = record(
    "parameters total",
    parameters={"type": "object", "additionalProperties": COUNT},
    total=COUNT,
)
_MODEL: Schema = {
    **_COMMON,
    "modelId": TEXT,
    "baseModels": TEXTS,
    "childrenModelCount": COUNT,
    "config": {"type": "object"},
    "library_name": TEXT,
    "model-index": {"type": "array"},
    "pipeline_tag": TEXT,
    "safetensors": _SAFETENSORS,
    "securityRepoStatus": record(
        "scansDone filesWithIssues", scansDone=FLAG, filesWithIssues={"type": "array"}
    ),
    "spaces": TEXTS,
}
_DATASET: Schema = {**_COMMON, "mainSize": COUNT}
MODEL = record("_id id modelId", _MODEL)
DATASET = record("_id id", _DATASET)

_HEADER: Schema = {"type": "object", "additionalProperties": TEXT}
_ACTION = record("href header", href={"type": "string", "format": "uri"}, header=_HEADER)
_OBJECT = record(
    "oid size",
    oid=TEXT,
    size=COUNT,
    authenticated=FLAG,
    actions=record("", upload=_ACTION, verify=_ACTION, download=_ACTION),
    error=record("code message", code=COUNT, message=TEXT),
)
BATCH = record(
    "transfer objects",
    transfer={"enum": ["basic", "multipart"]},
    objects={"type": "array", "items": _OBJECT},
)
_MESSAGES: Schema = {"type": "array", "items": record("message", message=TEXT)}
CARD = record("errors warnings", errors=_MESSAGES, warnings=_MESSAGES)
EMPTY = record("")


def _of_kind(kind: str, schema: Schema) -> dict[tuple[str, str], dict[int, Schema]]:
    api, pages = f"/api/{kind}", "" if kind == "models" else f"/{kind}"
    git = f"{pages}/{{namespace}}/{{repo}}.git/info/lfs"
    return {
        ("GET", api): {200: {"type": "array", "items": schema}},
        ("GET", f"{api}/{{namespace}}/{{repo}}"): {200: schema},
        ("GET", f"{api}/{{namespace}}/{{repo}}/revision/{{rev}}"): {200: schema},
        ("POST", f"{git}/objects/batch"): {200: BATCH},
        ("POST", f"{git}/verify"): {200: EMPTY},
    }


#: Method and address of each operation, with the schema of each successful reply.
OTHER_OPERATIONS: dict[tuple[str, str], dict[int, Schema]] = {
    **_of_kind("models", MODEL),
    **_of_kind("datasets", DATASET),
    ("POST", "/api/validate-yaml"): {200: CARD},
}
