"""What ends a training early: a plateau, answers that no longer parse, numbers that are none."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import sft
from orchestrator.training.sft_events import Metrics
from orchestrator.training.sft_model import Precision
from orchestrator.training.sft_probe import Judged, calls_module, has_drifted, judge
from orchestrator.training.sft_watch import is_on_plateau, refuse_non_finite
from tests.training.trainings import Trained, arguments, needs_training, run_all, write_rows

FP32 = Precision("fp32", "fp32", "")
FP16 = Precision("fp16", "fp16", "")
#: Short answers that a tiny model can learn by heart: all alike.
SAME = [
    {"prompt": f"{letter} ", "completion": '{"a":1}'} for letter in ("one", "two", "six", "ten")
]
TOOLS = [{"type": "function", "function": {"name": "go", "parameters": {"type": "object"}}}]
CHAT = [
    {
        "prompt": [{"role": "user", "content": f"Go {number}"}],
        "completion": [{"role": "assistant", "content": '{"a":1}'}],
        "tools": TOOLS,
    }
    for number in range(4)
]


@pytest.mark.parametrize(
    ("losses", "patience", "delta", "ends"),
    [
        ([], 1, 0.0, False),
        ([3.0, 2.0, 1.0], 1, 0.0, False),
        ([3.0, 3.0], 1, 0.0, True),
        ([3.0, 3.0], 2, 0.0, False),
        ([3.0, 3.1, 2.9, 3.0], 2, 0.0, False),
        ([3.0, 2.95, 2.92], 2, 0.1, True),
        # Slow progress adds up: each loss is held against the best that counted.
        ([3.0, 2.95, 2.85], 2, 0.1, False),
    ],
)
def test_a_plateau_is_a_number_of_evaluations_without_progress(
    losses: list[float], patience: int, delta: float, ends: bool
) -> None:
    assert is_on_plateau(losses, patience, delta) is ends


@pytest.mark.parametrize("name", ["loss", "eval_loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_stops_a_training(name: str, value: float) -> None:
    with pytest.raises(sft.TrainingStopped, match=f"{name} is .* at step 7: the training diverged"):
        refuse_non_finite({name: value}, 7, FP32)
    refuse_non_finite({"loss": 1.0, "epoch": 1}, 7, FP32)


def test_while_the_scale_of_fp16_is_found_gradients_may_overflow() -> None:
    refuse_non_finite({"grad_norm": math.inf}, 1, FP16)
    with pytest.raises(sft.TrainingStopped):
        refuse_non_finite({"loss": math.nan}, 1, FP16)


def test_numbers_that_json_lacks_are_written_as_texts() -> None:
    stream = io.StringIO()
    Metrics(stream).emit("log", loss=math.nan, step=1)
    assert json.loads(stream.getvalue()) == {"event": "log", "loss": "nan", "step": 1}


# --- Answers -----------------------------------------------------------------------------------

GEMMA = "<start_function_call>call:go{to:<escape>a}<escape>,n:1}<end_function_call>"


@pytest.mark.parametrize(
    ("syntax", "answer", "expected", "parsed", "exact"),
    [
        ("none", "anything", "else", True, False),
        ("none", " same\n", "same", True, True),
        ("json", '{"a": 1, "b": 2}', '{"b":2,"a":1}', True, True),
        ("json", '{"a": 2}', '{"a": 1}', True, False),
        ("json", '{"a": 1', '{"a": 1}', False, False),
        ("functiongemma", GEMMA, GEMMA, True, True),
        ("functiongemma", GEMMA.replace("n:1", "n:2"), GEMMA, True, False),
        ("functiongemma", GEMMA[:-20], GEMMA, False, False),
        # A text is no call, but an answer where a text is expected.
        ("functiongemma", "I cannot.", GEMMA, False, False),
        ("functiongemma", "I cannot.", "I can.", True, False),
        (
            "hermes",
            '<tool_call>{"name": "go", "arguments": {}}</tool_call>',
            '<tool_call>\n{"arguments":{},"name":"go"}\n</tool_call>',
            True,
            True,
        ),
        ("llama", '{"name": "go", "parameters": {"a": ', '{"name": "go", "parameters": {}}', 0, 0),
        ("openai", '[{"name": "go", "arguments": "{}"}]', '{"name":"go","arguments":{}}', 1, 1),
    ],
)
def test_an_answer_is_held_against_the_expected_one(
    syntax: str, answer: str, expected: str, parsed: bool, exact: bool
) -> None:
    judged = judge([answer], [expected], syntax)
    assert (judged.unparsed, judged.exact) == (int(not parsed), int(exact))


@pytest.mark.parametrize(
    ("earlier", "now", "limit", "done", "drifted"),
    [
        ([], 10, 0.2, 1.0, False),
        ([0], 2, 0.2, 1.0, False),
        # Enough parsed once, be it long ago.
        ([0], 3, 0.2, 0.1, True),
        ([9, 2, 4], 3, 0.2, 0.1, True),
        # Enough never parsed: half of the steps to learn it, and more while it gets better.
        ([10], 10, 0.2, 0.4, False),
        ([10], 10, 0.2, 0.5, True),
        ([10], 9, 0.2, 0.5, False),
        ([0], 10, None, 1.0, False),
    ],
)
def test_the_format_drifts_if_it_is_lost_or_not_learned_in_half_of_the_steps(
    earlier: list[int], now: int, limit: float | None, done: float, drifted: bool
) -> None:
    judged = [Judged(10, one, 0) for one in earlier]
    assert has_drifted(judged, Judged(10, now, 0), limit, done) is drifted


def test_tool_calls_are_read_by_the_package_s_own_parser() -> None:
    from orchestrator import calls

    assert Path(str(calls_module().__file__)).read_bytes() == Path(calls.__file__).read_bytes()


# --- Trainings ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trainings that are probed, and that end early or not."""
    needs_training()
    folder = tmp_path_factory.mktemp("watch")
    train = write_rows(folder / "train.jsonl", SAME)
    words = write_rows(
        folder / "words.jsonl", [{**row, "completion": "no such thing"} for row in SAME]
    )
    chat = write_rows(folder / "chat.jsonl", CHAT)
    learning: dict[str, Any] = {"epochs": 20, "learning_rate": 3e-2, "save_steps": 10, "rank": 8}
    json_probe: dict[str, Any] = {"probe": train, "answer_syntax": "json"}
    runs = {
        "plain": arguments(folder, "plain", train, **learning),
        "learned": arguments(folder, "learned", train, **learning, **json_probe),
        "chat": arguments(folder, "chat", chat, **learning, probe=chat, answer_syntax="json"),
        "drifted": arguments(
            folder, "drifted", words, **learning, **json_probe, validation=words, max_unparsed=0.5
        ),
        "flat": arguments(
            folder,
            "flat",
            train,
            validation=train,
            epochs=9,
            learning_rate=1e-9,
            plateau_patience=2,
            plateau_delta=0.01,
        ),
    }
    return run_all(folder, train, runs)


