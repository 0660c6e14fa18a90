"""How likely expected answers are: judged by torch by hand, and by what trainings report."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from orchestrator.answer_files import alone, read_answers
from orchestrator.evaluation.scores import metrics_of
from orchestrator.evaluation.texts import TextScorer
from tests.training.predictions import ROWS, TEXTS, Predicted, arguments, run_all
from tests.training.trainings import needs_training

pytestmark = pytest.mark.training

FIELDS = ("expected_tokens", "expected_loss", "expected_right")
#: Two trainings on the rows that are measured: all in one batch, and each in one of its own.
TRAIN_MORE = """
for name, batch, epochs in (("together", "6", "9"), ("apart", "1", "2")):
    words = ["--base-model", "base", "--base-model-name", "acme/tiny", "--train", "rows.jsonl"]
    words += ["--validation", "rows.jsonl", "--output", name]
    words += ["--epochs", epochs, "--learning-rate", "1e-2", "--rank", "8"]
    codes[name] = run(sys.modules["sft"], name, [*words, "--batch-size", batch])
"""
#: Each row alone, with the loss of transformers' own model for its labels.
BY_HAND = """
import torch
from sft_rows import read_rows, tokens_of
base = AutoModelForCausalLM.from_pretrained("base")
tuned = PeftModel.from_pretrained(base, "trained/final").eval()
tokenizer = AutoTokenizer.from_pretrained("base")
found = {}
for name in ("rows", "texts"):
    for row in read_rows(Path(name + ".jsonl")):
        ids, start = tokens_of(row, tokenizer)
        labels = torch.tensor([[-100] * start + ids[start:]])
        with torch.no_grad():
            out = tuned(input_ids=torch.tensor([ids]), labels=labels)
        said = out.logits[0, start - 1 : -1].argmax(-1).tolist()
        right = sum(one == other for one, other in zip(said, ids[start:]))
        line = [len(ids) - start, out.loss.item() * (len(ids) - start), right]
        found.setdefault(name, []).append(line)
