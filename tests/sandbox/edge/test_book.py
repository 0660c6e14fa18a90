"""Which request or job meets which fault, and what the file of rules may say."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from orchestrator.errors import InputError
from orchestrator.sandbox.config import SandboxConfig, load_config
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import FaultPlan, JobRule, Outcome, RequestRule
from tests.manual_clock import START, ManualClock


def rule(**given: Any) -> RequestRule:
    return RequestRule(**{"face": "storage", **given})


def applied(book: FaultBook, count: int) -> list[bool]:
    """For so many equal requests, whether each meets a fault."""
    return [book.request("storage", "PUT", "/x") is not None for _ in range(count)]


def test_chances_come_from_the_seed_and_from_the_place_of_the_rule_only() -> None:
    def pattern(seed: int, *before: RequestRule) -> list[bool]:
        rules = (*before, rule(chance=0.5, times=None))
        book = FaultBook(FaultPlan(seed=seed, requests=rules))
        return applied(book, 64)

    assert pattern(1) == pattern(1)
    assert pattern(1) != pattern(2)
    assert 10 < sum(pattern(1)) < 54
    # What another rule draws for other requests changes nothing.
    noisy = FaultBook(FaultPlan(seed=1, requests=(rule(chance=0.5, times=None),)))
    noisy.add(rule(face="hub", chance=0.5, times=None))
    mixed = []
    for _ in range(64):
        noisy.request("hub", "GET", "/")
        mixed += applied(noisy, 1)
    assert mixed == pattern(1)


def test_a_chance_is_drawn_within_the_turns_of_a_rule_only() -> None:
    book = FaultBook(FaultPlan(requests=(rule(chance=1.0, nth=3, times=2),)))
    assert applied(book, 6) == [False, False, True, True, False, False]


def test_a_rule_added_later_counts_from_then_on() -> None:
    book = FaultBook()
    assert applied(book, 3) == [False] * 3
    book.add(rule(nth=2))
    assert applied(book, 3) == [False, True, False]
    book.add(rule(times=None))
    book.clear()
    assert applied(book, 2) == [False, False]
    assert book.rules == []


def test_jobs_are_matched_by_name_and_labels() -> None:
    book = FaultBook(FaultPlan(jobs=(JobRule(outcome=Outcome.FAILED, target="team=math"),)))
    assert book.job("router team=code") is None
    met = book.job("router team=math")
    assert met is not None
    assert met.outcome is Outcome.FAILED
    assert book.job("router team=math") is None
    assert [(one.seen, one.applied) for one in book.rules] == [(2, 1)]


def test_every_injection_is_a_line_of_the_log_with_the_time_of_the_sandbox(tmp_path: Path) -> None:
    clock = SandboxClock(ManualClock())
    book = FaultBook(log=tmp_path / "faults.jsonl", clock=clock)
    book.record("storage", "PUT", "/x", "drop", 200)
    clock.advance(60)
    book.record("hub", "GET", "/y", "stall")
    lines = [orjson.loads(line) for line in (tmp_path / "faults.jsonl").read_bytes().splitlines()]
    assert [(one["target"], one["fault"], one["hidden_status"]) for one in lines] == [
        ("/x", "drop", 200),
        ("/y", "stall", None),
    ]
    assert (book.injected[1].at - START).total_seconds() == 60
    # The next time it is served, the log goes on.
    FaultBook(log=tmp_path / "faults.jsonl").record("hub", "GET", "/z", "drop")
    assert len((tmp_path / "faults.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"nth": 0},
        {"times": 0},
        {"chance": 0},
        {"chance": 1.1},
        {"status": 200},
        {"target": "("},
        {"operation": ""},
        {"code": "UNAVAILABLE"},
        {"face": "vertex", "code": "unavailable"},
        {"effect": "delay", "after": True},
        {"effect": "explode"},
        {"face": "gcs"},
        {"efect": "drop"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**wrong)


CONFIG = """\
faults:
  seed: 7
  requests:
    - face: storage
      operation: PUT
      effect: drop
      after: true
      times: null
  jobs:
    - outcome: cut-files
      files: ["*.json"]
vertex:
  running_s: 7200
  denied: [cancel]
storage:
  permissions: [storage.objects.get]
"""


def config(tmp_path: Path, text: str) -> SandboxConfig:
    file = tmp_path / "sandbox.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def test_a_file_of_rules_is_read(tmp_path: Path) -> None:
    read = config(tmp_path, CONFIG)
    assert read.faults.seed == 7
    (request,) = read.faults.requests
    assert (request.operation, request.effect, request.after, request.times) == (
        "PUT",
        "drop",
        True,
        None,
    )
    assert read.faults.jobs[0].files == ("*.json",)
    assert read.vertex.running_s == 7200
    assert read.vertex.denied == {"cancel"}
    assert read.storage.permissions == frozenset({"storage.objects.get"})
    assert config(tmp_path, "") == SandboxConfig()
    assert config(tmp_path, "storage: {permissions: []}").storage.permissions == frozenset()


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("effect: drop", "efect: drop"), 6, "Did you mean `effect`"),
        (("effect: drop", "effect: explode"), 6, "'corrupt'"),
        (("seed: 7", "sead: 7"), 2, "Did you mean `seed`"),
        (("vertex:", "vertx:"), 12, "Did you mean `vertex`"),
        (("  running_s: 7200", "  runing_s: 7200"), 13, "Did you mean `running_s`"),
        (("after: true", 'after: "true"'), 7, "true or false"),
        (("seed: 7", 'seed: "7"'), 2, "whole number"),
        (("times: null", "status: 200"), 8, "greater than or equal to 400"),
        (("operation: PUT", "target: '('"), 5, "not a regular expression"),
        (("face: storage\n      operation", "operation"), 4, "face` is missing"),
        (("outcome: cut-files", "outcome: lost"), 10, "'cut-files'"),
        (("effect: drop", "effect: cut"), 4, "after means nothing for cut"),
        (("seed: 7", "seed: 7\n  seed: 8"), 3, "given twice"),
        (("[storage.objects.get]", "[objects.get]"), 16, "has not the right form"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        config(tmp_path, CONFIG.replace(*change))
    assert f"sandbox.yaml:{line}:" in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("- 1", "faults", "faults: 3", "faults:"):
        with pytest.raises(InputError, match=r"sandbox\.yaml:1") as caught:
            config(tmp_path, text)
        assert "spec" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "faults: {requests: [{face: hub, effect: delay, delay_s: 1.0e10}]}",
        "faults: {requests: [{face: hub, retry_after_s: .inf}]}",
        "vertex: {visibility_lag_s: 1.0e15}",
        "vertex: {expires_after_s: 1.0e15}",
    ],
)
def test_a_time_that_no_timer_can_wait_for_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"sandbox\.yaml:1:\d+.*less than or equal to 3153600000"):
        config(tmp_path, line)


def test_the_log_is_for_the_owner_only(tmp_path: Path) -> None:
    log = tmp_path / "faults.jsonl"
    FaultBook(log=log).record("storage", "PUT", "/upload/storage/v1/b/x/o?upload_id=key", "drop")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
