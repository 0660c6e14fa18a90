"""What is asked of the Hub before a run of hf-jobs is made, against the sandbox's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from orchestrator.catalog import load_catalog
from orchestrator.connections import Connections
from orchestrator.errors import (
    Ambiguous,
    InputError,
    NotFound,
    OrchestratorError,
    RefusalKind,
    Refused,
)
from orchestrator.preflight import Needs, Preflight, PreflightError, preflight
from orchestrator.sandbox.jobs.base_models import seed_base_models
from orchestrator.settings import Settings
from tests.manual_clock import ManualClock
from tests.sandbox.jobs.stage import Stage

ALICE = "hf_alice"
GATED = "google/functiongemma-270m-it"
NEEDS = Needs(
    name="router",
    base_model=GATED,
    flavor="a10g-small",
    usd_per_hour=1.0,
    publish_repo="alice/router-adapter",
)


@pytest.fixture(autouse=True)
def _without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A Hub with jobs, and the base models behind their gates, open to alice."""
    stage = Stage(tmp_path / "hub")
    with stage.serving():
        seed_base_models(stage.face.hub, load_catalog().models.values(), "alice")
        yield stage


def asked(stage: Stage, needs: Needs = NEEDS, token: str | None = ALICE) -> Preflight:
    settings = Settings(home=stage.root, ledger_url="", hub_endpoint=stage.url, hub_token=token)
    there = Connections(settings, ManualClock())
    return preflight(needs, there.hub, there.hub_files, there.jobs, load_catalog().jobs)


def only_problem(found: Preflight) -> OrchestratorError:
    assert len(found.problems) == 1, found.answers
    with pytest.raises(OrchestratorError) as raised:
        found.raise_for_problems()
    assert raised.value is found.problems[0]
    return raised.value


def test_every_question_is_a_line_and_settles_names_commit_and_price(stage: Stage) -> None:
    found = asked(stage)
    found.raise_for_problems()
    assert [str(one).split(":")[0] for one in found.answers] == [
        "the token is known",
        "the token may write to alice/orchestrator-staging",
        "the token may write to alice/router-adapter",
        "the token may write to alice/router-adapter-candidates",
        f"the token may read {GATED}",
        "jobs may run in alice",
        "the service has a10g-small",
    ]
    assert (found.namespace, found.staging) == ("alice", "alice/orchestrator-staging")
    assert found.candidates == "alice/router-adapter-candidates"
    assert found.publish_repo == "alice/router-adapter"
    assert len(found.base_commit) == 40
    assert found.usd_per_hour == pytest.approx(1.0)
    assert found.warnings == ()


def test_without_a_repo_to_publish_to_the_candidates_are_named_for_the_job(stage: Stage) -> None:
    found = asked(stage, replace(NEEDS, publish_repo=None, namespace="lab"))
    found.raise_for_problems()
    assert found.publish_repo is None
    assert found.candidates == "lab/router-candidates"
    assert found.staging == "lab/orchestrator-staging"


def test_nothing_is_written_and_no_job_is_made(stage: Stage) -> None:
    asked(stage)
    assert stage.face.hub.repos.get("dataset", "alice/orchestrator-staging") is None
    assert stage.face.hub.repos.get("model", "alice/router-adapter-candidates") is None
    assert not any((stage.root / "jobs").glob("*/record.json"))


def test_a_gated_model_names_the_page_where_its_terms_are(stage: Stage) -> None:
    problem = only_problem(asked(stage, replace(NEEDS, publish_repo="bob/x"), token="hf_bob"))
    assert "gated" in problem.message
    assert f"Accept its terms at {stage.url}/{GATED}" in problem.hint


@pytest.mark.parametrize(
    ("repo", "kind"),
    [("alice/orchestrator-staging", "dataset"), ("alice/router-adapter-candidates", "model")],
)
def test_a_public_repo_is_refused_before_a_job_is_paid_that_would_refuse_it(
    stage: Stage, repo: str, kind: str
) -> None:
    HfApi(endpoint=stage.url, token=ALICE).create_repo(repo, repo_type=kind, private=False)
    problem = only_problem(asked(stage))
    assert f"the {kind} {repo} is public" in problem.message


def test_a_model_that_is_absent_is_not_called_gated(stage: Stage) -> None:
    problem = only_problem(asked(stage, replace(NEEDS, base_model="google/no-such-model")))
    assert isinstance(problem, NotFound)
    assert "google/no-such-model" in problem.message
    assert "terms" not in problem.hint


def test_a_revision_that_the_model_does_not_have_is_told(stage: Stage) -> None:
    problem = only_problem(asked(stage, replace(NEEDS, base_revision="v9")))
    assert "revision" in problem.message


