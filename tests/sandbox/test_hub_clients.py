"""The Hub face, judged by other people's programs and by the Hub's public description."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import jsonschema
import pytest
from huggingface_hub import HfApi

from orchestrator.digests import sha256_file
from tests.sandbox.hub_stage import CARD, WEIGHTS, Stage, put, served

ALICE = {"authorization": "Bearer hf_alice"}
PUSH_A_CARD = """
import sys
from huggingface_hub import ModelCard, ModelCardData
data = ModelCardData(base_model="google/gemma-3-270m", license="mit", library_name="peft")
card = ModelCard(f"---\\n{data.to_yaml()}\\n---\\n# Card\\n")
print(card.push_to_hub("alice/one"))
card.data.license = "mine"
try:
    card.validate()
except ValueError as error:
    print("refused", "license" in str(error))
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with served() as stage:
        yield stage


@pytest.fixture
def api(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    stage.open(tmp_path / "hub")
    api = HfApi(endpoint=stage.url, token="hf_alice")
    api.create_repo("one")
    return api


def run(stage: Stage, home: Path, *command: str) -> str:
    """Run a program that knows the Hub from its environment alone."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": stage.url,
        "HF_TOKEN": "hf_alice",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        command, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hubs_own_commands_upload_and_download(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text("{}")
    hf = str(Path(sys.executable).with_name("hf"))
    run(stage, tmp_path, hf, "upload", "alice/one", str(folder), "--commit-message", "by hand")
    run(stage, tmp_path, hf, "download", "alice/one", "--local-dir", str(tmp_path / "got"))
    assert (tmp_path / "got/adapter_model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "got/adapter_config.json").read_text() == "{}"
    assert api.list_repo_commits("alice/one")[0].title == "by hand"


def test_a_model_card_is_checked_and_pushed(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    said = run(stage, tmp_path, sys.executable, "-c", PUSH_A_CARD)
    assert "refused True" in said
    card = api.model_info("alice/one").card_data
    assert card is not None
    assert card.license == "mit"


def upload_address(stage: Stage, oid: str, size_bytes: int) -> str:
    reply = httpx2.post(
        f"{stage.url}/alice/one.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [{"oid": oid, "size": size_bytes}]},
        headers=ALICE,
    )
    address: str = reply.json()["objects"][0]["actions"]["upload"]["href"]
    return address


def test_an_upload_address_takes_only_what_it_was_made_for(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(WEIGHTS)
    oid = sha256_file(file)
    address = upload_address(stage, oid, len(WEIGHTS))
    other = "0" * 64
    assert httpx2.put(address, content=WEIGHTS[::-1]).status_code == 400
    assert httpx2.put(address, content=WEIGHTS[:-1]).status_code == 400
    assert httpx2.put(address, content=WEIGHTS + b"x").status_code == 400
    assert httpx2.put(address.replace(oid, other), content=WEIGHTS).status_code == 403
    assert httpx2.put(address + "0", content=WEIGHTS).status_code == 403
    verify = f"{stage.url}/alice/one.git/info/lfs/verify"
    body = {"oid": oid, "size": len(WEIGHTS)}
    assert httpx2.post(verify, json=body, headers=ALICE).status_code == 404
    assert httpx2.put(address, content=WEIGHTS).status_code == 200
    assert httpx2.post(verify, json=body, headers=ALICE).status_code == 200
    assert not list((tmp_path / "hub/drafts").iterdir())


def test_knowing_a_digest_does_not_give_another_repos_content(stage: Stage, api: HfApi) -> None:
    api.create_repo("secret", private=True)
    put(api, "alice/secret", {"w.bin": WEIGHTS})
    bob = HfApi(endpoint=stage.url, token="hf_bob")
    bob.create_repo("copy")
    secret = api.model_info("alice/secret", files_metadata=True).siblings or []
    (lfs,) = [one.lfs for one in secret if one.lfs]
    reply = httpx2.post(
        f"{stage.url}/bob/copy.git/info/lfs/objects/batch",
        json={"operation": "upload", "objects": [{"oid": lfs.sha256, "size": lfs.size}]},
        headers={"authorization": "Bearer hf_bob"},
    )
    assert "upload" in reply.json()["objects"][0]["actions"]


def schema(path: str, method: str, status: int = 200) -> dict[str, Any]:
    folder = os.environ.get("ORCHESTRATOR_DATA")
    if not folder:
        pytest.skip("ORCHESTRATOR_DATA is not set: the Hub's public description is not at hand")
    text = (Path(folder) / "hub-openapi/openapi.json").read_text(encoding="utf-8")
    operation = json.loads(text)["paths"][path][method]
    found: dict[str, Any] = operation["responses"][str(status)]["content"]["application/json"]
    return dict(found["schema"])


def without(items: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != name} for one in items]


REPO = "/api/models/{namespace}/{repo}"


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/api/whoami-v2", "get", None, 200),
        ("/api/repos/create", "post", {"name": "new"}, 200),
        ("/api/repos/create", "post", {"name": "one"}, 409),
        (f"{REPO}/refs", "get", None, 200),
        (f"{REPO}/commits/{{rev}}", "get", None, 200),
        (f"{REPO}/tree/{{rev}}/{{path}}", "get", None, 200),
        (f"{REPO}/paths-info/{{rev}}", "post", {"paths": ["d/w.bin", "d"], "expand": True}, 200),
        (f"{REPO}/preupload/{{rev}}", "post", {"files": [{"path": "a", "size": 1}]}, 200),
        (f"{REPO}/commit/{{rev}}", "post", {"key": "header", "value": {"summary": "s"}}, 200),
        (f"{REPO}/settings", "put", {"private": True}, 200),
    ],
)
def test_replies_are_as_the_public_description_says(
    stage: Stage, api: HfApi, path: str, method: str, body: dict[str, Any] | None, status: int
) -> None:
    expected = schema(path, method, status)
    put(api, "alice/one", {"README.md": CARD.encode(), "d/w.bin": WEIGHTS, "d/a.txt": b"a"})
    api.create_tag("alice/one", tag="v1")
    for file in (body or {}).get("files", []):
        file["sample"] = base64.b64encode(b"x").decode()
    address = path.format(namespace="alice", repo="one", rev="main", path="d")
    query = {"expand": "formatted" if "commits" in path else "true", "include_prs": "1"}
    reply = httpx2.request(method, f"{stage.url}{address}", json=body, params=query, headers=ALICE)
    assert reply.status_code == status, reply.text
    value = reply.json()
    # Two places where the description lacks what the Hub's client cannot do without: the path of
    # an item of the tree, and the digest of an LFS file in paths-info.
    if "/tree/" in path:
        assert {one["path"] for one in value} == {"d/a.txt", "d/w.bin"}
        value = without(value, "path")
    if "/paths-info/" in path:
        assert value[0]["lfs"]["size"] == len(WEIGHTS)
        value = without(value, "lfs")
    jsonschema.Draft202012Validator(expected).validate(value)
