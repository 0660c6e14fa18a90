"""The prediction script on tiny models, one of which was really trained."""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.training import generate
from tests.training.predictions import (
    NEW_TOKENS,
    ROWS,
    TEXTS,
    Predicted,
    answer,
    arguments,
    run_all,
)

pytestmark = pytest.mark.training

#: Makes a copy of the model whose generation config names one token more that ends answers: the
#: last one before the end that the model says to every other row.
OTHER_END = """
import shutil
from transformers import AutoTokenizer
said = json.loads(open("full/predictions.jsonl").readline())["predicted"]
tokenizer = AutoTokenizer.from_pretrained("merged")
end = tokenizer(said, add_special_tokens=False)["input_ids"][-1]
shutil.copytree("merged", "ending")
config = json.load(open("ending/generation_config.json"))
config["eos_token_id"] = [tokenizer.eos_token_id, end]
# What a model brings along for sampling must not count.
config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
json.dump(config, open("ending/generation_config.json", "w"))
"""
#: Leaves two whole lines and half a third one.
INTERRUPT = """
import shutil
shutil.copytree("tuned", "broken")
lines = open("tuned/predictions.jsonl", "rb").read().splitlines(keepends=True)
open("broken/predictions.jsonl", "wb").write(b"".join(lines[:2]) + lines[2][:20])
open("broken/metrics.jsonl", "w").write("{}")
"""
FORGED = """
shutil.copytree("tuned", "forged")
lines = open("tuned/predictions.jsonl", "rb").read().splitlines(keepends=True)
open("forged/predictions.jsonl", "wb").write(lines[1] + lines[0])
shutil.copytree("tuned", "headless")
import os
os.remove("headless/run.json")
open("less.jsonl", "w").writelines(open("rows.jsonl").readlines()[:3])
open("wrong.jsonl", "w").write('{"prompt": 1}')
# One adapter that names another base, and one whose weights have no place in this one.
for name in ("stranger", "misfit"):
    shutil.copytree("trained/final", name)
file = "stranger/adapter_config.json"
text = open(file).read().replace("acme/tiny", "people/other")
open(file, "w").write(text)
from safetensors.torch import load_file, save_file
weights = load_file("misfit/adapter_model.safetensors")
renamed = {key.replace("q_proj", "query"): value for key, value in weights.items()}
save_file(renamed, "misfit/adapter_model.safetensors", metadata={"format": "pt"})
"""
TUNED = ("--adapter", "trained/final")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("the sandbox extra is not installed: pip install 'orchestrator[sandbox]'")

    def run(name: str, *more: str, into: str = "", **options: str) -> tuple[str, list[str]]:
        return name, arguments(into or name, *more, **options)

    shots = ("--few-shot", "rows.jsonl", "--shots", "2")
    return run_all(
        tmp_path_factory.mktemp("generate"),
        [
            run("base_run", "--batch-size", "4"),
            run("base_one", "--batch-size", "1"),
            run("base_six", "--batch-size", "6"),
            run("tuned", *TUNED, "--batch-size", "4"),
            run("tuned_one", *TUNED, "--batch-size", "1"),
            run("full", model="merged"),
            run("texts", rows="texts.jsonl"),
            run("stopped", *TUNED, "--stop", "gent", "none of it"),
            run("limited", "--limit", "2"),
            run("shots", *shots),
            run("shots_again", *shots),
            run("other_seed", *shots, "--seed", "7"),
            run("shown", *TUNED, "--diagnose", "1"),
            run("shown_text", "--diagnose", "1", rows="texts.jsonl"),
            OTHER_END,
            run("ended", model="ending"),
            INTERRUPT,
            run("going_on", *TUNED, "--batch-size", "4", into="broken"),
            run("nothing_left", *TUNED, into="broken"),
            FORGED,
            run("forged_run", *TUNED, into="forged"),
            run("headless_run", *TUNED, into="headless"),
            run("other_rows", *TUNED, into="tuned", rows="less.jsonl"),
            run("other_model", into="tuned"),
            run("other_length", *TUNED, "--max-new-tokens", "5", into="tuned"),
            run("wrong_rows", rows="wrong.jsonl"),
            run("no_base", model="absent"),
            run("no_adapter", "--adapter", "base"),
            run("stranger_run", "--adapter", "stranger"),
            run("stranger_told", "--adapter", "stranger", "--other-base"),
            run("misfit_run", "--adapter", "misfit"),
            run("too_long", "--max-new-tokens", "8190"),
            run("no_examples", "--shots", "2"),
            run("few_examples", "--few-shot", "less.jsonl", "--shots", "3"),
            run("mixed", "--few-shot", "texts.jsonl", "--shots", "1"),
            run("vllm", "--engine", "vllm"),
            run("half", "--precision", "fp16"),
        ],
    )


