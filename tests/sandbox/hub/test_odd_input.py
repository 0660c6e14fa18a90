"""Requests and files that no client of the Hub would send, and that must not break the face."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from huggingface_hub import HfApi
from starlette.types import Message, Scope

from orchestrator.sandbox.hub.app import hub_app
from tests.sandbox.hub.stage import ACCOUNTS, ALICE, WEIGHTS, Stage, put

REPO = "/api/models/alice/one"
LONG = "9" * 5000
HEADER = {"key": "header", "value": {"summary": "change"}}


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


def lines(*values: Any) -> bytes:
    return b"\n".join(json.dumps(value).encode() for value in values)


def commit(stage: Stage, *values: Any) -> httpx2.Response:
    body = lines(HEADER, *values)
    return httpx2.post(f"{stage.url}{REPO}/commit/main", content=body, headers=ALICE)


def file(path: str, content: bytes = b"x") -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": text, "encoding": "base64"}}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((f"{REPO}/tree/main?{name}={LONG}", 400) for name in ("limit", "cursor")),
        *((f"{REPO}/commits/main?{name}={LONG}", 400) for name in ("limit", "p")),
        (f"{REPO}/lfs-files?cursor={LONG}", 400),
        (f"{REPO}/discussions?p={LONG}", 400),
        (f"{REPO}/discussions/{LONG}", 404),
        (f"{REPO}/revision/refs%2Fpr%2F{LONG}", 404),
        (f"{REPO}/revision/a%00b%1b%7f%C2%85c", 404),
        (f"{REPO}/tree/main/a%00b", 404),
        ("/alice/one/resolve/main/a%00%0d%0aX-Y:%20z", 404),
        (f"/api/models?limit={LONG}", 400),
    ],
)
def test_odd_addresses_are_refused_in_the_hubs_words(
    stage: Stage, api: HfApi, path: str, status: int
) -> None:
    reply = httpx2.get(f"{stage.url}{path}", headers=ALICE)
    assert (reply.status_code, type(reply.json()["error"])) == (status, str)
    assert "x-y" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/repos/create", {"name": "two", "type": ["model"]}, 501),
        ("DELETE", "/api/repos/delete", {"name": "one", "type": {"a": 1}}, 501),
        ("POST", "/api/repos/move", {"fromRepo": "a/b", "toRepo": "c/d", "type": ["x"]}, 501),
        (
            "POST",
            f"{REPO}/preupload/main",
            {"files": [{"path": "a", "size": 1, "sample": "é"}]},
            422,
        ),
        ("POST", f"{REPO}/discussions", {"title": "ab", "description": "d"}, 400),
        ("POST", f"{REPO}/discussions", {"title": "a" * 201, "description": "d"}, 400),
        ("POST", f"{REPO}/discussions", {"title": "abc", "description": ""}, 200),
        ("POST", "/api/validate-yaml", {"content": "---\nmade: 2026-13-45\n---\n"}, 400),
        ("POST", "/api/validate-yaml", {"content": f"---\na: {'[' * 3000}\n---\n"}, 400),
        ("POST", "/api/validate-yaml", {"content": "---\na: &a [*a]\n---\n"}, 400),
    ],
)
def test_odd_bodies_are_refused(
    stage: Stage, api: HfApi, method: str, path: str, body: Any, status: int
) -> None:
    reply = httpx2.request(method, f"{stage.url}{path}", json=body, headers=ALICE, timeout=60)
    assert reply.status_code == status, reply.text


@pytest.mark.parametrize(
    "line",
    [
        {"key": ["file"], "value": {}},
        {"key": {}, "value": {}},
        {"key": "file", "value": {"path": "a", "content": "é", "encoding": "base64"}},
        {"key": "lfsFile", "value": {"path": "folder/", "algo": "sha256"}},
    ],
)
def test_odd_lines_make_no_commit(stage: Stage, api: HfApi, line: Any) -> None:
    (sent,) = httpx2.post(
        f"{stage.url}/alice/one.git/info/lfs/objects/batch",
        json={
            "operation": "upload",
            "objects": [{"oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)}],
        },
        headers=ALICE,
    ).json()["objects"]
    assert httpx2.put(sent["actions"]["upload"]["href"], content=WEIGHTS).status_code == 200
    if line["key"] == "lfsFile":
        line["value"] |= {"oid": sent["oid"], "size": sent["size"]}
    assert commit(stage, line).status_code == 400
    assert len(api.list_repo_commits("alice/one")) == 1


NAMES = [
    *("../up", "/etc/passwd", "a/../b", "./a", "a//b", "a/.", "a\0b", "a\nb", "a\x7fb", "a" * 1001),
    *(".git/config", ".GIT/config", "a/.Git/x", "git~1/x", "GIT~1", ".git /x", ".git./x"),
    *(".git::$INDEX_ALLOCATION/x", ".git\\x", ".gitmodules", "..a", "a..b", "x\\y", "CON", " a "),
    *(
        "café",
        "cafe\u0301",
        "全角\u3000名",
        "a\u00a0b",
        "\U0001f468\u200d\U0001f469.txt",
        "a" * 255,
    ),
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_taken_if_git_takes_it(
    stage: Stage, api: HfApi, tmp_path: Path, name: str
) -> None:
    status = commit(stage, file(name)).status_code
    assert status == (200 if _git_takes(tmp_path / "git", name) else 400)
    if status == 200:
        address = f"{stage.url}/alice/one/resolve/main/{quote(name)}"
        reply = httpx2.get(address, headers=ALICE, follow_redirects=True)
        assert (reply.status_code, reply.content) == (200, b"x")
        assert name in api.list_repo_files("alice/one")


def _git_takes(folder: Path, name: str) -> bool:
    """Whether git's index takes a name. It takes control characters, which the face does not."""
    if len(name) > 1000 or any(ord(one) < 32 or ord(one) == 127 for one in name):
        return False
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(folder), "HOME": str(folder)}
    command = ["git", "init", "-q", "--bare", str(folder)]
    subprocess.run(command, env=env, check=True)
    entry = f"100644,{'0' * 39}1,{name}"
    command = ["git", "-c", "core.protectNTFS=true", "update-index", "--add", "--cacheinfo", entry]
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


