"""Rows from datasets on the Hub, through the real client, against the sandbox's Hub."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data_addresses import DatasetAddress, RemoteRows
from orchestrator.data_sources import resolve_source
from orchestrator.errors import Ambiguous, Corrupt, InputError, NotFound, Refused
from orchestrator.fetching import Fetcher
from orchestrator.progress import Silent
from orchestrator.settings import Settings
from orchestrator.stores import hub_files
from tests.fetching_bench import (
    ROWS,
    HubBench,
    add_dataset,
    fetcher_for,
    hub_bench,
    settings_for,
    spec_with,
)

#: Parquet goes through LFS, JSONL through git.
LARGE = bytes(range(256)) * 4096
FILES = {"data/b.parquet": LARGE, "data/a.parquet": LARGE[::-1], "rows.jsonl": ROWS * 3}


@pytest.fixture(scope="module")
def served() -> Iterator[HubBench]:
    with hub_bench() as bench:
        yield bench


@pytest.fixture
def bench(served: HubBench, tmp_path: Path) -> HubBench:
    served.open(tmp_path / "hub")
    return served


@pytest.fixture
def commit(bench: HubBench) -> str:
    return add_dataset(bench.api(), FILES)


@pytest.fixture
def settings(bench: HubBench, tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "home", hub_endpoint=bench.url, hub_token="hf_alice")


@pytest.fixture
def fetcher(settings: Settings) -> Fetcher:
    return fetcher_for(settings)


def only(fetcher: Fetcher, commit: str, path: str) -> RemoteRows:
    (found,) = fetcher.find(DatasetAddress("alice/rows", path, commit))
    return found


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*.part")]


@pytest.mark.parametrize("path", ["rows.jsonl", "data/a.parquet"])
def test_a_file_comes_whole_and_only_once(
    fetcher: Fetcher, bench: HubBench, commit: str, path: str
) -> None:
    rows = only(fetcher, commit, path)
    file = fetcher.bring(rows)
    assert file.read_bytes() == FILES[path]
    assert file.name == path.rpartition("/")[2]
    bench.requests.clear()
    assert fetcher.bring(only(fetcher, commit, path)) == file
    assert bench.requests == []


def test_a_pattern_means_its_files_in_order_and_fetches_the_later_ones_later(
    fetcher: Fetcher, bench: HubBench, commit: str, tmp_path: Path
) -> None:
    loaded = spec_with(tmp_path, f'  path: "hf://datasets/alice/rows@{commit}/data/*.parquet"')
    source = resolve_source(loaded, fetch=fetcher)
    files = source.iter_files()
    assert next(files).path.read_bytes() == FILES["data/a.parquet"]
    files.close()  # type: ignore[attr-defined]  # it is a generator
    asked = [path for _, path in bench.requests]
    assert not [path for path in asked if path.endswith(("b.parquet", "rows.jsonl", "README.md"))]


def test_a_pattern_goes_into_folders_only_where_it_says_so(fetcher: Fetcher, commit: str) -> None:
    def names(pattern: str) -> list[str]:
        return [rows.path for rows in fetcher.find(DatasetAddress("alice/rows", pattern, commit))]

    assert names("*.parquet") == []
    assert names("**/*.parquet") == ["data/a.parquet", "data/b.parquet"]
    assert names("*.jsonl") == ["rows.jsonl"]
    assert names("absent/*.jsonl") == []


def test_an_old_revision_stays_what_it_was(fetcher: Fetcher, bench: HubBench, commit: str) -> None:
    later = add_dataset(bench.api(), {"rows.jsonl": ROWS})
    assert fetcher.bring(only(fetcher, commit, "rows.jsonl")).read_bytes() == ROWS * 3
    assert fetcher.bring(only(fetcher, later, "rows.jsonl")).read_bytes() == ROWS
    assert fetcher.commit(DatasetAddress("alice/rows", "rows.jsonl")) == later
    downloads = bench.downloads()
    # The same content at another commit is not fetched again.
    fetcher.bring(only(fetcher, later, "data/a.parquet"))
    fetcher.bring(only(fetcher, commit, "data/a.parquet"))
    assert bench.downloads() == downloads + 1


def test_a_branch_in_the_spec_is_refused_with_its_commit(
    fetcher: Fetcher, commit: str, tmp_path: Path
) -> None:
    loaded = spec_with(tmp_path, '  path: "hf://datasets/alice/rows@main/rows.jsonl"')
    with pytest.raises(InputError, match="repeatable") as caught:
        resolve_source(loaded, fetch=fetcher)
    assert commit in caught.value.hint


@pytest.mark.parametrize(
    ("repo", "revision", "path", "said"),
    [
        ("alice/rows", None, "absent.jsonl", "does not exist"),
        ("alice/absent", None, "rows.jsonl", "alice/absent"),
        ("alice/rows", "f" * 40, "rows.jsonl", "alice/rows"),
    ],
)
def test_what_is_not_there_is_named(
    fetcher: Fetcher, commit: str, repo: str, revision: str | None, path: str, said: str
) -> None:
    with pytest.raises(NotFound, match=said):
        fetcher.find(DatasetAddress(repo, path, revision or commit))


def test_a_private_dataset_needs_the_token_and_never_shows_it(
    bench: HubBench, settings: Settings, tmp_path: Path
) -> None:
    api = bench.api()
    api.create_repo("alice/rows", repo_type="dataset", private=True)
    commit = add_dataset(api, {"rows.jsonl": ROWS})
    assert (
        fetcher_for(settings).bring(only(fetcher_for(settings), commit, "rows.jsonl")).read_bytes()
    )
    stranger = fetcher_for(
        settings_for(tmp_path / "other", hub_endpoint=bench.url, hub_token="hf_bob")
    )
    with pytest.raises(NotFound) as caught:
        only(stranger, commit, "rows.jsonl")
    assert "hf auth login" in caught.value.hint
    assert "write" not in caught.value.hint
    assert caught.value.message == f"{bench.url} shows no dataset alice/rows"
    assert "hf_bob" not in str(caught.value)


def test_a_token_that_the_hub_does_not_know_is_said_to_be_that(
    bench: HubBench, commit: str, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "other", hub_endpoint=bench.url, hub_token="hf_nonsense")
    with pytest.raises(Refused, match="does not take the token") as caught:
        only(fetcher_for(settings), commit, "rows.jsonl")
    assert "write" not in caught.value.hint
    assert "nonsense" not in str(caught.value)


def test_a_revision_that_is_gone_says_where_the_others_are(
    bench: HubBench, commit: str, fetcher: Fetcher
) -> None:
    with pytest.raises(NotFound, match="alice/rows has no such revision") as caught:
        only(fetcher, "a" * 40, "rows.jsonl")
    assert f"{bench.url}/datasets/alice/rows/commits" in caught.value.hint


@pytest.mark.parametrize("token", [None, "hf_bob"])
def test_a_gate_names_the_page_on_which_to_ask(
    bench: HubBench, commit: str, tmp_path: Path, token: str | None
) -> None:
    bench.api().update_repo_settings("alice/rows", repo_type="dataset", gated="auto")
    fetcher = fetcher_for(settings_for(tmp_path / "home", hub_endpoint=bench.url, hub_token=token))
    rows = only(fetcher, commit, "rows.jsonl")
    with pytest.raises(Refused, match="gated") as caught:
        fetcher.bring(rows)
    assert f"{bench.url}/datasets/alice/rows" in caught.value.hint
    assert ("hf auth login" in caught.value.hint) is (token is None)


@pytest.mark.parametrize("path", ["rows.jsonl", "data/a.parquet"])
def test_a_connection_that_ends_early_is_taken_up_where_it_ended(
    fetcher: Fetcher, bench: HubBench, commit: str, path: str
) -> None:
    keep = len(FILES[path]) // 2
    bench.fails("GET", "cdn-lfs|resolve-cache", effect="cut", keep_bytes=keep)
    moved: list[int] = []
    rows = only(fetcher, commit, path)
    target = fetcher._cache._place(rows)
    fetcher._fetching(rows, moved.append)(target)
    assert target.read_bytes() == FILES[path]
    assert len(bench.faults.injected) == 1
    assert sum(moved) == len(FILES[path])
    assert min(moved) > 0, "what had come was thrown away"


def test_a_service_that_is_away_for_a_moment_is_asked_again(
    fetcher: Fetcher, bench: HubBench, commit: str
) -> None:
    bench.fails("POST", "paths-info")
    bench.fails("GET", "resolve/")
    assert fetcher.bring(only(fetcher, commit, "rows.jsonl")).read_bytes() == ROWS * 3
    assert len(bench.faults.injected) == 2


def test_bytes_that_changed_on_the_way_are_fetched_once_more(
    fetcher: Fetcher, bench: HubBench, commit: str
) -> None:
    bench.fails("GET", "cdn-lfs", effect="corrupt", keep_bytes=1000)
    file = fetcher.bring(only(fetcher, commit, "data/a.parquet"))
    assert file.read_bytes() == FILES["data/a.parquet"]
    assert len(bench.faults.injected) == 1


def test_bytes_that_are_always_wrong_are_never_kept(
    fetcher: Fetcher, bench: HubBench, commit: str, settings: Settings
) -> None:
    bench.fails("GET", "resolve-cache", effect="corrupt", keep_bytes=10, times=9)
    rows = only(fetcher, commit, "rows.jsonl")
    with pytest.raises(Corrupt, match=r"rows\.jsonl"):
        fetcher.bring(rows)
    assert fetcher._cache.get(rows) is None
    assert leftovers(settings.cache_dir) == []


def test_a_copy_that_somebody_changed_is_fetched_again(fetcher: Fetcher, commit: str) -> None:
    rows = only(fetcher, commit, "rows.jsonl")
    file = fetcher.bring(rows)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"question", b"quEstion"))
    os.utime(file, ns=(1, 1))
    assert fetcher.bring(rows).read_bytes() == content
    os.utime(file, ns=(2, 2))
    assert fetcher._cache.get(rows) == file, "a copy that was only touched is whole"


def test_offline_uses_what_is_here_and_says_what_is_missing(
    fetcher: Fetcher, bench: HubBench, commit: str, settings: Settings
) -> None:
    fetcher.bring(only(fetcher, commit, "rows.jsonl"))
    bench.requests.clear()
    offline = fetcher_for(settings, offline=True)
    assert offline.bring(only(offline, commit, "rows.jsonl")).read_bytes() == ROWS * 3
    with pytest.raises(InputError, match=r"offline.*data/a\.parquet") as caught:
        only(offline, commit, "data/a.parquet")
    assert "without --offline" in caught.value.hint
    assert offline.commit(DatasetAddress("alice/rows", "rows.jsonl")) is None
    assert bench.requests == []


def test_without_a_network_it_is_said_which_host_is_not_reached(tmp_path: Path) -> None:
    fetcher = fetcher_for(settings_for(tmp_path, hub_endpoint="http://127.0.0.1:9"))
    with pytest.raises(Ambiguous, match=r"127\.0\.0\.1:9 is not reached"):
        fetcher.find(DatasetAddress("alice/rows", "rows.jsonl", "f" * 40))


def test_a_disk_without_room_is_noticed_before_and_during_a_download(
    fetcher: Fetcher, commit: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = only(fetcher, commit, "data/a.parquet")
    usage = shutil.disk_usage
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage(path)._replace(free=len(LARGE) - 1)
    )
    with pytest.raises(InputError, match="bytes free"):
        fetcher.bring(rows)
    monkeypatch.setattr(shutil, "disk_usage", usage)

    def full(self: hub_files._Part, block: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(hub_files._Part, "write", full)
    with pytest.raises(InputError, match="No space left"):
        fetcher.bring(rows)
    assert leftovers(settings.cache_dir) == []


KILLED = """
import sys
from pathlib import Path
from orchestrator.data_addresses import DatasetAddress
from orchestrator.fetching import Fetcher
from orchestrator.settings import Settings
settings = Settings(Path(sys.argv[1]), "sqlite://", hub_endpoint=sys.argv[2], hub_token="hf_alice")
fetcher = Fetcher(settings)
(rows,) = fetcher.find(DatasetAddress("alice/rows", "data/a.parquet", sys.argv[3]))
def moved(size_bytes):
    print("moving", flush=True)
    sys.stdin.read()
