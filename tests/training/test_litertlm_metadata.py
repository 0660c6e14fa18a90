"""What a LiteRT-LM file says of its model: the template, the ends, the sampler.

The runtime's ways (contents in parts, an empty `bos_token`, one start token too many) were seen by
running it; export_litertlm.py asks it again at every export.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dataset.tokens.jinja_rendering import compiled
from orchestrator.training import export_litertlm
from orchestrator.training import litertlm_metadata as metadata
from tests.training.test_ollama_template import CHATML, FUNCTIONGEMMA, GEMMA, LLAMA

assert export_litertlm.__file__  # imported first: it puts its folder where the others are found

#: The start token as a text, where others name the variable: its text is the tokenizer's bos.
LITERAL = CHATML
#: Ends every answer with a token that the runtime knows no name for.
WITH_EOS = (
    "{{ bos_token }}{% for message in messages %}{{ '[' + message['role'] + ']' +"
    " message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
#: As Gemma 3's own does: takes parts, too.
TAKES_PARTS = (
    "{{ bos_token }}{% for message in messages %}{{ '<' + message['role'] + '>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
    "{{ '<model>' }}"
)


class Tokenizer:
    """Renders as transformers does."""

    eos_token, eos_token_id = "</s>", 1

    def __init__(self, template: str, bos: str | None = "<s>", *special: str) -> None:
        self.chat_template = template
        self.bos_token = bos
        self._special = special

    def get_vocab(self) -> dict[str, int]:
        return {"<s>": 0, "</s>": 1, **{word: 2 + n for n, word in enumerate(self._special)}}

    def apply_chat_template(
        self, messages: Any, *, chat_template: str | None = None, tools: Any = None, **options: Any
    ) -> str:
        tokens = {
            "bos_token": options.get("bos_token", self.bos_token or ""),
            "eos_token": options.get("eos_token", self.eos_token),
        }
        template = compiled(chat_template or self.chat_template)
        return template.render(messages, tools, add_generation_prompt=True, special_tokens=tokens)


class Metadata(SimpleNamespace):
    """The fields of the file's metadata that are put right."""

    def ClearField(self, name: str) -> None:  # noqa: N802 (as protobuf calls it)
        setattr(self, name, SimpleNamespace(token_str=""))


class Stops(list[Any]):
    """As a repeated field of protobuf's."""

    def add(self) -> Any:
        self.append(SimpleNamespace(token_ids=SimpleNamespace(ids=[])))
        return self[-1]


def _adapted(tokenizer: Tokenizer, stops: Sequence[int] = ()) -> Metadata:
    there = Stops(SimpleNamespace(token_ids=SimpleNamespace(ids=[one])) for one in stops)
    given = Metadata(
        jinja_prompt_template=tokenizer.chat_template,
        start_token=SimpleNamespace(token_str=tokenizer.bos_token),
        sampler_params=SimpleNamespace(type=3, k=1, p=0.0, temperature=0.0),
        stop_tokens=there,
        llm_model_type=SimpleNamespace(function_gemma=SimpleNamespace()),
    )
    metadata.adapt(given, tokenizer, SimpleNamespace(TOP_P=2))
    return given


@pytest.mark.parametrize("template", [LLAMA, GEMMA, WITH_EOS, FUNCTIONGEMMA])
def test_a_template_that_takes_texts_only_gets_them_joined(template: str) -> None:
    adapted = _adapted(Tokenizer(template))
    assert adapted.jinja_prompt_template.endswith(template)
    assert adapted.jinja_prompt_template != template
    assert adapted.start_token.token_str == "<s>"


def test_a_template_that_takes_parts_stays_as_it_is() -> None:
    assert _adapted(Tokenizer(TAKES_PARTS)).jinja_prompt_template == TAKES_PARTS


def test_a_start_token_that_the_template_writes_itself_is_not_written_twice() -> None:
    assert _adapted(Tokenizer(LITERAL, "<|im_start|>")).start_token.token_str == ""
    assert _adapted(Tokenizer(LITERAL, "<s>")).start_token.token_str == ""
    assert _adapted(Tokenizer(LITERAL, None)).start_token.token_str == ""


def test_a_template_that_the_runtime_renders_otherwise_is_refused() -> None:
    # Asks how long the contents of all messages are together, bos and all.
    counting = "{{ bos_token }}{{ messages | length }}{{ 'A' if bos_token else 'B' }}"
    with pytest.raises(metadata.NotExpressible, match="another text than it was trained with"):
        _adapted(Tokenizer(counting))
    with pytest.raises(metadata.NotExpressible, match="refuses one turn: no"):
        _adapted(Tokenizer("{{ raise_exception('no') }}"))


def test_the_sampler_is_one_that_the_runtime_has_and_takes_the_likeliest_token() -> None:
    sampler = _adapted(Tokenizer(LLAMA)).sampler_params
    assert (sampler.type, sampler.k) == (2, 1)


def test_an_answer_ends_wherever_the_evaluated_model_ended_it() -> None:
    tokenizer = Tokenizer(LLAMA, "<s>", "<end_of_turn>", "<start_function_response>", "<other>")
    stops = [one.token_ids.ids for one in _adapted(tokenizer, stops=[2]).stop_tokens]
    assert stops == [[2], [1], [3]]


def test_only_functiongemma_is_read_as_functiongemma() -> None:
    plain = _adapted(Tokenizer(LLAMA)).llm_model_type.function_gemma
    assert not hasattr(plain, "use_template_for_fc_format")
    calling = _adapted(Tokenizer(FUNCTIONGEMMA, "<s>", metadata.CALL_START))
    assert calling.llm_model_type.function_gemma.use_template_for_fc_format
