"""Chat templates render byte for byte as transformers renders them."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from orchestrator.dataset.example import Call, Example, Message, Tool
from orchestrator.dataset.output import conversation, service_row
from orchestrator.dataset.tokens.jinja_rendering import TODAY, compiled, literals
from orchestrator.dataset.tokens.rendering import as_sent, render_example
from orchestrator.dataset.tokens.templates import (
    ChatTemplate,
    TemplateRefusal,
    template_file,
    template_source,
)

TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def tool(name: str, **properties: Any) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": sorted(properties)[:1]}
    function = {"name": name, "description": f"Does {name} & <more>.", "parameters": parameters}
    return Tool(name, parameters, {"type": "function", "function": function})


TOOLS = (
    tool(
        "get_weather",
        city={"type": "string", "description": 'Where, e.g. "Tōkyō"'},
        unit={"type": "string", "enum": ["c", "f"]},
    ),
    tool(
        "plan",
        stops={"type": "array", "items": {"type": "string"}},
        options={"type": "object", "properties": {"fast": {"type": "boolean"}}},
        limit={"type": ["integer", "null"]},
    ),
)
USER = Message("user", "  What's <b>up</b>?\n")
SAYS = Message("assistant", "Not much.\n")
CALLS = Message("assistant", None, (Call("get_weather", {"city": "Tōkyō", "n": 1.5}),))
NESTED = {"stops": ["a", "b"], "options": {"fast": True, "x": {"y": [1, "z"]}}, "limit": 3}
CHATS: dict[str, tuple[Message, ...]] = {
    "question": (USER,),
    "answer": (USER, SAYS),
    "system": (Message("system", " Be brief. "), USER, SAYS, USER, SAYS),
    "developer": (Message("developer", "Be brief."), USER, SAYS),
    "call": (USER, CALLS),
    "two calls": (USER, Message("assistant", "Both:", (*CALLS.calls, Call("plan", NESTED)))),
    "response": (USER, CALLS, Message("tool", '{"t": 15}', name="get_weather"), SAYS),
    "thinking": (USER, Message("assistant", "Yes", thinking="Hm.\nWell.")),
    "thinking in text": (USER, Message("assistant", "<think>\nHm.\n</think>\n\nYes")),
    "thinking before a call": (USER, Message("assistant", None, CALLS.calls, thinking="Hm.")),
    "the assistant first": (SAYS, USER),
    "two users": (USER, USER, SAYS),
}


def templates() -> list[str]:
    """All that TRL ships, those with generation tags too, and the project's own."""
    folder = template_file("trl:qwen3")
    names = sorted(file.stem for file in folder.parent.glob("*.jinja")) if folder else []
    return [f"trl:{name}" for name in names] + ["fixture:functiongemma"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers", reason="needs the extra `sandbox`")
    from tokenizers import Tokenizer, models

    inner = Tokenizer(models.BPE())
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **TOKENS)


