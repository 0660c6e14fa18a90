"""The stamp of prepared data: a digest of everything that decides which bytes are written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from orchestrator.dataset.preparing.machinery import versions
from orchestrator.dataset.preparing.prepared import InputFacts
from orchestrator.dataset.rules import Rules
from orchestrator.digests import sha256_file

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "config.json",
)


def preparation_stamp(inputs: Sequence[InputFacts], rules: Rules, limit: int | None) -> str:
    """The digest of everything that decides which bytes are written.

    `inputs` are the files with the rows, or as many of them as are known.
    """
    value = {
        "inputs": [[one.sha256, one.split] for one in inputs],
        "versions": [[one.name, one.version] for one in versions(rules)],
        "data": _data_rules(rules),
        "tools": [tool.declaration for tool in rules.tools],
        "tokens": _token_rules(rules),
        "service": rules.service,
        "max_length": [rules.max_length, rules.max_length_source, rules.too_long],
        "seed": rules.seed,
        "limit": limit,
    }
    return _digest(value)


def tools_digest(rules: Rules) -> str | None:
    """The digest of the tools that rows may call; None without any."""
    return _digest([tool.declaration for tool in rules.tools]) if rules.tools else None


def _data_rules(rules: Rules) -> dict[str, Any]:
    """The data block without the places of files, but with the content of those that decide."""
    data = rules.data
    value = data.model_dump(mode="json", exclude={"path", "tools", "format", "answer"})
    value["split"]["files"] = data.split.files is not None
    for name, given in (("format", data.format), ("answer", data.answer)):
        file = rules.spec_folder / given
        has_path = given.endswith((".py", ".json"))
        value[name] = _file_digest(file) if has_path else given
    return value


def _token_rules(rules: Rules) -> dict[str, Any]:
    tokens = rules.tokens
    folder = tokens.tokenizer
    files = {name: _file_digest(folder / name) for name in _TOKENIZER_FILES} if folder else {}
    return {
        "model": tokens.model,
        "tokenizer": files,
        "template": _file_digest(tokens.template) if tokens.template else None,
        "tokens_per_character": tokens.tokens_per_character,
        "estimate_source": tokens.estimate_source,
    }


def _file_digest(file: Path) -> str | None:
    try:
        return sha256_file(file)
    except OSError:  # who needs it will say so
        return None


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