def _probes(trained: Trained, run: str) -> list[dict[str, Any]]:
    return [event for event in trained.events(run) if event["event"] == "probe"]


@pytest.mark.training
@pytest.mark.parametrize("run", ["learned", "chat"])
def test_a_probe_sees_a_model_learn_its_answers(trained: Trained, run: str) -> None:
    assert trained.codes[run] == 0, trained.said(run)
    probes = _probes(trained, run)
    assert [one["step"] for one in probes] == [0, 10, 20]
    assert probes[0] == {"event": "probe", "step": 0, "rows": 4, "unparsed": 4, "exact": 0}
    assert probes[-1] == {"event": "probe", "step": 20, "rows": 4, "unparsed": 0, "exact": 4}


@pytest.mark.training
def test_a_probe_changes_nothing_in_the_training(trained: Trained) -> None:
    one, other = (
        (trained.final(run) / "adapter_model.safetensors").read_bytes()
        for run in ("plain", "learned")
    )
    assert one == other


@pytest.mark.training
def test_a_training_whose_answers_never_parse_is_stopped(trained: Trained) -> None:
    assert trained.codes["drifted"] == 1
    assert trained.said("drifted").startswith(
        "sft.py: 4 of 4 answers to the probe do not parse as json at step 10 (4 before, at best)"
    )
    assert trained.events("drifted")[-1]["event"] == "failed"
    assert not trained.final("drifted").exists()


@pytest.mark.training
def test_a_training_on_a_plateau_ends_with_its_weights(trained: Trained) -> None:
    assert trained.codes["flat"] == 0
    end = trained.events("flat")[-1]
    assert (end["event"], end["step"], end["ended_by"]) == ("end", 3, "plateau")
    assert (trained.final("flat") / "adapter_model.safetensors").is_file()
    assert (trained.folder / "flat" / "checkpoint-3").is_dir()
    assert trained.events("learned")[-1]["ended_by"] is None