def test_a_token_for_reading_is_told_everything_at_once(stage: Stage) -> None:
    found = asked(stage, replace(NEEDS, flavor="a10g-smal"), token="hf_reader")
    with pytest.raises(PreflightError) as raised:
        found.raise_for_problems()
    told = str(raised.value)
    assert "orchestrator-staging: the token is for reading" in told
    assert "router-adapter: the token is for reading" in told
    assert "router-adapter-candidates: the token is for reading" in told
    assert "no machine called 'a10g-smal'" in told
    assert raised.value.exit_code == 2


def test_a_namespace_in_which_only_reading_is_allowed_cannot_pay(stage: Stage) -> None:
    found = asked(stage, replace(NEEDS, namespace="club"))
    told = [str(one) for one in found.problems]
    assert any("club" in one and "orchestrator-staging" in one for one in told)
    assert any("run in club" in one for one in told)


def test_a_token_may_write_and_still_run_no_jobs(stage: Stage) -> None:
    found = asked(stage, token="hf_narrow")
    refused = [str(one.problem) for one in found.answers if "jobs may run" in one.question]
    assert len(refused) == 1
    assert "run in alice" in refused[0]


def test_a_flavor_that_is_not_on_offer_names_its_neighbour_and_all_others(stage: Stage) -> None:
    problem = only_problem(asked(stage, replace(NEEDS, flavor="a10g-smol")))
    assert isinstance(problem, InputError)
    assert "Did you mean `a10g-small`?" in problem.hint
    assert "t4-small" in problem.hint


def test_a_price_that_has_changed_is_a_warning_and_counts(stage: Stage) -> None:
    found = asked(stage, replace(NEEDS, usd_per_hour=0.75))
    found.raise_for_problems()
    assert found.warnings == ("a10g-small costs $1.00 an hour now, not $0.75",)
    assert found.usd_per_hour == pytest.approx(1.0)


def test_without_a_token_one_problem_says_how_to_log_in(stage: Stage) -> None:
    found = asked(stage, token=None)
    told = [one for one in found.problems if "no token" in one.message]
    assert len(told) == 1
    assert "hf auth login" in told[0].hint


def test_a_hub_that_is_not_reached_is_asked_one_question(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.url = "http://127.0.0.1:9"
    found = asked(stage)
    problem = only_problem(found)
    assert isinstance(problem, Ambiguous)
    assert [one.text for one in found.answers[1:]] == ["not asked"] * 4


@dataclass
class _Repos:
    def owner(self) -> str:
        return "alice"

    def check_private(self, repo: str, kind: str = "model") -> None:
        """All are, here."""

    def check_write(self, repo: str, kind: str = "model") -> str:
        return repo if "/" in repo else f"alice/{repo}"


@dataclass
class _Files:
    def commit(self, kind: str, repo: str, revision: str) -> str:
        return "a" * 40

    def part(
        self, kind: str, repo: str, commit: str, path: str, start: int, size_bytes: int
    ) -> bytes:
        return b"{"


@dataclass(frozen=True)
class _Offer:
    name: str
    usd_per_minute: float | None


@dataclass
class _Jobs:
    offers: tuple[_Offer, ...] | OrchestratorError

    def check_may_run(self) -> None:
        return None

    def hardware(self) -> tuple[_Offer, ...]:
        if isinstance(self.offers, OrchestratorError):
            raise self.offers
        return self.offers


def with_prices(offers: tuple[_Offer, ...] | OrchestratorError, needs: Needs = NEEDS) -> Preflight:
    return preflight(needs, _Repos(), _Files(), lambda _: _Jobs(offers), load_catalog().jobs)


def test_without_a_price_list_the_catalog_s_price_is_taken_with_a_warning() -> None:
    found = with_prices(Ambiguous("no answer"))
    found.raise_for_problems()
    assert found.usd_per_hour == pytest.approx(1.0)
    assert "by the catalog of 2026-11-21 a10g-small costs $1.00 an hour" in found.warnings[0]


def test_without_a_price_list_a_flavor_that_the_catalog_lacks_is_a_problem() -> None:
    found = with_prices(Ambiguous("no answer"), replace(NEEDS, flavor="abacus"))
    assert isinstance(only_problem(found), Ambiguous)


def test_a_price_in_a_strange_unit_is_a_warning() -> None:
    found = with_prices((_Offer("a10g-small", None),))
    assert "unit of price" in found.warnings[0]
    assert found.usd_per_hour == pytest.approx(NEEDS.usd_per_hour)


def test_problems_of_different_kinds_keep_the_graver_exit_code() -> None:
    refused = Refused("no", kind=RefusalKind.PERMISSION)
    assert PreflightError([Ambiguous("lost"), refused]).exit_code == 2
