"""Prepared rows go to the Hub as a dataset: nothing private, at once, and once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import orjson
import pytest

from orchestrator.cli import run
from orchestrator.dataset_publishing import DataRequest, publish_data
from orchestrator.digests import sha256_file
from orchestrator.errors import InputError
from orchestrator.spec import load_spec
from orchestrator.stores.hub_trees import HubTrees
from tests.publishing.data_command import REPO, commits, publish, read
from tests.router_spec import ROUTER, SAMPLE, changed, plan
from tests.stores.hub_stage import HubStage

FILES = {"README.md", "summary.json", *(f"data/{s}.jsonl" for s in ("train", "validation", "test"))}


def test_the_splits_their_summary_and_a_card_are_one_commit_with_a_tag(
    stage: HubStage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    done = publish(capsys, ROUTER, "--license", "mit")
    assert run(["prepare", str(ROUTER), "--out", str(tmp_path / "out"), "--json"]) == 0
    prepared = json.loads(capsys.readouterr().out)
    info = stage.api.dataset_info(REPO)
    assert info.private
    assert info.sha == done["revision"]
    assert {one.rfilename for one in info.siblings or []} == FILES | {".gitattributes"}
    for split in prepared["splits"]:
        path = f"data/{split['name']}.jsonl"
        local = tmp_path / "out" / f"{split['name']}.jsonl"
        assert read(stage, path, tmp_path) == local.read_bytes()
        assert done["files"][path] == split["sha256"] == sha256_file(local)
    assert commits(stage) == ["Publish rows of router-llama-3.1-8b", "initial commit"]
    (tag,) = stage.api.list_repo_refs(REPO, repo_type="dataset").tags
    assert (tag.name, tag.target_commit) == (done["tag"], done["revision"])


def test_the_same_again_changes_nothing(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(capsys, ROUTER)
    stage.requests.clear()
    again = publish(capsys, ROUTER)
    assert again == {**first, "committed": False}
    assert first["committed"]
    changing = [one for one in stage.requests if one[0] == "POST" and "validate" not in one[1]]
    assert changing == []


def test_other_rows_replace_them_and_what_they_do_not_have_goes(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(capsys, ROUTER)
    second = publish(capsys, ROUTER, "--limit", 20, "--without-test")
    assert set(second["files"]) == FILES - {"data/test.jsonl"}
    assert set(stage.api.list_repo_files(REPO, repo_type="dataset")) == {
        *second["files"],
        ".gitattributes",
    }
    # The first is there as it was, under its own tag.
    old = stage.api.list_repo_files(REPO, repo_type="dataset", revision=first["tag"])
    assert set(old) == FILES | {".gitattributes"}


def test_rows_that_come_back_keep_the_tag_that_they_had(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    first = publish(capsys, ROUTER)
    publish(capsys, ROUTER, "--limit", 20)
    third = publish(capsys, ROUTER)
    assert third["committed"]
    assert (third["tag"], third["files"]) == (first["tag"], first["files"])
    tags = stage.api.list_repo_refs(REPO, repo_type="dataset").tags
    assert {one.name: one.target_commit for one in tags}[first["tag"]] == first["revision"]
    assert len(tags) == 2


def test_a_tag_of_the_same_name_elsewhere_is_not_moved(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = publish(capsys, ROUTER)["tag"]
    stage.api.delete_repo(REPO, repo_type="dataset")
    stage.api.create_repo(REPO, repo_type="dataset", private=True)
    stage.api.create_tag(REPO, repo_type="dataset", tag=tag)
    assert f"has a tag {tag} at" in publish(capsys, ROUTER, code=2)


@pytest.fixture
def private_rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = SAMPLE.read_bytes().splitlines()
    row = {**orjson.loads(lines[0]), "prompt": "Mail jane.doe@acme.io and call +49 30 901820"}
    file.write_bytes(b"\n".join([*lines[1:], orjson.dumps(row)]) + b"\n")
    return file


def test_nothing_leaves_while_a_row_holds_what_is_private(
    stage: HubStage, capsys: pytest.CaptureFixture[str], private_rows: Path
) -> None:
    told = publish(capsys, ROUTER, "--data", private_rows, code=1)
    assert "nothing is published" in told
    assert re.search(r"data/\w+\.jsonl:\d+: e-mail address j…@….io", told)
    assert "phone number" in told
    assert "acme" not in told
    assert "redact: true" in told
    assert stage.requests == []


def test_rows_that_were_changed_since_they_were_prepared_do_not_leave(
    stage: HubStage, tmp_path: Path
) -> None:
    prepared = plan(tmp_path).data
    with (prepared.folder / "train.jsonl").open("a") as file:
        file.write('{"prompt": "p", "completion": "c"}\n')
    request = DataRequest(load_spec(tmp_path / "spec.yaml", "spec.yaml").spec, prepared, REPO)
    with pytest.raises(InputError, match=r"train\.jsonl was changed"):
        publish_data(request, HubTrees(stage.url, "hf_alice", kind="dataset"))
    assert stage.requests == []


def test_rows_that_the_spec_masks_are_published_masked(
    stage: HubStage, capsys: pytest.CaptureFixture[str], private_rows: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(changed("  format: prompt", "  redact: true\n  format: prompt"))
    done = publish(capsys, spec, "--data", private_rows)
    texts = [read(stage, path, tmp_path) for path in done["files"] if path.startswith("data/")]
    assert any(b"Mail [EMAIL] and call [PHONE]" in text for text in texts)
    assert not any(b"jane" in text for text in texts)
    assert "1 row was masked" in read(stage, "README.md", tmp_path).decode()


def test_a_public_repo_is_not_filled_unless_that_is_asked_for(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.api.create_repo(REPO, repo_type="dataset", private=False)
    told = publish(capsys, ROUTER, code=2)
    assert "is public: everybody would see the rows" in told
    assert commits(stage) == ["initial commit"]
    publish(capsys, ROUTER, "--public", "--yes")
    assert len(commits(stage)) == 2
    stage.api.update_repo_settings(REPO, repo_type="dataset", private=True)
    assert "does not change what is there" in publish(capsys, ROUTER, "--public", "--yes", code=2)


def test_what_everybody_may_see_is_confirmed_first(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    told = publish(capsys, ROUTER, "--public", code=2)
    assert "--yes" in told
    assert stage.requests == []


@pytest.mark.parametrize(
    "files",
    [{"mine.csv": b"a,b"}, {"data/train.jsonl": b"{}", "README.md": b"---\nlicense: mit\n---\n"}],
    ids=["other files", "a dataset of somebody's own"],
)
def test_a_repo_with_other_things_is_left_alone(
    stage: HubStage, capsys: pytest.CaptureFixture[str], files: dict[str, bytes]
) -> None:
    head = stage.put(REPO, files, kind="dataset")
    told = publish(capsys, ROUTER, code=2)
    assert "holds other things" in told
    assert sorted(files)[-1] in told
    assert stage.api.dataset_info(REPO).sha == head


def test_a_licence_that_the_hub_does_not_know_is_refused_before_there_is_a_repo(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    told = publish(capsys, ROUTER, "--license", "mine", code=2)
    assert "does not take the card" in told
    assert '"license" must be one of' in told
    assert list(stage.api.list_datasets(author="alice")) == []


def test_a_namespace_of_others_is_refused_before_there_is_a_repo(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["publish-data", str(ROUTER), "--repo", "bob/rows"]) == 2
    assert "may not write to bob/rows" in capsys.readouterr().err
    assert not [one for one in stage.requests if one[0] == "POST" and "create" in one[1]]


def test_a_commit_whose_answer_was_lost_is_found_again(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.lose.append(("POST", f"/api/datasets/{REPO}/commit/main"))
    done = publish(capsys, ROUTER)
    assert done["committed"]
    assert len(commits(stage)) == 2
    assert stage.lose == []


def test_a_race_is_lost_and_the_next_call_publishes(
    stage: HubStage, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(capsys, ROUTER, "--limit", 20)
    commit = ("POST", f"/api/datasets/{REPO}/commit/main")
    stage.before[commit] = lambda: stage.put(REPO, {"data/test.jsonl": b"{}\n"}, kind="dataset")
    told = publish(capsys, ROUTER, code=2)
    assert "somebody else committed" in told
    assert commits(stage)[0] == "put"
    publish(capsys, ROUTER)
    assert commits(stage)[0] == "Publish rows of router-llama-3.1-8b"


def test_other_bytes_than_ours_are_told(
    stage: HubStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubTrees, "serves", lambda *_: False)
    told = publish(capsys, ROUTER, code=1)
    assert "serves other bytes than ours" in told
    assert stage.api.list_repo_refs(REPO, repo_type="dataset").tags == []