def test_names_with_spaces_of_any_alphabet_go_to_lfs(stage: Stage, api: HfApi) -> None:
    names = ["全角\u3000名.dat", "a b.dat", "no\u00a0break.dat"]
    put(api, "alice/one", dict.fromkeys(names, b"\0" + WEIGHTS))
    files = [{"path": name, "size": 9, "sample": ""} for name in [*names, "b.dat"]]
    reply = httpx2.post(
        f"{stage.url}{REPO}/preupload/main", json={"files": files}, headers=ALICE
    ).json()
    assert [one["uploadMode"] for one in reply["files"]] == ["lfs", "lfs", "lfs", "regular"]


@pytest.mark.parametrize(
    ("card", "kept"),
    [
        ("x: .nan", None),
        ("x: [.inf, -.inf, 1.5]", [None, None, 1.5]),
        ("x: !!binary aGk=", "aGk="),
        ("x: !!set {a}", {"a": None}),
        ('x: "a\\ud800"', "a?"),
        ("x: 2026-11-21", "2026-11-21"),
    ],
)
def test_a_card_with_values_that_json_lacks_can_be_read(
    stage: Stage, api: HfApi, card: str, kept: Any
) -> None:
    put(api, "alice/one", {"README.md": f"---\n{card}\n---\n".encode()})
    info = httpx2.get(f"{stage.url}{REPO}", headers=ALICE)
    assert info.json()["cardData"] == {"x": kept}
    listed = httpx2.get(f"{stage.url}/api/models?cardData=true", headers=ALICE)
    assert [one["cardData"] for one in listed.json()] == [{"x": kept}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"quantization_config": {"x": NaN}}'),
        ("config.json", b'{"model_type": "\\ud800"}'),
        ("config.json", b"[" * 100_000),
        ("model.safetensors.index.json", b'{"weight_map": {"a": ["b"], "c": {}}}'),
    ],
)
def test_a_file_that_cannot_be_described_is_left_out(
    stage: Stage, api: HfApi, name: str, content: bytes
) -> None:
    put(api, "alice/one", {name: content})
    info = httpx2.get(f"{stage.url}{REPO}", headers=ALICE)
    assert info.status_code == 200
    assert not {"config", "safetensors"} & set(info.json())


def test_a_configuration_with_a_byte_order_mark_is_read(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"config.json": b'\xef\xbb\xbf{"model_type": "llama"}'})
    info = httpx2.get(f"{stage.url}{REPO}", headers=ALICE)
    assert info.json()["config"] == {"model_type": "llama"}


def test_a_client_that_hangs_up_is_no_error(tmp_path: Path) -> None:
    app = hub_app(tmp_path / "hub", ACCOUNTS)
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        told.append(message)

    path = f"{REPO}/commit/main"
    scope: Scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}
    scope.update(headers=[], query_string=b"", server=("127.0.0.1", 1), scheme="http")
    asyncio.run(app(scope, receive, send))
    assert told[0]["status"] == 400
