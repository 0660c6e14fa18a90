"""The training script, run as a job runs it: as a file, in a process of its own.

Importing torch takes seconds, so all trainings of this file share one process.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.safetensors_file import is_zero, non_finite, read_header
from orchestrator.training import sft
from tests.training.trainings import (
    ROWS,
    SCRIPT,
    TALK,
    Trained,
    arguments,
    environment,
    needs_training,
    run_all,
    write_rows,
)

#: The loss of the adapter that was trained first, without trl: each token of the completions and
#: the end behind them, from the logits of the whole row.
BY_HAND = """
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base = AutoModelForCausalLM.from_pretrained("base")
model = PeftModel.from_pretrained(base, "first/final").eval()
words = AutoTokenizer.from_pretrained("first/final")
losses = []
for line in open("validation.jsonl"):
    row = json.loads(line)
    prompt = words(row["prompt"])["input_ids"]
    whole = words(row["prompt"] + row["completion"])["input_ids"] + [words.eos_token_id]
    with torch.no_grad():
        chances = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    losses += [-chances[at - 1, whole[at]].item() for at in range(len(prompt), len(whole))]
json.dump({"losses": losses, "scored": scored}, open("by_hand.json", "w"))
"""
#: A training that diverges between two logs of its loss, as long ones may.
SELDOM_LOGGED = """
sys.modules["sft_trainer"].LOGS = 1
words = json.load(open("plan.json"))["runs"]["diverged"]
words[words.index("--output") + 1] = "seldom"
run("seldom", [*words, "--save-steps", "1"])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Several trainings on a tiny base."""
    needs_training()
    folder = tmp_path_factory.mktemp("sft")
    train = write_rows(folder / "train.jsonl", ROWS)
    validation = write_rows(folder / "validation.jsonl", ROWS[:3])
    long = [{"prompt": "a " * 400, "completion": "b"}, {"prompt": "a", "completion": "b " * 400}]
    mixed = write_rows(folder / "mixed.jsonl", [*ROWS[:2], *long])
    only_long = write_rows(folder / "only_long.jsonl", long[:1])
    chats = [{"messages": TALK}, {"prompt": TALK[:1], "completion": TALK[1:]}]
    chat = write_rows(folder / "chat.jsonl", chats)

    runs = {
        "first": arguments(folder, "first", train, epochs=3, validation=validation),
        "again": arguments(folder, "again", train, epochs=3, validation=validation),
        "other": arguments(folder, "other", train, epochs=3, validation=validation, seed=2),
        "many": arguments(folder, "many", write_rows(folder / "one.jsonl", ROWS[:1]), epochs=12),
        "cut": arguments(folder, "cut", mixed, max_length=100),
        "nothing": arguments(folder, "nothing", only_long, max_length=100),
        "chat": arguments(folder, "chat", chat, epochs=1),
        "diverged": arguments(folder, "diverged", train, learning_rate=1e30),
        "no_base": arguments(folder, "no_base", train, base_model=folder / "absent"),
        "no_target": arguments(folder, "no_target", train, targets="query_key_value"),
    }
    return run_all(folder, train, runs, after=BY_HAND + SELDOM_LOGGED)


@pytest.mark.training
def test_a_training_leaves_an_adapter_its_tokenizer_and_its_metrics(trained: Trained) -> None:
    assert trained.codes["first"] == 0
    names = {file.name for file in trained.final("first").iterdir()}
    assert names >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer_state.json",
        "eval_results.json",
    }
    checkpoints = sorted(one.name for one in (trained.folder / "first").glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    everything = {file.name for file in (trained.folder / "first").rglob("*")}
    assert not everything & {"training_args.bin", "README.md"}
    config = json.loads((trained.final("first") / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert config["target_modules"] == sorted(sft.TARGETS)


@pytest.mark.training
def test_the_loss_falls_and_is_logged_with_what_belongs_to_it(trained: Trained) -> None:
    state = json.loads((trained.final("first") / "trainer_state.json").read_text("utf-8"))
    steps = [entry for entry in state["log_history"] if "loss" in entry]
    assert len(steps) == 9
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.5
    assert all(entry.keys() >= {"loss", "learning_rate", "epoch", "step"} for entry in steps)
    evaluations = [entry for entry in state["log_history"] if "eval_loss" in entry]
    assert [entry["epoch"] for entry in evaluations] == [1, 2, 3]
    results = json.loads((trained.final("first") / "eval_results.json").read_text("utf-8"))
    assert results["eval_loss"] == evaluations[-1]["eval_loss"]


@pytest.mark.training
def test_the_adapter_is_finite_and_has_learned(trained: Trained) -> None:
    file = trained.final("first") / "adapter_model.safetensors"
    tensors = read_header(file).tensors
    assert len(tensors) == 2 * 2 * 7
    assert not any(non_finite(file, tensor) for tensor in tensors.values())
    assert not any(is_zero(file, tensor) for tensor in tensors.values())


@pytest.mark.training
def test_standard_output_is_events_and_nothing_else(trained: Trained) -> None:
    events = trained.events("first")
    assert events[0]["event"] == "start"
    assert events[0]["train"] == {
        "rows": 12,
        "truncated": 0,
        "dropped": 0,
        "tokens": events[0]["train"]["tokens"],
        "trainable_tokens": events[0]["train"]["trainable_tokens"],
    }
    assert 0 < events[0]["train"]["trainable_tokens"] < events[0]["train"]["tokens"]
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == [3, 6, 9]
    assert events[-1]["event"] == "end"


@pytest.mark.training
def test_the_loss_is_that_of_the_completions_and_their_ends_alone(trained: Trained) -> None:
    by_hand = json.loads((trained.folder / "by_hand.json").read_text("utf-8"))
    results = json.loads((trained.final("first") / "eval_results.json").read_text("utf-8"))
    losses = by_hand["losses"]
    assert sum(losses) / len(losses) == pytest.approx(results["eval_loss"], abs=1e-5)
    assert len(losses) == trained.events("first")[0]["validation"]["trainable_tokens"]


@pytest.mark.training
def test_the_head_computes_only_what_is_learned(trained: Trained) -> None:
    # Else a step takes half as long again on a processor.
    scored = json.loads((trained.folder / "by_hand.json").read_text("utf-8"))["scored"]
    start = trained.events("first")[0]
    epoch = start["train"]["trainable_tokens"] + start["validation"]["trainable_tokens"]
    assert scored["first"] == 3 * epoch


@pytest.mark.training
def test_equal_seeds_give_equal_adapters_and_others_do_not(trained: Trained) -> None:
    one, same, other = (
        (trained.final(name) / "adapter_model.safetensors").read_bytes()
        for name in ("first", "again", "other")
    )
    assert one == same
    assert one != other
    configs = [(trained.final(n) / "adapter_config.json").read_bytes() for n in ("first", "again")]
    assert configs[0] == configs[1]


@pytest.mark.training
def test_no_more_than_ten_checkpoints_are_kept(trained: Trained) -> None:
    kept = sorted(int(one.name[11:]) for one in (trained.folder / "many").glob("checkpoint-*"))
    assert kept == list(range(3, 13))


@pytest.mark.training
def test_cut_and_dropped_rows_are_counted(trained: Trained) -> None:
    assert trained.codes["cut"] == 0
    counted = trained.events("cut")[0]["train"]
    assert (counted["rows"], counted["truncated"], counted["dropped"]) == (4, 2, 1)
    assert counted["tokens"] <= 3 * 100


@pytest.mark.training
def test_a_limit_that_leaves_nothing_to_learn_is_an_error(trained: Trained) -> None:
    assert trained.codes["nothing"] == 2
    assert "no trainable token is left" in trained.said("nothing")
    assert not (trained.folder / "nothing").exists()


@pytest.mark.training
def test_of_a_conversation_only_the_last_turn_is_learned(trained: Trained) -> None:
    assert trained.codes["chat"] == 0
    counted = trained.events("chat")[0]["train"]
    # Both rows are the same talk: an answer of a few tokens behind a longer question.
    assert counted["rows"] == 2
    assert counted["trainable_tokens"] % 2 == 0
    assert 0 < counted["trainable_tokens"] < counted["tokens"] / 2


@pytest.mark.training
def test_a_training_that_diverges_stops_and_says_so(trained: Trained) -> None:
    assert trained.codes["diverged"] == 1
    assert "the training diverged; lower --learning-rate" in trained.said("diverged")
    assert trained.events("diverged")[-1]["event"] == "failed"
    assert not trained.final("diverged").exists()


@pytest.mark.training
def test_no_checkpoint_is_reported_of_weights_that_are_no_numbers(trained: Trained) -> None:
    events = trained.events("seldom")
    # The step before the broken one had weights still, and is what the run would go on from.
    assert [one["step"] for one in events if one["event"] == "checkpoint"] == [1, 2]
    assert "is not finite after step 3: the training diverged" in events[-1]["message"]
    left = {one.name for one in (trained.folder / "seldom").iterdir()}
    assert left == {"checkpoint-1", "checkpoint-2"}


@pytest.mark.training
def test_a_base_model_or_target_that_is_not_there_is_bad_input(trained: Trained) -> None:
    assert (trained.codes["no_base"], trained.codes["no_target"]) == (2, 2)
    assert "cannot be loaded" in trained.said("no_base")
    assert "has no modules called query_key_value" in trained.said("no_target")


# --- Without training --------------------------------------------------------------------------


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-X", "importtime", str(SCRIPT), *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_needs_no_torch(tmp_path: Path) -> None:
    done = _run(tmp_path, "--help")
    assert done.returncode == 0
    assert "--max-length" in done.stdout
    assert "argparse" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.endswith((" torch", " trl"))]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "train.jsonl:2: is not JSON"),
        ("[1]", "train.jsonl:2: is not a JSON object"),
        ('{"prompt": "a"}', "train.jsonl:2: needs prompt and completion"),
        ('{"prompt": "a", "completion": ""}', "train.jsonl:2: needs prompt and completion"),
        ('{"messages": []}', "train.jsonl:2: messages must be"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "train.jsonl:2: messages must be"),
    ],
)
def test_a_broken_row_is_named_before_anything_is_loaded(
    tmp_path: Path, row: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n' + row + "\n", encoding="utf-8")
    # No such base model: had it been looked for first, that would have been said.
    words = ["--base-model", "x", "--train", str(file), "--output", str(tmp_path / "out")]
    assert sft.main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("sft.py: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    done = _run(tmp_path, "--base-model", "x", "--train", "gone.jsonl", "--output", "out")
    _assert_bad_input(done, "gone.jsonl: cannot be read: No such file")


def test_an_empty_file_and_a_used_output_folder_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    done = _run(tmp_path, "--base-model", "x", "--train", "empty.jsonl", "--output", "out")
    _assert_bad_input(done, "empty.jsonl: holds no rows")
    write_rows(tmp_path / "train.jsonl", ROWS)
    done = _run(tmp_path, "--base-model", "x", "--train", "train.jsonl", "--output", ".")
    _assert_bad_input(done, "is not empty")


def _assert_bad_input(done: subprocess.CompletedProcess[str], said: str) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("sft.py: ")
    assert said in lines[0]
    assert not done.stdout


@pytest.mark.parametrize(
    "wrong",
    [["--epochs", "0"], ["--learning-rate", "0"], ["--learning-rate", "nan"], ["--dropout", "1"]],
)
def test_a_number_out_of_range_is_bad_usage(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        sft.parse_arguments(["--base-model", "x", "--train", "t", "--output", "o", *wrong])
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_alpha_is_twice_the_rank_unless_it_is_given() -> None:
    base = ["--base-model", "x", "--train", "t", "--output", "o", "--rank", "4"]
    assert sft.parse_arguments(base).alpha == 8
    assert sft.parse_arguments([*base, "--alpha", "5"]).alpha == 5


def test_the_script_names_what_it_needs_within_the_sandbox_extra() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    block = lines[1 : lines.index("# ///", 1)]
    assert lines[0] == "# /// script"
    metadata = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in block))
    pins = {one.name: one for one in map(Requirement, metadata["dependencies"])}
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    extra = setup["options.extras_require"]["sandbox"].split()
    needed = {one.name: one for one in map(Requirement, extra)}
    shared = needed.keys() & pins.keys()
    assert shared >= {"torch", "transformers", "peft", "trl", "datasets"}
    for name in shared:
        (pin,) = pins[name].specifier
        assert pin.operator == "=="
        assert needed[name].specifier.contains(pin.version)