@pytest.fixture(autouse=True)
def _same_day(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "tokenizer" in request.fixturenames:
        pytest.importorskip("transformers", reason="needs the extra `sandbox`")
        from transformers.utils import chat_template_utils

        class Day(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:  # noqa: ARG003 (the real one's)
                return TODAY

        monkeypatch.setattr(chat_template_utils, "datetime", Day)


@pytest.mark.parametrize("name", templates())
def test_every_template_renders_as_transformers_renders_it(name: str, tokenizer: Any) -> None:
    file = template_file(name)
    assert file is not None
    text = file.read_text(encoding="utf-8")
    template = ChatTemplate(text, template_source(name), tuple(TOKENS.items()))
    rendered = 0
    for chat, messages in CHATS.items():
        for tools in ((), TOOLS):
            for prompt in (False, True):
                try:
                    expected = tokenizer.apply_chat_template(
                        list(conversation(messages)),
                        tools=[one.declaration for one in tools] or None,
                        chat_template=text,
                        tokenize=False,
                        add_generation_prompt=prompt,
                    )
                except Exception:  # templates raise whatever they like
                    with pytest.raises(TemplateRefusal):
                        template.render(messages, tools, add_generation_prompt=prompt)
                    continue
                for _ in ("compiled just now", "with macros from memory"):
                    mine = template.render(messages, tools, add_generation_prompt=prompt)
                    assert mine == expected, (chat, bool(tools), prompt)
                rendered += 1
    assert rendered, "the template takes none of the chats"


def functiongemma() -> ChatTemplate:
    file = template_file("fixture:functiongemma")
    assert file is not None
    return ChatTemplate(file.read_text(encoding="utf-8"), "", (("bos_token", "<bos>"),))


def test_the_fixture_writes_the_documented_exchange() -> None:
    """The shape of ai.google.dev, "FunctionGemma formatting and best practices"."""
    weather = tool(
        "get_current_weather",
        location={"type": "string", "description": 'A place, e.g. "Paris"'},
        unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
    )
    call = Call("get_current_weather", {"location": "Tokyo"})
    whole = functiongemma().render(
        (
            Message(
                "developer",
                "You are a model that can do function calling with the following functions",
            ),
            Message("user", "And in Tokyo?"),
            Message("assistant", None, (call,)),
            Message("tool", "sunny"),
            Message("assistant", "Sunny."),
        ),
        (weather,),
        add_generation_prompt=False,
    )
    assert whole == (
        "<bos><start_of_turn>developer\n"
        "You are a model that can do function calling with the following functions"
        "<start_function_declaration>declaration:get_current_weather{"
        "description:<escape>Does get_current_weather & <more>.<escape>,parameters:{properties:{"
        'location:{description:<escape>A place, e.g. "Paris"<escape>,type:<escape>STRING<escape>},'
        "unit:{enum:[<escape>celsius<escape>,<escape>fahrenheit<escape>],"
        "type:<escape>STRING<escape>}},required:[<escape>location<escape>],"
        "type:<escape>OBJECT<escape>}}<end_function_declaration><end_of_turn>\n"
        "<start_of_turn>user\nAnd in Tokyo?<end_of_turn>\n"
        "<start_of_turn>model\n"
        "<start_function_call>call:get_current_weather{location:<escape>Tokyo<escape>}"
        "<end_function_call><start_function_response>"
        "response:get_current_weather{value:<escape>sunny<escape>}<end_function_response>"
        "Sunny.<end_of_turn>\n"
    )


def test_the_fixture_writes_the_developer_turn_where_the_chat_has_none() -> None:
    text = functiongemma().render((USER,), TOOLS, add_generation_prompt=True)
    assert text.startswith(
        "<bos><start_of_turn>developer\nYou are a model that can do function calling with the "
        "following functions<start_function_declaration>declaration:get_weather{"
    )
    assert text.endswith("<start_of_turn>model\n")
    assert (
        functiongemma()
        .render((USER,), (), add_generation_prompt=False)
        .startswith("<bos><start_of_turn>user\n")
    )


def example(*answer: Message, tools: tuple[Tool, ...] = ()) -> Example:
    return Example("rows.jsonl", 1, (USER,), answer, {}, tools)


def test_the_loss_starts_where_the_prompt_ends() -> None:
    rendered = render_example(example(CALLS, tools=TOOLS), functiongemma())
    assert rendered.continues
    assert rendered.prompt.endswith("<start_of_turn>model\n")
    assert rendered.answer.startswith("<start_function_call>call:get_weather{")


def test_the_loss_starts_where_the_two_part_if_the_prompt_is_opened_otherwise() -> None:
    text = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    )
    rendered = render_example(example(Message("assistant", "<yes")), ChatTemplate(text, ""))
    assert not rendered.continues
    assert rendered.answer == "yes"


def test_texts_pass_as_they_are() -> None:
    row = Example("rows.jsonl", 1, "one ", "two", {})
    assert render_example(row, functiongemma()).whole == "one two"
    assert render_example(row, None).answer == "two"


@pytest.mark.parametrize(
    "text",
    [
        "{{ raise_exception('no system prompt, please') }}",
        "{{ messages[9].content.strip() }}",
        "{{ ''.__class__.__mro__ }}{{ messages.append(1) }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ 1 / 0 }}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    ],
)
def test_whatever_a_template_raises_is_a_refusal(text: str) -> None:
    with pytest.raises(TemplateRefusal, match=r".+"):
        ChatTemplate(text, "").render((USER,), (), add_generation_prompt=False)


def test_a_macro_that_reads_what_others_set_is_called_every_time() -> None:
    text = (
        "{% set seen = namespace(n=0) %}"
        "{% macro counted(tool) %}{% set seen.n = seen.n + 1 %}{{ seen.n }}{% endmacro %}"
        "{% macro told(tool) %}{{ messages[0].content }}{% endmacro %}"
        "{% macro nested(tool) %}{{ told(tool) }}{% endmacro %}"
        "{% macro late(tool) %}{{ word }}{% set word = 1 %}{% endmacro %}"
        "{% set word = messages[0].content %}"
        "{% for t in tools %}{{ counted(t) }}{{ told(t) }}{{ nested(t) }}{{ late(t) }};{% endfor %}"
    )
    assert compiled(text)._environment.pure == frozenset()
    template = ChatTemplate(text, "")
    for word in ("a", "b"):
        made = template.render(
            (Message("user", word),), (TOOLS[0],) * 2, add_generation_prompt=False
        )
        assert made == f"1{word * 2};2{word * 2};" or made == f"1{word * 3};2{word * 3};"


def test_tools_are_told_apart_however_many_there_are() -> None:
    template = functiongemma()
    for number in range(600):
        one = tool(f"tool_{number}", **{f"key_{number}": {"type": "string"}})
        text = template.render((USER,), (one, TOOLS[0]), add_generation_prompt=True)
        assert f"declaration:tool_{number}{{" in text
        assert f"key_{number}:" in text
        assert "declaration:get_weather{" in text


def test_memory_does_not_grow_with_the_rows() -> None:
    file = template_file("fixture:functiongemma")
    assert file is not None
    memory = compiled(file.read_text(encoding="utf-8"))._environment.memory
    for number in range(50):
        call = Call("get_weather", {"city": f"city {number}", "deep": {"n": number}})
        render_example(example(Message("assistant", None, (call,)), tools=TOOLS), functiongemma())
    before = len(memory._made)
    for number in range(50, 100):
        call = Call("get_weather", {"city": f"city {number}", "deep": {"n": number}})
        render_example(example(Message("assistant", None, (call,)), tools=TOOLS), functiongemma())
    assert len(memory._made) == before


def test_what_a_template_writes_itself_is_known() -> None:
    written = literals("<|a|>{{ '<|b|>' + messages[0].content }}{# <|c|> #}")
    assert "<|a|>" in written
    assert "<|b|>" in written
    assert json.dumps(written).count("<|c|>") == 0


@pytest.mark.parametrize("chat", sorted(CHATS))
def test_a_row_is_rendered_with_the_turns_that_vertex_gets(chat: str) -> None:
    prompt = (*CHATS[chat][:-1], Message("developer", "And kind."))
    row = Example("rows.jsonl", 1, prompt, CHATS[chat][-1:], {})
    sent = as_sent(row, "vertex")
    turns = [*sent.prompt, *sent.answer]
    expected = service_row(row, "vertex")["messages"]
    assert [(one["role"], one["content"]) for one in expected] == [
        (one.role, one.content) for one in turns if isinstance(one, Message)
    ]
    assert as_sent(row, "hf-jobs") is row


def test_tools_are_rendered_once_for_all_rows() -> None:
    text = (
        "{% macro told(tool) %}{{ tool.function.name }}{% endmacro %}"
        "{% for t in tools %}{{ told(t) }},{% endfor %}{{ messages[0].content }}"
    )
    template = ChatTemplate(text, "")
    memory = compiled(text)._environment.memory
    assert template.render((USER,), TOOLS, add_generation_prompt=False).startswith("get_weather,")
    assert sorted(memory._made.values()) == ["get_weather", "plan"]
    memory._made.update(dict.fromkeys(memory._made, "remembered"))
    again = template.render((SAYS,), TOOLS, add_generation_prompt=False)
    assert again == "remembered,remembered,Not much.\n"