def test_a_line_for_each_row_says_what_was_asked_and_answered(predicted: Predicted) -> None:
    assert predicted.codes["tuned"] == 0
    rows = predicted.rows("tuned")
    assert [row["row"] for row in rows] == list(range(len(ROWS)))
    for row, given in zip(rows, ROWS, strict=True):
        asked = {"prompt": given["prompt"], "tools": given["tools"]}
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        assert row["prompt_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert row["prompt_tokens"] > 10
        assert 0 < row["new_tokens"] <= NEW_TOKENS
        assert row["latency_s"] > 0
    assert rows[1]["prompt_tokens"] > rows[0]["prompt_tokens"] + 20  # the tools were shown


def test_an_adapter_that_has_learned_answers_as_expected_and_the_base_does_not(
    predicted: Predicted,
) -> None:
    rows = predicted.rows("tuned")
    assert [row["expected"] for row in rows] == [answer(n) for n in range(len(ROWS))]
    right = [row for row in rows if row["predicted"] == row["expected"]]
    assert len(right) >= 5
    assert {row["stopped_by"] for row in right} == {"eos"}
    assert not [row for row in predicted.rows("base_run") if row["predicted"] == row["expected"]]


def test_special_tokens_stay_and_only_what_ends_the_answer_goes(predicted: Predicted) -> None:
    right = [row for row in predicted.rows("tuned") if row["stopped_by"] == "eos"]
    assert all("<|turn|>" in row["predicted"] for row in right)
    assert all(row["raw"] == row["predicted"] + "</s>" for row in right)


@pytest.mark.parametrize(
    ("one", "other"),
    [("base_run", "base_one"), ("base_run", "base_six"), ("tuned", "tuned_one")],
)
def test_the_answers_do_not_depend_on_the_batch(predicted: Predicted, one: str, other: str) -> None:
    assert predicted.answers(one) == predicted.answers(other)


def test_base_with_adapter_and_the_merged_model_answer_alike(predicted: Predicted) -> None:
    assert predicted.codes["full"] == 0
    assert predicted.answers("full") == predicted.answers("tuned")
    assert predicted.answers("full") != predicted.answers("base_run")


def test_an_adapter_that_names_another_base_is_taken_when_told_so(predicted: Predicted) -> None:
    assert predicted.answers("stranger_told") == predicted.answers("tuned")


def test_an_adapter_whose_weights_have_no_place_answers_nothing(predicted: Predicted) -> None:
    # PEFT only warns, and the base would have answered in its name.
    assert predicted.codes["misfit_run"] == 2
    assert "such tensors)" in predicted.said("misfit_run")
    assert not (predicted.folder / "misfit_run" / "predictions.jsonl").exists()


def test_texts_go_raw(predicted: Predicted) -> None:
    rows = predicted.rows("texts")
    assert [row["expected"] for row in rows] == [row["completion"] for row in TEXTS]
    assert max(row["prompt_tokens"] for row in rows) < 30


def test_a_stop_text_ends_an_answer_and_is_not_part_of_it(predicted: Predicted) -> None:
    stopped = [row for row in predicted.rows("stopped") if row["stopped_by"] == "stop_text"]
    assert len(stopped) >= 5
    before = {row["row"]: row for row in predicted.rows("tuned")}
    for row in stopped:
        assert row["predicted"] == before[row["row"]]["raw"].split("gent")[0]
        assert row["new_tokens"] < before[row["row"]]["new_tokens"]


def test_tokens_that_the_generation_config_names_end_an_answer(predicted: Predicted) -> None:
    assert predicted.codes["ended"] == 0
    ended, before = predicted.rows("ended"), predicted.rows("full")
    assert (before[0]["stopped_by"], ended[0]["stopped_by"]) == ("eos", "end_of_turn")
    assert ended[0]["new_tokens"] == before[0]["new_tokens"] - 1
    assert ended[0]["raw"] == before[0]["predicted"] == ended[0]["predicted"] + " 0"
    # Greedy, although the config asks for sampling and a penalty.
    assert ended[1]["raw"] == before[1]["raw"]


def test_rows_of_a_batch_that_end_earlier_have_waited_less(predicted: Predicted) -> None:
    short, long = predicted.rows("ended")[:2]
    assert short["new_tokens"] < long["new_tokens"]
    assert short["latency_s"] < long["latency_s"]


def test_a_limit_answers_the_first_rows(predicted: Predicted) -> None:
    assert [row["row"] for row in predicted.rows("limited")] == [0, 1]
    assert predicted.answers("limited") == predicted.answers("base_run")[:2]


def test_examples_lengthen_the_prompt_and_change_with_the_seed_only(predicted: Predicted) -> None:
    shown, alone = predicted.rows("shots"), predicted.rows("base_run")
    assert all(a["prompt_tokens"] > b["prompt_tokens"] for a, b in zip(shown, alone, strict=True))
    assert [a["prompt_sha256"] for a in shown] == [b["prompt_sha256"] for b in alone]
    assert predicted.answers("shots") == predicted.answers("shots_again")
    assert predicted.answers("shots") != predicted.answers("other_seed")


def test_an_interrupted_run_goes_on_after_its_last_whole_line(predicted: Predicted) -> None:
    assert predicted.codes["going_on"] == 0
    start = predicted.events("going_on")[0]
    assert (start["event"], start["done"], start["rows"]) == ("start", 2, 6)
    assert predicted.answers("broken") == predicted.answers("tuned")
    kept = (predicted.folder / "tuned" / "predictions.jsonl").read_text().splitlines()[:2]
    assert (predicted.folder / "broken" / "predictions.jsonl").read_text().splitlines()[:2] == kept


def test_a_run_with_nothing_left_to_do_loads_no_model(predicted: Predicted) -> None:
    assert predicted.codes["nothing_left"] == 0
    assert [one["event"] for one in predicted.events("nothing_left")] == ["start", "end"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("other_rows", "were made with other rows_sha256; name a new output"),
        ("other_model", "were made with other adapter_sha256; name a new output"),
        ("other_length", "were made with other max_new_tokens; name a new output"),
        ("headless_run", "holds predictions.jsonl without run.json"),
        ("forged_run", "predictions.jsonl:1: does not belong to row 0"),
        ("wrong_rows", "wrong.jsonl:1: needs prompt and completion"),
        ("no_base", "--base-model absent: cannot be loaded"),
        ("no_adapter", "base/adapter_config.json: is not the configuration of an adapter"),
        ("stranger_run", "the adapter was trained on people/other, not on acme/tiny"),
        ("too_long", "and --max-new-tokens 8190 are more than the 8192"),
        ("no_examples", "--few-shot and --shots belong together"),
        ("few_examples", "--shots 3: --few-shot has only 2 other rows"),
        ("mixed", "prompts and examples must both be texts, or messages"),
        ("vllm", "--engine vllm: vllm is not installed"),
        ("half", "--precision fp16: needs a GPU"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_touched(
    predicted: Predicted, run: str, said: str
) -> None:
    assert predicted.codes[run] == 2
    assert predicted.said(run).startswith("generate.py: ")
    assert said in predicted.said(run)
    assert predicted.out(run) == ""
    assert len(predicted.rows("tuned")) == len(ROWS)


def test_standard_output_is_events_and_run_json_holds_no_path(predicted: Predicted) -> None:
    events = predicted.events("tuned")
    assert [one["event"] for one in events] == ["start", "loaded", "progress", "progress", "end"]
    header = (predicted.folder / "tuned" / "run.json").read_text()
    assert json.loads(header)["base_model"] == "acme/tiny"
    assert "/" not in header.replace("acme/tiny", "")


def test_a_diagnosis_shows_a_row_in_every_way(predicted: Predicted) -> None:
    assert predicted.codes["shown"] == 0
    said = predicted.out("shown")
    labels = [line for line in said.splitlines() if line.startswith("-----")]
    assert [label.split(",")[0].removeprefix("----- ") for label in labels] == [
        "prompt",
        "expected",
        "answer with special tokens",
        "answer without special tokens",
        "answer as it is predicted",
        "answer when no token stops it",
        "prompt without the chat template",
        "answer without the chat template",
    ]
    assert "| <|turn|>user\n| Add one.<|end|>" in said
    assert "ended by eos\n| <|turn|>agent 0</s>\n" in said
    assert "answer without special tokens\n| agent 0\n" in said
    assert "NOTE: stripping special tokens changes this answer." in said
    assert f"stops it, {NEW_TOKENS} tokens\n| <|turn|>agent 0</s>" in said
    assert predicted.answers("shown") == predicted.answers("tuned")


def test_a_diagnosis_of_a_raw_text_shows_the_template(predicted: Predicted) -> None:
    said = predicted.out("shown_text")
    assert "prompt, raw text, no template" in said
    assert "----- prompt through the chat template\n| <s><|turn|>user\n| Add one." in said


def test_what_the_script_installs_is_what_the_project_tests_with() -> None:
    text = Path(generate.__file__).read_text(encoding="utf-8")
    block = text.split("# /// script\n")[1].split("# ///\n")[0]
    metadata = tomllib.loads("".join(line[2:] + "\n" for line in block.splitlines()))
    setup = configparser.ConfigParser()
    setup.read(Path(generate.__file__).parents[2] / "setup.cfg")
    extra = [Requirement(x) for x in setup["options.extras_require"]["sandbox"].split("\n") if x]
    allowed = {one.name: one.specifier for one in extra}
    for pinned in map(Requirement, metadata["dependencies"]):
        (only,) = pinned.specifier
        assert only.operator == "=="
        assert pinned.name not in allowed or allowed[pinned.name].contains(only.version)
