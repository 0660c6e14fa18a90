"""The Hub as a store, against the sandbox's Hub and answers that go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from orchestrator.digests import git_blob_oid, sha256_file
from orchestrator.errors import (
    Ambiguous,
    Conflict,
    Corrupt,
    InputError,
    NotFound,
    RefusalKind,
    Refused,
)
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.sandbox.hub.app import Account, TokenScope, hub_app
from orchestrator.stores.hub import HubStore
from tests.sandbox.hub.openapi_judge import Judge

ACCOUNTS = {
    "hf_alice": Account("alice", orgs={"lab": "write", "club": "read"}),
    "hf_reader": Account("alice", role="read"),
    "hf_narrow": Account(
        "alice", role="fineGrained", scopes=(TokenScope("user", "alice", ("repo.write",)),)
    ),
    "hf_bob": Account("bob"),
}
WEIGHTS = bytes(range(256)) * 40


class FakeClock:
    """Sleeps at once, and remembers for how long."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def elapsed_s(self) -> float:
        return sum(self.slept_s)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


@dataclass
class Fault:
    """What happens instead of (or, with `after`, on top of) a matching request's effect."""

    method: str
    path: str
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    hang: bool = False
    times: int = 1


class Stage:
    """Serves one Hub, with faults."""

    app: Starlette
    url: str

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for fault in self.faults:
            if fault.times and scope["method"] == fault.method and fault.path in scope["path"]:
                fault.times -= 1
                await self._fail(fault, scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        async def nowhere(_message: Message) -> None:
            """The answer that gets lost."""

        if fault.hang:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if fault.after:
            await self.app(scope, receive, nowhere)
        await PlainTextResponse("oh", fault.status, dict(fault.headers))(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    stage = Stage()
    with AppServer(stage) as server:
        stage.url = server.url
        yield stage


@pytest.fixture
def stage(served: Stage, tmp_path: Path) -> Stage:
    served.faults = []
    served.app = hub_app(tmp_path / "hub", ACCOUNTS)
    served.app.add_middleware(Judge)
    return served


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(stage: Stage, clock: FakeClock) -> HubStore:
    return HubStore(stage.url, "hf_alice", clock=clock)


@pytest.fixture
def adapter(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "adapter"
    folder.mkdir()
    contents = {
        "adapter_model.safetensors": WEIGHTS,
        "adapter_config.json": b'{"r": 16}',
        "README.md": b"---\nlicense: mit\n---\n# Card\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def kind_of(call: Callable[[], object]) -> RefusalKind:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.kind


def test_a_name_without_a_namespace_belongs_to_who_asks(store: HubStore) -> None:
    assert store.check_write("router") == "alice/router"
    assert store.check_write("lab/router") == "lab/router"


@pytest.mark.parametrize("name", ["a b", "a/b/c", "../up", "x.git", "a--b", "", "a/"])
def test_an_impossible_name_is_an_input_error(store: HubStore, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        store.check_write(name)


def test_writing_is_refused_before_anything_is_sent(stage: Stage) -> None:
    def check(token: str | None, repo: str) -> Callable[[], object]:
        return lambda: HubStore(stage.url, token).check_write(repo)

    assert kind_of(check(None, "alice/x")) == RefusalKind.CREDENTIALS
    assert kind_of(check("hf_invented", "alice/x")) == RefusalKind.CREDENTIALS
    assert kind_of(check("hf_reader", "alice/x")) == RefusalKind.PERMISSION
    assert kind_of(check("hf_alice", "bob/x")) == RefusalKind.PERMISSION
    assert kind_of(check("hf_alice", "club/x")) == RefusalKind.PERMISSION
    assert HubStore(stage.url, "hf_narrow").check_write("x") == "alice/x"


def test_an_absent_repo_is_created_and_an_existing_one_left_as_it_is(store: HubStore) -> None:
    head = store.ensure_repo("alice/one", private=False)
    assert head == store.head("alice/one")
    assert store.ensure_repo("alice/one", private=True) == head
    assert HubStore(store._endpoint, "hf_bob").head("alice/one") == head


def test_a_private_repo_is_absent_for_the_anonymous_whatever_is_logged_in(
    store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.ensure_repo("alice/one", private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    anonymous = HubStore(store._endpoint, None)
    assert anonymous.head("alice/one") is None
    with pytest.raises(NotFound):
        anonymous.files("alice/one", "main")
    assert store.head("alice/one") is not None
    assert store.head("alice/one", "v9") is None


def test_a_commit_is_one_request_and_lands_whole(
    store: HubStore, stage: Stage, adapter: dict[str, Path], tmp_path: Path
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    oid = store.commit(
        "alice/one", adapter, message="publish", description="run 7", parent_commit=parent
    )
    assert store.head("alice/one") == oid
    files = store.files("alice/one", oid)
    assert set(files) == {".gitattributes", *adapter}
    weights, config = files["adapter_model.safetensors"], files["adapter_config.json"]
    assert weights.sha256 == sha256_file(adapter["adapter_model.safetensors"])
    assert weights.size_bytes == len(WEIGHTS)
    assert config.sha256 is None
    assert config.git_oid == git_blob_oid(adapter["adapter_config.json"])
    for name, file in adapter.items():
        assert store.digest_of("alice/one", oid, name) == sha256_file(file)
        store.download("alice/one", oid, name, tmp_path / name)
        assert (tmp_path / name).read_bytes() == file.read_bytes()
    asked = stage.app.state.requests
    assert sum("/commit/" in path for _, path in asked) == 1


def test_publishing_the_same_files_again_makes_no_commit(
    store: HubStore, adapter: dict[str, Path]
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    oid = store.commit("alice/one", adapter, message="publish", parent_commit=parent)
    files = store.files("alice/one", oid)
    assert all(files[name].same_as(file) for name, file in adapter.items())
    assert store.commit("alice/one", adapter, message="again", parent_commit=oid) == oid
    assert store.head("alice/one") == oid
    for name, file in adapter.items():
        file.write_bytes(file.read_bytes()[::-1])
        assert not files[name].same_as(file)


def test_files_can_be_replaced_and_deleted_in_one_commit(
    store: HubStore, adapter: dict[str, Path]
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    first = store.commit("alice/one", adapter, message="publish", parent_commit=parent)
    adapter["adapter_config.json"].write_text('{"r": 8}')
    second = store.commit(
        "alice/one",
        {"adapter_config.json": adapter["adapter_config.json"]},
        message="smaller",
        parent_commit=first,
        delete=["README.md"],
    )
    files = store.files("alice/one", second)
    assert "README.md" not in files
    assert files["adapter_config.json"].same_as(adapter["adapter_config.json"])
    assert "README.md" in store.files("alice/one", first)


def test_a_commit_on_a_stale_parent_is_a_conflict_and_uploads_nothing(
    store: HubStore, stage: Stage, adapter: dict[str, Path]
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    config = {"adapter_config.json": adapter["adapter_config.json"]}
    store.commit("alice/one", config, message="first", parent_commit=parent)
    with pytest.raises(Conflict, match="somebody committed"):
        store.commit("alice/one", adapter, message="second", parent_commit=parent)
    asked = stage.app.state.requests
    assert not any(method == "PUT" for method, _ in asked)


def test_of_two_racing_commits_one_wins_and_the_other_is_a_conflict(
    store: HubStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    start = threading.Barrier(2)
    send = HfApi.create_commit

    def together(*args: Any, **options: Any) -> Any:
        # Both have passed the check of the head by now: only the Hub can tell them apart.
        start.wait(timeout=30)
        return send(*args, **options)

    monkeypatch.setattr(HfApi, "create_commit", together)

    def attempt(name: str) -> str:
        file = tmp_path / name
        file.write_text(name)
        try:
            return store.commit("alice/one", {name: file}, message=name, parent_commit=parent)
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(2) as pool:
        results = set(pool.map(attempt, ["a.txt", "b.txt"]))
    assert results == {"conflict", store.head("alice/one")}


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_without_a_trustworthy_answer_is_ambiguous_and_sent_once(
    store: HubStore, stage: Stage, adapter: dict[str, Path], clock: FakeClock, after: bool
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    fault = Fault("POST", "/commit/", after=after, times=2)
    stage.faults = [fault]
    with pytest.raises(Ambiguous):
        store.commit("alice/one", adapter, message="m", description="token-7", parent_commit=parent)
    assert fault.times == 1
    assert clock.slept_s == []
    found = store.find_commit("alice/one", "token-7")
    assert found == (store.head("alice/one") if after else None)
    assert (store.head("alice/one") != parent) is after


def test_a_hub_that_does_not_answer_is_given_up_on(
    stage: Stage, adapter: dict[str, Path], clock: FakeClock
) -> None:
    store = HubStore(stage.url, "hf_alice", timeout_s=0.3, clock=clock)
    parent = store.ensure_repo("alice/one", private=True)
    stage.faults = [Fault("POST", "/commit/", hang=True)]
    with pytest.raises(Ambiguous, match="timed out"):
        store.commit("alice/one", adapter, message="m", parent_commit=parent)
    # The client passes "no timeout" for this one, unless told otherwise.
    stage.faults = [Fault("GET", "/api/models/alice/one", hang=True)]
    assert store.head("alice/one") == parent
    assert len(clock.slept_s) == 1


def test_too_many_requests_is_a_refusal_for_a_commit_and_a_wait_for_a_read(
    store: HubStore, stage: Stage, adapter: dict[str, Path], clock: FakeClock
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    limited = {"ratelimit": '"api";r=0;t=21'}
    stage.faults = [Fault("POST", "/commit/", status=429, headers=limited)]
    with pytest.raises(Refused) as caught:
        store.commit("alice/one", adapter, message="m", parent_commit=parent)
    assert caught.value.kind == RefusalKind.QUOTA
    assert caught.value.retry_after_s == 21
    stage.faults = [Fault("GET", "/refs", status=429, headers={"retry-after": "7"})]
    assert store.tags("alice/one") == {}
    assert clock.slept_s == [7]


def test_creating_and_tagging_survive_answers_that_were_lost(
    store: HubStore, stage: Stage, clock: FakeClock
) -> None:
    stage.faults = [
        Fault("POST", "/api/repos/create", after=True),
        Fault("POST", "/tag/", after=True),
        Fault("GET", "/api/whoami-v2", times=2),
    ]
    assert store.check_write("one") == "alice/one"
    head = store.ensure_repo("alice/one", private=True)
    store.tag("alice/one", "v1", "main")
    assert store.tags("alice/one") == {"v1": head}
    assert len(clock.slept_s) == 4


def test_a_hub_that_stays_down_is_ambiguous(store: HubStore, stage: Stage) -> None:
    stage.faults = [Fault("GET", "/", status=502, times=99)]
    for call in (
        lambda: store.head("alice/one"),
        lambda: store.tags("alice/one"),
        lambda: store.find_commit("alice/one", "x"),
        lambda: store.digest_of("alice/one", "main", "a.txt"),
    ):
        with pytest.raises(Ambiguous):
            call()


def test_a_hub_that_nobody_serves_is_ambiguous(stage: Stage, clock: FakeClock) -> None:
    with AppServer(stage.app) as server:
        gone = server.url
    with pytest.raises(Ambiguous):
        HubStore(gone, "hf_alice", clock=clock).head("alice/one")
    assert len(clock.slept_s) == 4


def test_a_tag_is_made_once_and_never_moved(store: HubStore, adapter: dict[str, Path]) -> None:
    first = store.ensure_repo("alice/one", private=True)
    store.tag("alice/one", "v1", "main")
    store.tag("alice/one", "v1", first)
    second = store.commit("alice/one", adapter, message="m", parent_commit=first)
    with pytest.raises(Conflict, match="not moved"):
        store.tag("alice/one", "v1", second)
    assert store.tags("alice/one") == {"v1": first}
    with pytest.raises(NotFound):
        store.tag("alice/one", "v2", "nowhere")


def test_a_commit_is_found_by_what_its_text_says(store: HubStore, adapter: dict[str, Path]) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    config = {"c.json": adapter["adapter_config.json"]}
    marked = store.commit(
        "alice/one", config, message="m", description="Run: r-12", parent_commit=parent
    )
    later = store.commit(
        "alice/one", {"d.json": config["c.json"]}, message="r-13", parent_commit=marked
    )
    assert store.find_commit("alice/one", "r-12") == marked
    assert store.find_commit("alice/one", "r-13") == later
    assert store.find_commit("alice/one", "r-12", limit=1) is None
    assert store.find_commit("alice/one", "r-99") is None


def test_a_download_with_another_checksum_leaves_no_file(
    store: HubStore, adapter: dict[str, Path], tmp_path: Path
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    oid = store.commit("alice/one", adapter, message="m", parent_commit=parent)
    target = tmp_path / "got"
    target.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        remote = store.files("alice/one", oid)[name]
        (kept,) = (tmp_path / "hub").rglob(remote.sha256 or remote.git_oid or "")
        kept.write_bytes(kept.read_bytes()[::-1])
        with pytest.raises(Corrupt):
            store.download("alice/one", oid, name, target / name)
    with pytest.raises(NotFound):
        store.download("alice/one", oid, "absent", target / "absent")
    assert list(target.iterdir()) == []


def test_a_file_that_is_not_there_or_a_card_that_is_wrong_is_refused(
    store: HubStore, adapter: dict[str, Path], tmp_path: Path
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    with pytest.raises(InputError, match="is not a file"):
        store.commit("alice/one", {"a": tmp_path / "a"}, message="m", parent_commit=parent)
    with pytest.raises(InputError, match="commit id"):
        store.commit("alice/one", adapter, message="m", parent_commit="main")
    with pytest.raises(NotFound):
        store.commit("alice/none", adapter, message="m", parent_commit=parent)
    adapter["README.md"].write_text("---\nlicense: mine\n---\n")
    with pytest.raises(Refused, match="license") as caught:
        store.commit("alice/one", adapter, message="m", parent_commit=parent)
    assert caught.value.kind == RefusalKind.INVALID
    assert store.head("alice/one") == parent


def test_an_upload_that_is_refused_is_no_bare_runtime_error(
    store: HubStore, stage: Stage, adapter: dict[str, Path]
) -> None:
    parent = store.ensure_repo("alice/one", private=True)
    stage.faults = [Fault("PUT", "/lfs-storage/", status=403)]
    assert (
        kind_of(lambda: store.commit("alice/one", adapter, message="m", parent_commit=parent))
        == RefusalKind.PERMISSION
    )


def test_xet_is_off_even_if_the_client_was_imported_before(
    store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    store.head("alice/one")
    assert huggingface_hub.constants.HF_HUB_DISABLE_XET is True
