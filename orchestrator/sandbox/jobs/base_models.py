"""Small repositories for the base models of the catalog, so that access to them can be asked for.

They hold a card and a configuration, no weights. Those of Google and Meta are gated as the real
ones are, and the sandbox's user has been let in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from orchestrator.catalog import Model
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.access_requests import new_request, save_request
from orchestrator.sandbox.hub.git import Entry
from orchestrator.sandbox.hub.repos import MAIN

#: The owners who ask people to accept a licence first.
GATED_OWNERS = frozenset({"google", "meta-llama"})
#: Their models under a licence that asks for nothing.
_OPEN_LICENCES = frozenset({"apache-2.0", "mit"})


def seed_base_models(hub: HubFace, models: Iterable[Model], user: str) -> None:
    """Make the repositories that are not there yet, with access for `user`."""
    for model in models:
        if hub.repos.get("model", model.hub_id) is None:
            _make(hub, model, user)


def is_gated(model: Model) -> bool:
    """Whether the real repository asks for a licence to be accepted."""
    owner = model.hub_id.partition("/")[0]
    return owner in GATED_OWNERS and model.licence.lower() not in _OPEN_LICENCES


def _make(hub: HubFace, model: Model, user: str) -> None:
    owner = model.hub_id.partition("/")[0]
    repo = hub.repos.create("model", model.hub_id, private=False, creator=owner)
    first = hub.repos.commit(repo, repo.branches[MAIN])
    files: dict[str, Entry | bytes] = dict(first.files)
    files |= {"README.md": _card(model), "config.json": _config(model)}
    commit = hub.repos.make_commit(
        repo, first.oid, files, title="Stand in for the model", message="", author=owner
    )
    gated = {"gated": "manual"} if is_gated(model) else {}
    repo = repo.model_copy(update={"branches": {MAIN: commit.oid}, **gated})
    if gated:
        now = hub.clock.now()
        accepted = new_request(user, "accepted", now)
        save_request(hub.repos, repo, accepted.model_copy(update={"reviewed_at": now}))
    # Last: a repository that is there is whole.
    hub.repos.save(repo)


def _card(model: Model) -> bytes:
    lines = (
        "---",
        f"license: {model.licence.lower()}",
        "---",
        f"# {model.hub_id}",
        "",
        "A stand-in of the sandbox: it holds no weights.",
        "",
    )
    return "\n".join(lines).encode()


def _config(model: Model) -> bytes:
    """What the catalog knows of the model's own configuration."""
    value: dict[str, Any] = {"stand_in": True}
    if model.shape is not None:
        value |= {
            "hidden_size": model.shape.hidden,
            "intermediate_size": model.shape.intermediate,
            "num_hidden_layers": model.shape.layers,
        }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
