"""How many requests the Hub face takes, as the Hub's own client understands what it says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http
from huggingface_hub.utils._http import RateLimitInfo, http_backoff, parse_ratelimit_headers

from orchestrator.errors import Refused
from orchestrator.hub_client import hub_error
from orchestrator.sandbox.hub.app import RateLimits
from tests.manual_clock import ManualClock
from tests.sandbox.hub.stage import ALICE, WEIGHTS, Stage, put, status_of

LIMITS = RateLimits(api=6, resolvers=3, anonymous_api=2, anonymous_resolvers=1)


@pytest.fixture
def api(stage: Stage, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    stage.open(tmp_path / "hub", clock=clock, limits=LIMITS)
    api = HfApi(endpoint=stage.url, token="hf_alice")
    api.create_repo("one")
    put(api, "alice/one", {"a.txt": b"a"})
    # What that took is over with its window.
    clock.advance(LIMITS.window_s)
    return api


def quota(reply: httpx2.Response) -> RateLimitInfo:
    found = parse_ratelimit_headers(reply.headers)
    assert found is not None
    return found


def test_every_answer_of_the_api_tells_what_is_left(
    stage: Stage, api: HfApi, clock: ManualClock
) -> None:
    address = f"{stage.url}/api/models/alice/one"
    assert quota(httpx2.get(address, headers=ALICE)) == RateLimitInfo("api", 5, 300, 6, 300)
    clock.advance(100.5)
    assert quota(httpx2.get(f"{address}/none", headers=ALICE)) == RateLimitInfo(
        "api", 4, 200, 6, 300
    )
    assert quota(httpx2.get(address)) == RateLimitInfo("api", 1, 300, 2, 300)


def test_files_have_a_limit_of_their_own(stage: Stage, api: HfApi) -> None:
    address = f"{stage.url}/alice/one/resolve/main/a.txt"
    head = httpx2.head(address, headers=ALICE)
    assert quota(head) == RateLimitInfo("resolvers", 2, 300, 3, 300)
    assert quota(httpx2.head(address)) == RateLimitInfo("resolvers", 0, 300, 1, 300)
    assert httpx2.head(address).status_code == 429
    assert quota(httpx2.get(f"{stage.url}/api/models/alice/one")).remaining == 1


def test_who_asks_too_often_is_refused_until_the_window_ends(
    api: HfApi, clock: ManualClock, stage: Stage
) -> None:
    for _ in range(LIMITS.api):
        api.model_info("alice/one")
    clock.advance(60)
    with pytest.raises(HfHubHTTPError, match=r"'api' rate limit.*\nRetry after 240 s") as caught:
        api.model_info("alice/one")
    assert caught.value.response.status_code == 429
    assert "0/6 requests remaining" in str(caught.value)
    # Another token of the same person changes nothing; another person is free to ask.
    assert status_of(HfApi(endpoint=stage.url, token="hf_reader").whoami) == 429
    assert HfApi(endpoint=stage.url, token="hf_bob").whoami()["name"] == "bob"
    clock.advance(240)
    assert api.model_info("alice/one").id == "alice/one"


def test_a_refused_request_has_no_effect(api: HfApi, clock: ManualClock) -> None:
    for _ in range(LIMITS.api):
        api.whoami()
    assert status_of(partial(api.create_repo, "two")) == 429
    clock.advance(300)
    assert not api.repo_exists("alice/two")


def test_the_client_waits_as_long_as_it_is_told(
    stage: Stage, api: HfApi, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(LIMITS.api):
        api.whoami()
    monkeypatch.setattr(f"{_http.__name__}.time.sleep", clock.advance)
    began_s = clock.elapsed_s()
    reply = http_backoff("GET", f"{stage.url}/api/models/alice/one", headers=ALICE)
    assert reply.status_code == 200
    # The client adds a second to what it is told.
    assert clock.elapsed_s() - began_s == 301


def test_the_store_reads_the_wait_from_the_limit(api: HfApi) -> None:
    for _ in range(LIMITS.api):
        api.whoami()
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("alice/one")
    refused = hub_error(caught.value, "reading", once=True)
    assert isinstance(refused, Refused)
    assert refused.retry_after_s == 300


def test_a_wrong_token_counts_for_its_address(stage: Stage, api: HfApi) -> None:
    wrong = {"authorization": "Bearer hf_invented"}
    statuses = [
        httpx2.get(f"{stage.url}/api/whoami-v2", headers=wrong).status_code for _ in range(3)
    ]
    assert statuses == [401, 401, 429]


def test_signed_addresses_are_not_counted(stage: Stage, api: HfApi) -> None:
    put(api, "alice/one", {"w.bin": WEIGHTS})
    address = f"{stage.url}/alice/one/resolve/main/w.bin"
    reply = httpx2.get(address, headers=ALICE)
    assert quota(reply) == RateLimitInfo("resolvers", 2, 300, 3, 300)
    for _ in range(LIMITS.anonymous_resolvers + 1):
        bytes_reply = httpx2.get(reply.headers["location"])
        assert bytes_reply.content == WEIGHTS
        assert "ratelimit" not in bytes_reply.headers


def test_the_usual_limits_are_those_of_the_public_table() -> None:
    usual = RateLimits()
    assert (usual.api, usual.anonymous_api, usual.window_s) == (1000, 500, 300)
    assert (usual.resolvers, usual.anonymous_resolvers) == (5000, 3000)