class Stuck:
    def transfer(self, doing, size_bytes):
        from contextlib import nullcontext
        return nullcontext(moved)
fetcher._reporter = Stuck()
fetcher.bring(rows)
"""


def test_a_download_that_was_killed_in_its_middle_leaves_nothing_that_counts(
    fetcher: Fetcher, bench: HubBench, commit: str, settings: Settings
) -> None:
    arguments = [sys.executable, "-c", KILLED, str(settings.home), bench.url, commit]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"moving\n"
        process.send_signal(signal.SIGKILL)
    assert leftovers(settings.cache_dir) != []
    rows = only(fetcher, commit, "data/a.parquet")
    assert fetcher._cache.get(rows) is None
    assert fetcher.bring(rows).read_bytes() == FILES["data/a.parquet"]


def test_what_is_moved_is_told(settings: Settings, commit: str) -> None:
    told: list[tuple[str, int]] = []

    class Listener(Silent):
        def transfer(self, doing: str, size_bytes: int) -> Any:
            told.append((doing, size_bytes))
            return super().transfer(doing, size_bytes)

    fetcher = Fetcher(settings, reporter=Listener())
    fetcher.bring(only(fetcher, commit, "rows.jsonl"))
    assert told == [(f"fetching hf://datasets/alice/rows@{commit[:7]}/rows.jsonl", len(ROWS) * 3)]
