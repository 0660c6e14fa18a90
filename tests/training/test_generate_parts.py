"""Parts of the prediction script that need no model: examples, expected answers, stops, vLLM."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import generate, generate_model, generate_prompts, generate_vllm
from orchestrator.training.sft_rows import Row

assert generate.__file__  # imported first: it puts its folder where the others find each other


class Words:
    """A tokenizer whose tokens are words, some of which are special."""

    chat_template = "yes"
    eos_token_id = 0
    special = ("<eos>", "<end_of_turn>", "<call>")

    def __init__(self) -> None:
        self.words = [*self.special, "go", "up", "STOP", "now"]

    def get_vocab(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def decode(self, ids: list[int], *, skip_special_tokens: bool, **_: Any) -> str:
        words = [self.words[one] for one in ids]
        return " ".join(w for w in words if not (skip_special_tokens and w in self.special))

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        words = text.split()
        self.words += [word for word in dict.fromkeys(words) if word not in self.words]
        return {"input_ids": [self.words.index(word) for word in words]}

    def apply_chat_template(
        self, messages: Any, tools: Any, *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        if any(turn["role"] == "tool" for turn in messages):
            raise ValueError("no tools here")
        text = "".join(f"[{turn['role']}] {turn['content']} <end_of_turn>\n" for turn in messages)
        # As templates do that write an empty thought before an answer, in the prompt only.
        return text + ("[assistant] <think></think>" if add_generation_prompt else "")


def chat(question: str, said: str, *, system: str = "") -> Row:
    leading = [{"role": "system", "content": system}] if system else []
    asked = [*leading, {"role": "user", "content": question}]
    return Row(question, asked, [{"role": "assistant", "content": said}])


def test_examples_stand_between_the_system_turn_and_the_question() -> None:
    examples = [chat(f"q{n}", f"a{n}", system="Another.") for n in range(5)]
    shown = generate_prompts.Shots(examples, 2, 0).before(chat("mine", "?", system="Route."))
    contents = [turn["content"] for turn in shown.prompt]
    assert contents[0] == "Route."
    assert contents[-1] == "mine"
    pairs = list(zip(contents[1:-1:2], contents[2:-1:2], strict=True))
    assert len(pairs) == 2
    assert all(answer == question.replace("q", "a") for question, answer in pairs)


def test_a_row_is_never_its_own_example() -> None:
    rows = [chat(f"q{n}", f"a{n}") for n in range(4)]
    shots = generate_prompts.Shots(rows, 3, 0)
    for row in rows:
        shown = shots.before(Row("elsewhere", row.prompt, row.completion))
        assert sum(turn == row.prompt[-1] for turn in shown.prompt) == 1
    with pytest.raises(Exception, match="only 3 other rows"):
        generate_prompts.Shots(rows, 4, 0).before(rows[0])


def test_examples_of_texts_are_texts() -> None:
    rows = [Row("", f"q{n}: ", f"a{n}") for n in range(3)]
    shown = generate_prompts.Shots(rows, 2, 1).before(rows[0])
    assert shown.prompt in ("q1: a1\n\nq2: a2\n\nq0: ", "q2: a2\n\nq1: a1\n\nq0: ")


def test_what_is_expected_is_what_the_template_makes_of_the_answer() -> None:
    row = chat("where", "<call> up")
    prompt = generate_prompts.prepare(0, row, row, Words(), ["<end_of_turn>", "<eos>"])
    assert prompt.text == "[user] where <end_of_turn>\n[assistant] <think></think>"
    assert prompt.expected == "<call> up"


def test_a_template_that_refuses_a_row_is_told_with_its_place() -> None:
    row = Row("rows.jsonl:7", [{"role": "tool", "content": "x"}], [])
    with pytest.raises(Exception, match=r"rows\.jsonl:7: the chat template refuses"):
        generate_prompts.prepare(0, row, row, Words(), [])


def test_the_digest_of_a_prompt_is_that_of_its_canonical_json() -> None:
    # Made with: printf '{"prompt":"h\303\251","tools":null}' | sha256sum
    digest = "0d74af49eb3178910f89ed88fb3aee82237bc2f560368844582632ee01a9db44"
    assert generate_prompts.prompt_sha256(Row("", "hé", "x")) == digest
    assert generate_prompts.prompt_sha256(Row("elsewhere", "hé", "y")) == digest
    assert generate_prompts.prompt_sha256(Row("", "hé", "x", [{"a": 1}])) != digest


def test_answers_end_at_the_models_own_tokens_and_at_well_known_marks() -> None:
    config = types.SimpleNamespace(eos_token_id=[0, 5])
    stops = generate_model.stops_of(Words(), config, ["\n\n"])
    assert stops.ids == [0, 1, 5]
    assert [stops.reason(one) for one in (0, 1, 5, 3)] == [
        "eos",
        "end_of_turn",
        "end_of_turn",
        None,
    ]


@dataclass
class Said:
    """What vLLM returns for one prompt, as far as it is read."""

    token_ids: list[int]
    finish_reason: str
    stop_reason: Any = None
    text: str = ""


@dataclass
class FakeVllm:
    """Answers what it is given, and keeps what it was asked."""

    answers: list[Said]
    made: dict[str, Any] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vllm, lora = types.ModuleType("vllm"), types.ModuleType("vllm.lora.request")
        outer = self

        class LLM:
            def __init__(self, **options: Any) -> None:
                outer.made["llm"] = options

            def generate(self, prompts: Any, params: Any, **options: Any) -> list[Any]:
                outer.made |= {"prompts": prompts, "params": params, **options}
                return [types.SimpleNamespace(outputs=[one], metrics=None) for one in outer.answers]

        vllm.__dict__.update(LLM=LLM, SamplingParams=lambda **options: options)
        lora.__dict__["LoRARequest"] = lambda *parts: parts
        monkeypatch.setitem(sys.modules, "vllm", vllm)
        monkeypatch.setitem(sys.modules, "vllm.lora.request", lora)


def test_answers_of_vllm_are_read_like_those_of_transformers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeVllm(
        [
            Said([2, 3, 0], "stop"),
            Said([2, 3, 1], "stop", 1),
            Said([3, 4, 5], "stop", "STOP", "go up "),
            Said([3, 4], "length"),
        ]
    )
    fake.install(monkeypatch)
    stops = generate_model.Stops(0, frozenset({1}), ("STOP",))
    engine = generate_vllm.VllmEngine(
        "acme/base",
        "abc",
        None,
        Words(),
        stops,
        new_tokens=9,
        context_tokens=11,
        dtype="bfloat16",
        seed=3,
    )
    answers = engine.answer([[7, 8]] * 4)
    assert [(one.predicted, one.stopped_by) for one in answers] == [
        ("<call> go", "eos"),
        ("<call> go", "end_of_turn"),
        ("go up ", "stop_text"),
        ("go up", "max_new_tokens"),
    ]
    assert [one.raw for one in answers][:2] == ["<call> go <eos>", "<call> go <end_of_turn>"]
    assert fake.made["llm"] == {
        "model": "acme/base",
        "revision": "abc",
        "dtype": "bfloat16",
        "seed": 3,
        "max_model_len": 11,
    }
    assert fake.made["params"]["temperature"] == 0.0
    assert fake.made["params"]["skip_special_tokens"] is False
    assert fake.made["prompts"][0] == {"prompt_token_ids": [7, 8]}
    assert fake.made["lora_request"] is None


def _adapter(folder: Path, **config: Any) -> Path:
    given = {"peft_type": "LORA", "r": 12, "bias": "none", **config}
    (folder / "adapter_config.json").write_text(json.dumps(given))
    return folder


@pytest.mark.parametrize(("rank", "asked"), [(4, 8), (12, 16), (24, 32), (512, 512)])
def test_vllm_is_asked_for_a_rank_that_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int, asked: int
) -> None:
    fake = FakeVllm([])
    fake.install(monkeypatch)
    stops = generate_model.Stops(0, frozenset(), ())
    adapter = _adapter(tmp_path, r=rank)
    generate_vllm.VllmEngine(
        "b", None, adapter, Words(), stops, new_tokens=1, context_tokens=2, dtype="auto", seed=1
    )
    assert fake.made["llm"]["max_lora_rank"] == asked


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias all"),
        ({"rank_pattern": {"v_proj": 4}}, "rank_pattern"),
        ({"peft_type": "LOHA"}, "peft_type LOHA"),
        ({"r": 600}, "rank 600"),
    ],
)
def test_an_adapter_that_vllm_cannot_apply_goes_to_transformers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(sys.modules["generate_vllm"], "is_installed", lambda: True)
    plain, other = tmp_path / "plain", tmp_path / "other"
    for folder in (plain, other):
        folder.mkdir()
    engine = generate._engine_of
    assert engine("auto", _adapter(plain), cuda=True) == "vllm"
    assert engine("auto", None, cuda=True) == "vllm"
    assert engine("auto", _adapter(other, **config), cuda=True) == "transformers"
    with pytest.raises(sys.modules["sft_events"].BadInput, match=words):
        engine("vllm", other, cuda=True)
