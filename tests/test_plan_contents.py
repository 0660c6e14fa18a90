"""What a plan says adds up, and it names what the service would refuse before that is paid for."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import orjson
import pytest

from orchestrator.catalog import load_catalog
from orchestrator.dataset.preparing.prepared import DataError
from orchestrator.errors import InputError
from orchestrator.planner import Prepared
from orchestrator.spec import SpecError
from tests.router_spec import SAMPLE, SPEC, changed, plan

#: Answers of any kind; only equal questions count as duplicates.
ANY_TEXT = "answer: text\n  near_duplicates: 1"


def different_rows(count: int) -> bytes:
    """Rows of the same length, no two of which are equal."""
    return b"".join(b'{"prompt": "p%05d", "completion": "c"}\n' % n for n in range(count))


def spec_problem(folder: Path, spec: str) -> tuple[int | None, str, str]:
    with pytest.raises(SpecError) as caught:
        plan(folder, spec=spec)
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 2
    assert problem.where is not None
    assert problem.where.file == "spec.yaml"
    return problem.where.line, problem.message, problem.hint


def line_of(text: str, spec: str) -> int:
    return next(n for n, line in enumerate(spec.splitlines(), start=1) if text in line)


def rows_in_order(prepared: Prepared) -> list[bytes]:
    files = prepared.data.files.values()
    return [line for file in files for line in file.read_bytes().splitlines(keepends=True)]


def test_a_limit_takes_the_first_rows_of_the_shuffle_before_the_split(tmp_path: Path) -> None:
    whole = rows_in_order(plan(tmp_path))
    for limit in (10, 20, 30):
        limited = plan(tmp_path, limit=limit)
        assert rows_in_order(limited) == whole[:limit]
        assert sum(split.rows for split in limited.plan.splits) == limit
        assert limited.plan.data.rows == 40
    in_file = [
        orjson.dumps({name: row[name] for name in ("prompt", "completion")}) + b"\n"
        for row in map(orjson.loads, SAMPLE.read_bytes().splitlines())
    ]
    assert sorted(whole) == sorted(in_file)
    assert whole != in_file


@pytest.mark.skipif(
    "ORCHESTRATOR_DATA" not in os.environ, reason="ORCHESTRATOR_DATA does not name outside data"
)
def test_the_outside_rows_plan_cleanly_and_limits_are_prefixes(tmp_path: Path) -> None:
    data = Path(os.environ["ORCHESTRATOR_DATA"]) / "route-plan" / "rows.jsonl"
    whole = plan(tmp_path, data=data)
    assert [split.rows for split in whole.plan.splits] == [274, 32, 16]
    assert whole.plan.refusals == ()
    thirty, sixty = (plan(tmp_path, data=data, limit=limit) for limit in (30, 60))
    assert [split.rows for split in sixty.plan.splits] == [51, 6, 3]
    assert rows_in_order(thirty) == rows_in_order(sixty)[:30] == rows_in_order(whole)[:30]


def test_the_learning_rate_is_the_baseline_times_the_multiplier(tmp_path: Path) -> None:
    hyper = plan(tmp_path).plan.hyperparameters
    assert hyper.learning_rate == 0.00014
    assert (hyper.baseline_learning_rate, hyper.learning_rate_multiplier) == (2e-4, 0.7)
    assert b'"learning_rate":0.00014,' in orjson.dumps(plan(tmp_path).plan.to_json())


@pytest.mark.parametrize(
    ("written", "rate", "multiplier"),
    [
        ("learning_rate_multiplier: 3", 0.0006, 3.0),
        ("learning_rate_multiplier: 0.1", 0.00002, 0.1),
        ("learning_rate: 3e-5", 3e-5, None),
        ("", 0.0002, 1.0),
    ],
)
def test_a_learning_rate_of_its_own_or_none_is_taken_as_written(
    tmp_path: Path, written: str, rate: float, multiplier: float | None
) -> None:
    spec = changed("learning_rate_multiplier: 0.7", written)
    hyper = plan(tmp_path, spec=spec).plan.hyperparameters
    assert hyper.learning_rate == rate
    assert hyper.learning_rate_multiplier == multiplier
    assert hyper.baseline_learning_rate == 2e-4


def test_rank_and_epochs_come_from_the_catalog_when_the_spec_is_silent(tmp_path: Path) -> None:
    spec = changed("  rank: 16\n  epochs: 3\n", "")
    hyper = plan(tmp_path, spec=spec).plan.hyperparameters
    assert (hyper.rank, hyper.adapter_size, hyper.epochs) == (16, "ADAPTER_SIZE_SIXTEEN", 3)
    gemma = spec.replace("meta/llama3_1@llama-3.1-8b-instruct", "google/gemma3@gemma-3-27b-it")
    hyper = plan(tmp_path, spec=gemma).plan.hyperparameters
    assert (hyper.rank, hyper.adapter_size) == (32, "ADAPTER_SIZE_THIRTY_TWO")


def test_the_size_of_the_adapter_follows_the_rank(tmp_path: Path) -> None:
    adapter = plan(tmp_path).plan.adapter
    assert (adapter.parameters, adapter.size_bytes) == (41_943_040, 83_886_080)
    eight = plan(tmp_path, spec=changed("rank: 16", "rank: 8")).plan.adapter
    assert eight.parameters == 41_943_040 // 2
    full = plan(tmp_path, spec=changed("mode: peft\n  rank: 16", "mode: full")).plan
    assert (full.adapter.parameters, full.hyperparameters.rank) == (None, None)
    assert full.hyperparameters.adapter_size is None


@pytest.mark.parametrize("limit", [None, 20])
def test_tokens_and_cost_are_those_of_the_split_that_is_written(
    tmp_path: Path, limit: int | None
) -> None:
    prepared = plan(tmp_path, limit=limit)
    train = prepared.data.files["train"]
    rows = [json.loads(line) for line in train.read_text("utf-8").splitlines()]
    characters = sum(len(row["prompt"]) + len(row["completion"]) for row in rows)
    estimate = prepared.plan.estimate
    assert estimate.tokens == pytest.approx(characters * 0.317 * 3, abs=3)
    assert estimate.cost_usd == pytest.approx(estimate.tokens / 1_000_000 * 0.67, abs=1e-4)
    assert f"{characters} characters" in estimate.basis
    for part in ("0.317 tokens per character", "3 epochs", "$0.67", "2026-"):
        assert part in estimate.basis


def test_the_facts_of_a_split_are_those_of_its_file(tmp_path: Path) -> None:
    prepared = plan(tmp_path)
    for name, file in prepared.data.files.items():
        content = file.read_bytes()
        facts = prepared.plan.split(name)
        assert facts.sha256 == hashlib.sha256(content).hexdigest()
        assert (facts.size_bytes, facts.rows) == (len(content), content.count(b"\n"))


def test_a_rank_that_the_model_does_not_take_is_named_with_those_that_it_takes(
    tmp_path: Path,
) -> None:
    spec = changed("rank: 16", "rank: 2")
    line, message, hint = spec_problem(tmp_path, spec)
    assert line == line_of("rank: 2", spec)
    assert message == "meta/llama3_1@llama-3.1-8b-instruct does not take rank 2"
    assert hint == "It takes: 1, 4, 8, 16, 32."


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    spec = changed("llama3_1@llama-3.1-8b-instruct", "llama3_1@llama-3.1-8b")
    line, message, hint = spec_problem(tmp_path, spec)
    assert line == line_of("base_model:", spec)
    assert message == "unknown base model `meta/llama3_1@llama-3.1-8b`"
    assert hint == "Did you mean `meta/llama3_1@llama-3.1-8b-instruct`?"


def test_a_location_without_the_service_is_named_with_those_that_have_it(tmp_path: Path) -> None:
    spec = changed("us-central1", "us-central9")
    line, message, hint = spec_problem(tmp_path, spec)
    assert line == line_of("location:", spec)
    assert "us-central9" in message
    assert "us-central1" in hint


def test_a_mode_that_the_model_does_not_take_is_named_with_those_that_it_takes(
    tmp_path: Path,
) -> None:
    spec = changed("mode: peft\n  rank: 16", "mode: full").replace(
        "meta/llama3_1@llama-3.1-8b-instruct", "google/gemma4@gemma-4-e2b-it"
    )
    line, message, hint = spec_problem(tmp_path, spec)
    assert line == line_of("mode: full", spec)
    assert message == "google/gemma4@gemma-4-e2b-it is not tuned in mode full"
    assert hint == "It takes: peft."


def test_a_model_without_a_baseline_asks_for_a_learning_rate(tmp_path: Path) -> None:
    spec = changed("mode: peft\n  rank: 16", "mode: full").replace(
        "meta/llama3_1@llama-3.1-8b-instruct", "qwen/qwen3@qwen3-8b"
    )
    line, message, hint = spec_problem(tmp_path, spec)
    assert line == line_of("mode: full", spec)
    assert "no baseline learning rate" in message
    assert "`learning_rate`" in hint
    given = spec.replace("learning_rate_multiplier: 0.7", "learning_rate: 1e-5")
    assert plan(tmp_path, spec=given).plan.hyperparameters.learning_rate == 1e-5


def test_a_validation_file_over_a_quarter_of_the_training_file_is_a_refusal(
    tmp_path: Path,
) -> None:
    split = "train: 0.85, validation: 0.10, test: 0.05"
    made = plan(tmp_path, spec=changed(split, "train: 0.7, validation: 0.3, test: 0.0")).plan
    (refusal,) = made.refusals
    share = made.split("validation").size_bytes / made.split("train").size_bytes
    assert f"{share:.0%} of the training file in bytes" in refusal
    assert "at most 25%" in refusal


def test_the_quarter_is_counted_in_bytes_and_a_quarter_itself_is_taken(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(different_rows(100))
    spec = changed("answer: route-plan", ANY_TEXT)
    split = "train: 0.85, validation: 0.10, test: 0.05"
    at = spec.replace(split, "train: 0.8, validation: 0.2, test: 0.0")
    over = spec.replace(split, "train: 0.79, validation: 0.2, test: 0.01")
    assert plan(tmp_path, spec=at, data=data).plan.refusals == ()
    assert len(plan(tmp_path, spec=over, data=data).plan.refusals) == 1


def test_more_validation_rows_than_the_service_takes_are_a_refusal(tmp_path: Path) -> None:
    spec = changed("answer: route-plan", ANY_TEXT)
    data = tmp_path / "rows.jsonl"
    catalog = load_catalog()
    assert catalog.vertex.max_validation_rows == 5000
    few = catalog.vertex.model_copy(update={"max_validation_rows": 50})
    catalog = catalog.model_copy(update={"vertex": few})
    data.write_bytes(different_rows(500))
    assert plan(tmp_path, spec=spec, data=data, catalog=catalog).plan.refusals == ()
    data.write_bytes(different_rows(510))
    (refusal,) = plan(tmp_path, spec=spec, data=data, catalog=catalog).plan.refusals
    assert "51 rows; the service takes at most 50." in refusal


def test_rows_that_the_service_would_cut_are_a_warning_counted_in_characters(
    tmp_path: Path,
) -> None:
    """8192 tokens are about 25,842 characters of 0.317 tokens."""
    data = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"{number:02}".rjust(length - 1, "\u00e9"), "completion": "c"}
        for length in (25_800, 25_900)
        for number in range(20)
    ]
    data.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    made = plan(tmp_path, spec=changed("answer: route-plan", ANY_TEXT), data=data).plan
    assert made.warnings == (
        "20 rows are estimated at more than 8192 tokens, where the service cuts them",
    )


def test_rows_left_out_and_duplicates_are_told(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(different_rows(30) + different_rows(2))
    numbers = "train: 20, validation: 5, test: 0"
    spec = changed("answer: route-plan", ANY_TEXT).replace(
        "train: 0.85, validation: 0.10, test: 0.05", numbers
    )
    facts = plan(tmp_path, spec=spec, data=data).plan.data
    assert (facts.rows, facts.left_out.numbers_wanted) == (32, 7)
    assert (facts.kept_together.groups, facts.kept_together.rows) == (2, 4)


def test_a_plan_without_validation_or_publishing_says_so(tmp_path: Path) -> None:
    spec = SPEC[: SPEC.index("publish:")].replace("validation: 0.10, test: 0.05", "test: 0.15")
    spec = spec.replace("train: 0.85,", "train: 0.85, validation: 0.0,")
    warnings = plan(tmp_path, spec=spec).plan.warnings
    assert any("no validation rows" in warning for warning in warnings)
    assert any("no `publish:`" in warning for warning in warnings)


def test_rows_that_leave_none_for_training_are_an_error(tmp_path: Path) -> None:
    split = "train: 0.85, validation: 0.10, test: 0.05"
    spec = changed(split, "train: 0.1, validation: 0.0, test: 0.9")
    with pytest.raises(InputError, match="1 rows leave none for training") as caught:
        plan(tmp_path, spec=spec, limit=1)
    assert caught.value.hint


def test_rows_with_errors_make_no_plan_and_the_report_says_which(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(SAMPLE.read_bytes() + b'{"prompt": "p"}\n')
    with pytest.raises(DataError) as caught:
        plan(tmp_path, data=data)
    assert caught.value.exit_code == 1
    assert caught.value.report.rows == 41
    assert caught.value.report.findings[0].examples[0].place.line == 41
    assert "1 error in 41 rows" in caught.value.message
