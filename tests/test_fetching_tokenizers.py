"""Tokenizers of models: from our cache, from the Hub's own, from the Hub, or a reason."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download

from orchestrator.cli.network import FetchOnDemand
from orchestrator.endpoints import answers_within
from orchestrator.errors import NotFound
from orchestrator.settings import Settings
from orchestrator.token_rules import FoundTokenizer
from orchestrator.tokenizer_cache import (
    ASK_AGAIN_AFTER,
    ASK_AGAIN_UNANSWERED_AFTER,
    TokenizerCache,
)
from tests.fetching_bench import HubBench, fetcher_for, hub_bench, settings_for
from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import put

REPO = "alice/model"
FILES = {
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b'{"eos_token": "</s>"}',
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": bytes(2000),
}


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
    bench.api().create_repo(REPO)
    return put(bench.api(), REPO, FILES)


@pytest.fixture
def settings(bench: HubBench, tmp_path: Path) -> Settings:
    return settings_for(
        tmp_path / "home",
        hub_endpoint=bench.url,
        hub_token="hf_alice",
        hub_cache=tmp_path / "huggingface" / "hub",
    )


def tokenizers(settings: Settings, **options: Any) -> TokenizerCache:
    return fetcher_for(settings, **options).tokenizers


def names(found: FoundTokenizer) -> set[str]:
    assert found.folder is not None
    return {file.name for file in found.folder.iterdir()}


def test_the_files_of_a_tokenizer_come_once_and_no_weights(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    found = tokenizers(settings).find(REPO, "main")
    assert names(found) == set(FILES) - {"model.safetensors"}
    assert found.source == f"the tokenizer of {REPO} at {commit[:7]}"
    assert found.folder is not None
    assert (found.folder / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]
    bench.requests.clear()
    assert tokenizers(settings).find(REPO, "main") == found
    assert tokenizers(settings, offline=True).find(REPO, "main") == found
    assert tokenizers(settings).find(REPO, commit) == found
    assert bench.requests == []


def test_a_revision_is_another_tokenizer(bench: HubBench, commit: str, settings: Settings) -> None:
    put(bench.api(), REPO, {"tokenizer.json": b"{}"})
    old, new = (tokenizers(settings).find(REPO, rev) for rev in (commit, "main"))
    assert old.folder is not None
    assert new.folder is not None
    assert (old.folder / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]
    assert (new.folder / "tokenizer.json").read_bytes() == b"{}"


def test_what_the_hubs_own_client_fetched_is_used_and_left_as_it_is(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    assert settings.hub_cache is not None
    for name in ("tokenizer.json", "tokenizer_config.json"):
        offline = tokenizers(settings, offline=True)
        assert offline.find(REPO, "main").folder is None, "half a tokenizer is none"
        hf_hub_download(REPO, name, cache_dir=settings.hub_cache, endpoint=bench.url)
    before = sorted(settings.hub_cache.rglob("*"))
    bench.requests.clear()
    found = tokenizers(settings).find(REPO, "main")
    assert found.folder is not None
    assert found.folder.is_relative_to(settings.hub_cache)
    assert found.folder.name == commit
    assert bench.requests == []
    assert sorted(settings.hub_cache.rglob("*")) == before


def test_offline_it_is_said_how_to_get_it(commit: str, settings: Settings) -> None:
    found = tokenizers(settings, offline=True).find(REPO, "v1")
    assert found.folder is None
    assert f"hf download {REPO} tokenizer.json tokenizer_config.json --revision v1" in found.missing


def test_a_gated_model_says_where_to_ask_and_is_not_asked_for_again_that_day(
    bench: HubBench, commit: str, settings: Settings, tmp_path: Path
) -> None:
    bench.api().update_repo_settings(REPO, gated="manual")
    clock = ManualClock()
    stranger = settings_for(tmp_path / "other", hub_endpoint=bench.url, hub_token="hf_bob")
    found = tokenizers(stranger, clock=clock).find(REPO, "main")
    assert found.folder is None
    assert "gated" in found.missing
    assert f"{bench.url}/{REPO}" in found.missing
    assert "hf_bob" not in "".join(
        file.read_text() for file in stranger.cache_dir.rglob("*") if file.is_file()
    )
    bench.api().grant_access(REPO, "bob")
    bench.requests.clear()
    clock.advance(ASK_AGAIN_AFTER.total_seconds() - 1)
    assert tokenizers(stranger, clock=clock).find(REPO, "main") == found
    assert bench.requests == []
    clock.advance(1)
    assert tokenizers(stranger, clock=clock).find(REPO, "main").folder is not None


def test_another_token_asks_at_once(bench: HubBench, commit: str, tmp_path: Path) -> None:
    bench.api().update_repo_settings(REPO, gated="manual")
    home = tmp_path / "other"
    nobody = settings_for(home, hub_endpoint=bench.url)
    assert tokenizers(nobody).find(REPO, "main").folder is None
    alice = settings_for(home, hub_endpoint=bench.url, hub_token="hf_alice")
    assert tokenizers(alice).find(REPO, "main").folder is not None


def test_a_service_that_fails_is_asked_once_and_then_left_alone(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    bench.fails("GET", "api/models", times=5)
    clock = ManualClock()
    bench.requests.clear()
    for _ in range(3):
        assert tokenizers(settings, clock=clock).find(REPO, "main").folder is None
        clock.advance(ASK_AGAIN_UNANSWERED_AFTER.total_seconds() / 3 + 1)
    assert len(bench.requests) == 1
    assert tokenizers(settings, clock=clock).find(REPO, "main").folder is None
    assert len(bench.requests) == 2  # it may be back
    assert clock.sleeps == []


def test_a_home_that_cannot_be_written_is_a_reason(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    settings.home.write_text("no folder")
    found = tokenizers(settings).find(REPO, "main")
    assert found.folder is None
    assert "Not a directory" in found.missing


def test_the_models_own_tokenizer_is_asked_for_unless_offline(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    assert FetchOnDemand(settings, offline=True).tokenizers.find(REPO, "main").folder is None
    bench.requests.clear()
    assert FetchOnDemand(settings).tokenizers.find(REPO, "main").folder is not None
    assert bench.requests != []


def test_a_download_that_fails_leaves_no_half_tokenizer(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    bench.fails("GET", "resolve-cache.*tokenizer_config", effect="corrupt", keep_bytes=3)
    found = tokenizers(settings).find(REPO, "main")
    assert found.folder is None
    assert "checksum" in found.missing
    assert [f for f in settings.cache_dir.rglob("*") if f.name in FILES or "part" in f.name] == []


def test_a_model_that_the_hub_does_not_show_is_an_error(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    for repo, revision in (("alice/absent", "main"), (REPO, "absent")):
        with pytest.raises(NotFound):
            tokenizers(settings).find(repo, revision)


def test_a_model_without_a_fast_tokenizer_is_said_to_have_none(
    bench: HubBench, settings: Settings
) -> None:
    bench.api().create_repo("alice/old")
    put(bench.api(), "alice/old", {"tokenizer.model": b"x"})
    assert "no tokenizer.json" in tokenizers(settings).find("alice/old", "main").missing


def test_a_damaged_memory_of_a_refusal_is_no_refusal(
    bench: HubBench, commit: str, settings: Settings
) -> None:
    cache = tokenizers(settings)
    for content in ("{", "[]", "null", '{"at": 3}', '{"at": "2026-01-01T11:59:00"}'):
        file = cache._refused(REPO, "main")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        assert cache._refusal(REPO, "main") is None
    assert cache.find(REPO, "main").folder is not None


def test_a_closed_port_is_noticed_without_waiting(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, hub_endpoint="http://127.0.0.1:9")
    clock = ManualClock()
    found = tokenizers(settings, clock=clock).find(REPO, "main")
    assert "127.0.0.1:9 is not reached" in found.missing
    assert clock.sleeps == []


def test_a_name_whose_look_up_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hanging, end = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> list[Any]:
        hanging.set()
        end.wait(60)
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        assert not answers_within("https://hub.invalid", 0.2)
        assert hanging.is_set()
    finally:
        end.set()


def test_behind_a_proxy_the_client_itself_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert answers_within("https://hub.invalid", 0.1)
