"""A Hub of the sandbox for tests of the stores that read and commit files there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from orchestrator.hub_client import prepare_client
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import Account, hub_app
from tests.sandbox.hub.openapi_judge import Judge

ACCOUNTS = {
    "hf_alice": Account("alice", orgs={"lab": "write"}),
    "hf_reader": Account("alice", role="read"),
    "hf_bob": Account("bob"),
}
#: Large enough and named so that the Hub keeps it in LFS.
WEIGHTS = bytes(range(256)) * 40


@dataclass
class HubStage:
    """Serves one Hub; what a test puts into `before` and `lose` happens to matching requests."""

    app: Starlette
    url: str = ""
    #: Called once, before the first request whose method and path match.
    before: dict[tuple[str, str], Callable[[], object]] = field(default_factory=dict)
    #: Requests that fail, each time, without an effect.
    fail: list[tuple[str, str]] = field(default_factory=list)
    #: Requests that take effect, and whose answer breaks off, each once.
    hang_up: list[tuple[str, str]] = field(default_factory=list)
    #: Requests that take effect and whose answer is lost, each once.
    lose: list[tuple[str, str]] = field(default_factory=list)

    @property
    def requests(self) -> list[tuple[str, str]]:
        asked: list[tuple[str, str]] = self.app.state.requests
        return asked

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.url, token="hf_alice")

    def put(
        self,
        repo: str,
        files: dict[str, bytes],
        *,
        kind: str = "model",
        revision: str = "main",
        delete: tuple[str, ...] = (),
    ) -> str:
        """Commit files, in a private repo that is created if absent; returns the commit."""
        self.api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        if revision != "main":
            self.api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path, content) for path, content in files.items()),
            *(CommitOperationDelete(path) for path in delete),
        ]
        oid: str = self.api.create_commit(
            repo, operations, commit_message="put", repo_type=kind, revision=revision
        ).oid
        return oid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for method, path in list(self.before):
            if scope["method"] == method and path in scope["path"]:
                await run_in_threadpool(self.before.pop((method, path)))
                break
        if any(scope["method"] == method and path in scope["path"] for method, path in self.fail):
            self.requests.append((scope["method"], scope["path"]))
            await PlainTextResponse("oh", 503)(scope, receive, send)
            return
        for matching in [*self.lose, *self.hang_up]:
            if scope["method"] == matching[0] and matching[1] in scope["path"]:
                breaks = matching in self.hang_up
                (self.hang_up if breaks else self.lose).remove(matching)

                async def nowhere(_message: Message) -> None:
                    """The answer that gets lost."""

                await self.app(scope, receive, nowhere)
                if breaks:
                    headers = [(b"content-length", b"100")]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    await send({"type": "http.response.body", "body": b"{", "more_body": True})
                    raise ConnectionResetError("the connection breaks")
                await PlainTextResponse("oh", 503)(scope, receive, send)
                return
        await self.app(scope, receive, send)


@contextmanager
def hub_stage(root: Path) -> Iterator[HubStage]:
    """A fresh Hub on a free port."""
    prepare_client(60.0)  # without Xet, which the sandbox does not speak
    app = hub_app(root / "hub", ACCOUNTS)
    app.add_middleware(Judge)
    stage = HubStage(app)
    with AppServer(stage) as server:
        stage.url = server.url
        yield stage