json.dump(found, open("by_hand.json", "w"))
"""
#: Outputs as they are when a run was interrupted, and as they were before there was the flag.
EARLIER = """
import shutil
shutil.copytree("measured", "broken")
lines = open("measured/predictions.jsonl", "rb").read().splitlines(keepends=True)
open("broken/predictions.jsonl", "wb").write(b"".join(lines[:2]) + lines[2][:20])
shutil.copytree("plain", "older")
header = json.load(open("older/run.json"))
assert header.pop("likelihood") is False
json.dump(header, open("older/run.json", "w"))
lines = open("plain/predictions.jsonl").readlines()
open("older/predictions.jsonl", "w").writelines(lines[:4])
shutil.copytree("older", "older_still")
"""
FLAG = "--likelihood"
TUNED = ("--adapter", "trained/final")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    needs_training()

    def run(name: str, *more: str, into: str = "", **options: str) -> tuple[str, list[str]]:
        return name, arguments(into or name, *more, **options)

    shots = ("--few-shot", "texts.jsonl", "--shots", "1")
    return run_all(
        tmp_path_factory.mktemp("likelihood"),
        [
            TRAIN_MORE,
            BY_HAND,
            run("plain", *TUNED, "--batch-size", "4"),
            run("measured", *TUNED, FLAG, "--batch-size", "4"),
            run("one_by_one", *TUNED, FLAG, "--batch-size", "1"),
            run("all_at_once", *TUNED, FLAG, "--batch-size", "6"),
            run("together_measured", "--adapter", "together/final", FLAG),
            run("apart_measured", "--adapter", "apart/final", FLAG),
            run("texts", *TUNED, FLAG, rows="texts.jsonl"),
            run("base_texts", FLAG, rows="texts.jsonl"),
            run("shown_texts", FLAG, *shots, rows="texts.jsonl"),
            EARLIER,
            run("going_on", *TUNED, FLAG, into="broken"),
            run("unflagged", *TUNED, into="measured"),
            run("older_goes_on", *TUNED, into="older"),
            run("older_flagged", *TUNED, FLAG, into="older_still"),
            run("vllm", FLAG, "--engine", "vllm"),
        ],
    )


def measured(predicted: Predicted, name: str) -> list[tuple[int, float, int]]:
    """What each line says of its expected answer."""
    tokens, loss, right = FIELDS
    return [(row[tokens], row[loss], row[right]) for row in predicted.rows(name)]


def assert_alike(some: list[Any], others: list[Any]) -> None:
    assert [(one[0], one[2]) for one in some] == [(one[0], one[2]) for one in others]
    assert [one[1] for one in some] == pytest.approx([one[1] for one in others], abs=1e-4)


def mean(found: list[tuple[int, float, int]]) -> float:
    return sum(loss for _, loss, _ in found) / sum(tokens for tokens, _, _ in found)


# --- By other measures ----------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "rows"), [("measured", "rows"), ("texts", "texts")])
def test_losses_are_those_of_each_row_alone_by_transformers_own_model(
    predicted: Predicted, run: str, rows: str
) -> None:
    by_hand = json.loads((predicted.folder / "by_hand.json").read_text())[rows]
    assert_alike(measured(predicted, run), by_hand)
    assert all(tokens > 3 for tokens, _, _ in measured(predicted, run))


def test_the_loss_by_token_is_the_one_that_a_training_reports_for_the_same_rows(
    predicted: Predicted,
) -> None:
    told = json.loads((predicted.folder / "together/final/eval_results.json").read_text())
    found = measured(predicted, "together_measured")
    assert mean(found) == pytest.approx(told["eval_loss"], abs=1e-4)
    right = sum(right for _, _, right in found) / sum(tokens for tokens, _, _ in found)
    assert 0 < right < 1
    assert right == pytest.approx(told["eval_mean_token_accuracy"], abs=1e-6)


def test_each_rows_loss_is_the_one_of_a_training_that_looks_at_them_one_by_one(
    predicted: Predicted,
) -> None:
    told = json.loads((predicted.folder / "apart/final/eval_results.json").read_text())
    losses = [loss / tokens for tokens, loss, _ in measured(predicted, "apart_measured")]
    assert sum(losses) / len(losses) == pytest.approx(told["eval_loss"], abs=1e-4)


@pytest.mark.parametrize("other", ["one_by_one", "all_at_once"])
def test_what_is_measured_does_not_depend_on_the_batch(predicted: Predicted, other: str) -> None:
    assert_alike(measured(predicted, "measured"), measured(predicted, other))


def test_measuring_changes_no_answer_and_without_the_flag_nothing_is_written(
    predicted: Predicted,
) -> None:
    answers = predicted.answers("measured")
    kept = [{k: v for k, v in row.items() if k not in FIELDS} for row in answers]
    assert kept == predicted.answers("plain")
    assert predicted.events("measured")[0]["measured"] == len(ROWS)
    assert "measured" not in predicted.events("plain")[0]


def test_an_adapter_that_has_learned_the_rows_finds_them_likelier(predicted: Predicted) -> None:
    assert mean(measured(predicted, "texts")) < mean(measured(predicted, "base_texts"))


def test_examples_change_the_losses_and_not_what_is_measured(predicted: Predicted) -> None:
    alone_, shown = measured(predicted, "base_texts"), measured(predicted, "shown_texts")
    assert [one[0] for one in shown] == [one[0] for one in alone_]
    assert all(one[1] != other[1] for one, other in zip(shown, alone_, strict=True))


def test_the_scorer_of_texts_gives_loss_perplexity_and_accuracy(predicted: Predicted) -> None:
    rows = alone(read_answers(predicted.folder / "texts" / "predictions.jsonl", "predicted")).rows
    scorer = TextScorer()
    values = {one.name: one for one in metrics_of(scorer, [scorer.score(row) for row in rows])}
    loss = mean(measured(predicted, "texts"))
    assert values["loss"].value == pytest.approx(loss, abs=1e-6)
    assert values["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-6)
    assert 0 < values["token_accuracy"].value <= 1
    assert values["loss"].rows == len(TEXTS)


# --- Going on, and what is refused ----------------------------------------------------------------


def test_an_interrupted_run_goes_on_measuring(predicted: Predicted) -> None:
    assert predicted.codes["going_on"] == 0
    assert_alike(measured(predicted, "broken"), measured(predicted, "measured"))


def test_answers_of_before_the_flag_are_gone_on_with(predicted: Predicted) -> None:
    assert predicted.codes["older_goes_on"] == 0
    assert predicted.answers("older") == predicted.answers("plain")


@pytest.mark.parametrize("run", ["unflagged", "older_flagged"])
def test_answers_with_and_without_measures_are_not_mixed(predicted: Predicted, run: str) -> None:
    assert predicted.codes[run] == 2
    assert "were made with other likelihood; name a new output" in predicted.said(run)


def test_vllm_is_refused_before_anything_is_done(predicted: Predicted) -> None:
    assert predicted.codes["vllm"] == 2
    assert "--likelihood: vLLM does not measure" in predicted.said("vllm")
    assert not (predicted.folder / "vllm").exists()
