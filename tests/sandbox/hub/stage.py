"""What the tests of the Hub face share: one server, an empty Hub for each test, a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import Account, TokenScope, hub_app
from tests.sandbox.hub.openapi_judge import Judge

ACCOUNTS = {
    "hf_alice": Account("alice", orgs={"lab": "write", "club": "read", "guild": "contributor"}),
    "hf_reader": Account("alice", role="read", orgs={"lab": "write"}),
    "hf_narrow": Account(
        "alice", role="fineGrained", scopes=(TokenScope("model", "alice/one", ("repo.write",)),)
    ),
    "hf_bob": Account("bob"),
    "hf_boss": Account("boss", orgs={"lab": "admin"}),
    "hf_guest": Account("guest", orgs={"lab": "read", "club": "no_access"}),
    "hf_talker": Account("bob", role="fineGrained", everywhere=("discussion.write",)),
    "hf_opener": Account("bob", role="fineGrained", reads_gated=True),
}
ALICE = {"authorization": "Bearer hf_alice"}
CARD = "---\nlicense: apache-2.0\nbase_model: google/gemma-3-270m\ntags:\n- router\n---\n# Card\n"
WEIGHTS = bytes(range(256)) * 40


class Stage:
    """Serves whichever Hub is on it: stopping a server takes long, making a Hub does not."""

    app: Starlette
    url: str

    def __init__(self) -> None:
        #: Path and authorization of every request to this Hub.
        self.tokens: list[tuple[str, str | None]] = []

    def open(self, root: Path, **options: Any) -> None:
        """Put a Hub on the stage."""
        self.tokens.clear()
        self.app = hub_app(root, **{"accounts": ACCOUNTS, **options})

    @property
    def requests(self) -> list[tuple[str, str]]:
        """What the Hub was asked, as (method, path)."""
        asked: list[tuple[str, str]] = self.app.state.requests
        return asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = dict(scope["headers"]).get(b"authorization")
        self.tokens.append((scope["path"], token.decode() if token else None))
        await Judge(self.app)(scope, receive, send)


@contextmanager
def served() -> Iterator[Stage]:
    """A stage on a free port."""
    stage = Stage()
    with AppServer(stage) as server:
        stage.url = server.url
        yield stage


def put(api: HfApi, repo_id: str, files: dict[str, bytes], **options: Any) -> str:
    """Commit some files; returns the commit's id."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    oid: str = api.create_commit(repo_id, operations, commit_message="add files", **options).oid
    return oid


def status_of(call: Callable[[], object]) -> int:
    """The status of the error that a call ends in."""
    with pytest.raises(HfHubHTTPError) as caught:
        call()
    return caught.value.response.status_code
