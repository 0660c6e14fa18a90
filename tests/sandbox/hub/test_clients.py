"""The Hub face, judged by the Hub's own command and by its model cards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.sandbox.hub.process import attempt, run
from tests.sandbox.hub.stage import WEIGHTS, Stage, put

HF = str(Path(sys.executable).with_name("hf"))
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


@pytest.fixture
def api(one: HfApi) -> HfApi:
    return one


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_hf_uploads_a_folder_and_downloads_it(
    stage: Stage, api: HfApi, adapter: Path, tmp_path: Path
) -> None:
    run(stage, tmp_path, HF, "upload", "alice/one", str(adapter), "--commit-message", "by hand")
    run(stage, tmp_path, HF, "download", "alice/one", "--local-dir", str(tmp_path / "got"))
    assert (tmp_path / "got/adapter_model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "got/adapter_config.json").read_text() == "{}"
    assert api.list_repo_commits("alice/one")[0].title == "by hand"


def test_hf_uploads_as_a_pull_request(
    stage: Stage, api: HfApi, adapter: Path, tmp_path: Path
) -> None:
    # A stranger: who may not write can propose.
    upload = (HF, "upload", "alice/one", str(adapter), "--create-pr")
    run(stage, tmp_path, *upload, token="hf_bob")
    assert api.list_repo_files("alice/one") == [".gitattributes"]
    assert "adapter_config.json" in api.list_repo_files("alice/one", revision="refs/pr/1")
    (proposal,) = api.get_repo_discussions("alice/one")
    assert proposal.is_pull_request
    assert proposal.author == "bob"


def test_hf_downloads_a_revision(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    put(api, "alice/one", {"a.txt": b"first"})
    api.create_tag("alice/one", tag="v1")
    put(api, "alice/one", {"a.txt": b"second"})
    got = run(stage, tmp_path, HF, "download", "alice/one", "a.txt", "--revision", "v1", "--quiet")
    assert Path(got.strip()).read_text() == "first"
    absent = attempt(stage, tmp_path, HF, "download", "alice/one", "a.txt", "--revision", "v9")
    assert absent.returncode != 0
    assert "Revision not found" in absent.stderr


def test_hf_makes_repos_tags_and_branches_and_removes_them(
    stage: Stage, api: HfApi, tmp_path: Path
) -> None:
    run(stage, tmp_path, HF, "repos", "create", "alice/new", "--private")
    assert api.model_info("alice/new").private is True
    run(stage, tmp_path, HF, "repos", "tag", "create", "alice/new", "v1", "-m", "first")
    run(stage, tmp_path, HF, "repos", "branch", "create", "alice/new", "dev")
    refs = api.list_repo_refs("alice/new")
    assert [tag.name for tag in refs.tags] == ["v1"]
    assert {branch.name for branch in refs.branches} == {"main", "dev"}
    assert "v1" in run(stage, tmp_path, HF, "repos", "tag", "list", "alice/new")
    run(stage, tmp_path, HF, "repos", "delete", "alice/new", "--yes")
    assert not api.repo_exists("alice/new")


def test_hf_says_who_one_is(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    assert "alice" in run(stage, tmp_path, HF, "auth", "whoami")
    stranger = attempt(stage, tmp_path, HF, "auth", "whoami", token="hf_invented")
    assert "alice" not in stranger.stdout


def test_a_model_card_is_checked_and_pushed(stage: Stage, api: HfApi, tmp_path: Path) -> None:
    said = run(stage, tmp_path, sys.executable, "-c", PUSH_A_CARD)
    assert "refused True" in said
    card = api.model_info("alice/one").card_data
    assert card is not None
    assert card.license == "mit"
