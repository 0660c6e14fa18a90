"""Commits of files to private repos: once, and only what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Ambiguous, Conflict, InputError, RefusalKind, Refused
from orchestrator.stores.hub_commits import HubCommits
from tests.services.vertex_bench import TestClock
from tests.stores.hub_stage import WEIGHTS, HubStage, hub_stage

REPO = "alice/orchestrator-staging"
COMMIT = ("POST", f"/api/datasets/{REPO}/commit/main")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[HubStage]:
    with hub_stage(tmp_path) as opened:
        yield opened


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def commits(stage: HubStage, clock: TestClock) -> HubCommits:
    return HubCommits(stage.url, "hf_alice", clock)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {"job.py": b"print(1)\n", "rows.jsonl": b"{}\n", "weights.safetensors": WEIGHTS}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {f"code/{name}": folder / name for name in contents}


def held(stage: HubStage, revision: str) -> set[str]:
    return set(stage.api.list_repo_files(REPO, repo_type="dataset", revision=revision))


def commit_requests(stage: HubStage) -> int:
    return stage.requests.count(COMMIT)


def test_a_private_repo_is_created_and_holds_all_files_in_one_commit(
    stage: HubStage, commits: HubCommits, files: dict[str, Path], tmp_path: Path
) -> None:
    revision = commits.commit_files(REPO, "dataset", files, message="Stage run-1")
    info = stage.api.dataset_info(REPO)

    assert info.private
    assert info.sha == revision
    assert held(stage, revision) >= set(files)
    assert commit_requests(stage) == 1
    assert stage.api.list_repo_commits(REPO, repo_type="dataset")[0].title == "Stage run-1"
    for path, file in files.items():
        fetched = stage.api.hf_hub_download(
            REPO, path, repo_type="dataset", revision=revision, local_dir=tmp_path / "back"
        )
        assert Path(fetched).read_bytes() == file.read_bytes()


def test_models_can_be_committed_to_as_well(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    revision = commits.commit_files("lab/base", "model", files)
    assert stage.api.model_info("lab/base").sha == revision


def test_a_branch_that_others_committed_to_is_not_deleted(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    left = commits.commit_files("lab/base", "model", files, branch="candidate-1")
    (path, file), *_ = files.items()
    moved = commits.commit_files(
        "lab/base", "model", {f"{path}.theirs": file}, branch="candidate-1"
    )
    with pytest.raises(Conflict, match="has moved on"):
        commits.delete_branch("lab/base", "candidate-1", at=left)
    commits.delete_branch("lab/base", "candidate-1", at=moved)
    commits.delete_branch("lab/base", "candidate-1", at=moved)
    commits.delete_branch("lab/none", "candidate-1", at=moved)
    assert [one.name for one in stage.api.list_repo_refs("lab/base").branches] == ["main"]


def test_what_is_there_is_not_sent_again_and_makes_no_commit(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    first = commits.commit_files(REPO, "dataset", files)
    stage.requests.clear()

    assert commits.commit_files(REPO, "dataset", files) == first
    assert commits.commit_files(REPO, "dataset", {}) == first
    assert commit_requests(stage) == 0
    assert not any("preupload" in path or "lfs" in path for _, path in stage.requests)


def test_only_what_is_new_or_changed_is_sent_and_the_rest_stays(
    stage: HubStage, commits: HubCommits, files: dict[str, Path], tmp_path: Path
) -> None:
    commits.commit_files(REPO, "dataset", files)
    files["code/job.py"].write_bytes(b"print(2)\n")
    more = tmp_path / "more.jsonl"
    more.write_bytes(b"{}\n{}\n")
    stage.requests.clear()
    revision = commits.commit_files(REPO, "dataset", {**files, "staged/more.jsonl": more})

    assert held(stage, revision) >= {*files, "staged/more.jsonl"}
    assert commit_requests(stage) == 1
    assert not any("lfs" in path for _, path in stage.requests), "the weights were not sent again"
    script = stage.api.hf_hub_download(
        REPO, "code/job.py", repo_type="dataset", revision=revision, local_dir=tmp_path / "back"
    )
    assert Path(script).read_bytes() == b"print(2)\n"


def test_a_commit_of_others_in_between_is_kept_and_ours_comes_after_it(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    commits.commit_files(REPO, "dataset", {})
    stage.before[COMMIT] = lambda: stage.put(REPO, {"theirs.txt": b"1"}, kind="dataset")
    revision = commits.commit_files(REPO, "dataset", files)
    assert held(stage, revision) >= {*files, "theirs.txt"}


def test_a_commit_whose_answer_was_lost_is_found_and_not_made_again(
    stage: HubStage, commits: HubCommits, files: dict[str, Path], clock: TestClock
) -> None:
    stage.lose.append(COMMIT)
    revision = commits.commit_files(REPO, "dataset", files)

    assert held(stage, revision) >= set(files)
    assert commit_requests(stage) == 1
    assert clock.slept_s == [1.0]


def test_a_repo_whose_creation_lost_its_answer_is_used(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    stage.lose.append(("POST", "/api/repos/create"))
    assert held(stage, commits.commit_files(REPO, "dataset", files)) >= set(files)


def test_a_commit_that_never_gets_an_answer_is_given_up(
    stage: HubStage, commits: HubCommits, files: dict[str, Path], clock: TestClock
) -> None:
    stage.fail.append(COMMIT)
    with pytest.raises(Ambiguous, match="commit to"):
        commits.commit_files(REPO, "dataset", files)
    assert commit_requests(stage) == 5
    assert clock.slept_s == [1.0, 2.0, 4.0, 8.0]


def test_what_the_client_repeats_by_itself_is_not_repeated_here(
    stage: HubStage,
    commits: HubCommits,
    files: dict[str, Path],
    clock: TestClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client sleeps between its own tries, and can be told so in no other way.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    asking = ("POST", f"/api/datasets/{REPO}/preupload/main")
    stage.fail.append(asking)
    with pytest.raises(Ambiguous, match="commit to"):
        commits.commit_files(REPO, "dataset", files)
    assert stage.requests.count(asking) == 6
    assert commit_requests(stage) == 0
    assert clock.slept_s == []


def test_rows_are_never_put_where_everybody_sees_them(
    stage: HubStage, commits: HubCommits, files: dict[str, Path]
) -> None:
    stage.api.create_repo(REPO, repo_type="dataset", private=False)
    with pytest.raises(InputError, match="is public"):
        commits.commit_files(REPO, "dataset", files)
    assert commit_requests(stage) == 0


def test_a_token_that_may_not_write_is_refused_and_nothing_is_sent(
    stage: HubStage, files: dict[str, Path]
) -> None:
    for token, repo in (("hf_reader", REPO), ("hf_bob", REPO)):
        with pytest.raises(Refused) as raised:
            HubCommits(stage.url, token, TestClock()).commit_files(repo, "dataset", files)
        assert raised.value.kind is RefusalKind.PERMISSION
    assert commit_requests(stage) == 0


def test_files_and_names_that_cannot_be_are_input_errors_before_anything_is_asked(
    stage: HubStage, commits: HubCommits, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file") as raised:
        commits.commit_files(REPO, "dataset", {"a": tmp_path / "absent"})
    assert "absent" in str(raised.value)
    for name in ("staging", "a b/c", "a/b/c"):
        with pytest.raises(InputError):
            commits.commit_files(name, "dataset", {})
    assert stage.requests == []


def test_a_commit_whose_connection_breaks_is_looked_for_too(
    stage: HubStage, commits: HubCommits, files: dict[str, Path], clock: TestClock
) -> None:
    commits.commit_files(REPO, "dataset", {})
    stage.hang_up.append(COMMIT)
    assert held(stage, commits.commit_files(REPO, "dataset", files)) >= set(files)
    assert commit_requests(stage) == 1
    assert clock.slept_s == [1.0]
