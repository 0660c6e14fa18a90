"""What a LiteRT-LM file says of its model, put right for the runtime that reads it.

The runtime (litert-lm 0.18.1, by running it) gives a chat template the contents of messages as
lists of parts, `bos_token` and `eos_token` empty, and writes the start token of the file before
what the template made, whether the template wrote one or not. Its sampler knows only TOP_P.
Declarations of tools reach the template as they are only where the file says so.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.sft_probe import calls_module
else:
    from sft_probe import calls_module

Message = dict[str, Any]

#: Set before a template that takes contents as texts only: joins the parts of each message.
JOINS_PARTS = (
    "{% set joined = namespace(messages=[], text='') %}{% for message in messages %}"
    "{% if message.content and message.content is not string and message.content is not mapping"
    " and message.content[0].type == 'text' %}{% set joined.text = '' %}"
    "{% for part in message.content %}{% set joined.text = joined.text + part.text %}{% endfor %}"
    "{% set joined.messages = joined.messages + [dict(message, content=joined.text)] %}"
    "{% else %}{% set joined.messages = joined.messages + [message] %}{% endif %}{% endfor %}"
    "{% set messages = joined.messages %}"
)
_TURNS: tuple[Message, ...] = (
    {"role": "user", "content": "Where is order 5?"},
    {"role": "assistant", "content": "On its way."},
    {"role": "user", "content": "And order 6?"},
)
_SYSTEM: Message = {"role": "system", "content": "Be kind."}
_CONVERSATIONS = (_TURNS[:1], _TURNS, (_SYSTEM, *_TURNS[:1]), (_SYSTEM, *_TURNS))
TOOL = {
    "type": "function",
    "function": {
        "name": "track_order",
        "description": "Says where an order is.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "integer", "description": "Its number."}},
            "required": ["order"],
        },
    },
}
#: A token that only FunctionGemma has; the runtime then reads its calls out of answers.
CALL_START = "<start_function_call>"


class NotExpressible(Exception):
    """The chat template cannot be built in so that the runtime renders it as it was trained."""


@dataclass(frozen=True)
class BuiltIn:
    """A template as it is built in, and whether the runtime is to write the start token."""

    template: str
    writes_start: bool


# --- Choosing the template ---------------------------------------------------------------------


def conversations(tokenizer: Any) -> list[tuple[Message, ...]]:
    """Conversations that the chat template takes; the first, of one turn, it must take."""
    taken: list[tuple[Message, ...]] = []
    for messages in _CONVERSATIONS:
        try:
            prompt(tokenizer, messages)
        except Exception as error:  # templates raise whatever they like
            if len(messages) == 1:
                raise NotExpressible(f"the chat template refuses one turn: {error}") from error
        else:
            taken.append(messages)
    return taken


def prompt(tokenizer: Any, messages: Sequence[Message], tools: Any = None) -> str:
    """The text that the model was trained on."""
    text = tokenizer.apply_chat_template(
        list(messages), tools=tools, tokenize=False, add_generation_prompt=True
    )
    return str(text)


def built_in(template: str, tokenizer: Any) -> BuiltIn:
    """The template, changed if need be; raises `NotExpressible` where nothing helps."""
    end = f"{{% set eos_token = {json.dumps(tokenizer.eos_token or '')} %}}"
    bos = tokenizer.bos_token or ""
    for candidate in (template, JOINS_PARTS + end + template):
        for writes_start in (True, False) if bos else (False,):
            start = bos if writes_start else ""
            if all(
                start + _as_the_runtime(tokenizer, candidate, messages)
                == prompt(tokenizer, messages)
                for messages in conversations(tokenizer)
            ):
                return BuiltIn(candidate, writes_start)
    raise NotExpressible(
        "the runtime gives the chat template contents in parts and no bos_token, and it then"
        " writes another text than it was trained with"
    )


def _as_the_runtime(tokenizer: Any, template: str, messages: Sequence[Message]) -> str:
    parts = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]
    try:
        text = tokenizer.apply_chat_template(
            parts,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            bos_token="",
            eos_token="",
        )
    except Exception:  # what a template raises for parts, it would raise in the runtime
        return "\0"
    return str(text)


# --- Writing -----------------------------------------------------------------------------------


def adapt(metadata: Any, tokenizer: Any, sampler_types: Any) -> None:
    """Put right what the converter wrote; raises `NotExpressible`."""
    chosen = built_in(metadata.jinja_prompt_template, tokenizer)
    metadata.jinja_prompt_template = chosen.template
    metadata.ClearField("start_token")
    if chosen.writes_start:
        metadata.start_token.token_str = tokenizer.bos_token
    sampler = metadata.sampler_params
    # The likeliest token, as it was evaluated; GREEDY itself is refused when it answers.
    sampler.type, sampler.k, sampler.p, sampler.temperature = sampler_types.TOP_P, 1, 1.0, 1.0
    there = [list(one.token_ids.ids) for one in metadata.stop_tokens]
    for token in end_ids(tokenizer):
        if [token] not in there:
            metadata.stop_tokens.add().token_ids.ids.append(token)
    if CALL_START in tokenizer.get_vocab():
        metadata.llm_model_type.function_gemma.use_template_for_fc_format = True


def end_ids(tokenizer: Any) -> list[int]:
    """The tokens at which generate.py ends an answer, apart from those of a generation config."""
    known = tokenizer.get_vocab()
    ids = [known[mark] for mark in calls_module().END_MARKS if mark in known]
    return list(dict.fromkeys([tokenizer.eos_token_id, *ids]))


def rewrite(file: Path, work: Path, tokenizer: Any) -> None:
    """Take the file apart, put its metadata right, and put it together again."""
    from litert_lm_builder import litertlm_builder
    from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

    text_format = importlib.import_module("google.protobuf.text_format")  # has no types
    folder = work / "parts"
    litertlm_builder.LitertLmFileBuilder.unpack(str(file), str(folder))
    text = folder / "LlmMetadataProto.pbtext"
    metadata = text_format.Parse(text.read_text("utf-8"), llm_metadata_pb2.LlmMetadata())
    adapt(metadata, tokenizer, sampler_params_pb2.SamplerParameters)
    text.write_text(text_format.MessageToString(metadata, as_utf8=True), "utf-8")
    builder = litertlm_builder.LitertLmFileBuilder.from_toml_file(str(folder / "model.toml"))
    with file.open("wb") as stream:
        builder.build(stream)


# --- Asking the runtime ------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What the runtime asks otherwise than the model was trained, a sentence each.

    `declares_tools` says whether it declares tools as the model was trained; None where the chat
    template takes none.
    """

    problems: tuple[str, ...]
    declares_tools: bool | None


def judge(file: Path, work: Path, tokenizer: Any) -> Judged:
    """Load the file with the runtime, render conversations, and have one answered."""
    import litert_lm

    backend = litert_lm.Backend.CPU()
    with litert_lm.Engine(
        str(file), backend=backend, cache_dir=str(work), enable_benchmark=True
    ) as engine:
        problems = [*_asked_otherwise(engine, tokenizer), *_first_answer(engine, tokenizer)]
        return Judged(tuple(problems), _declares_tools(engine, tokenizer))


def _asked_otherwise(engine: Any, tokenizer: Any) -> Iterator[str]:
    for messages in conversations(tokenizer):
        expected = _behind_start(engine, prompt(tokenizer, messages))
        with engine.create_conversation(messages=list(messages[:-1])) as one:
            got = one.render_message_to_string(messages[-1])
        if got != expected:
            yield f"of {list(messages)} it makes {got!r} instead of {expected!r}"


def _behind_start(engine: Any, text: str) -> str:
    first = engine.bos_token_id
    return text if first is None or first < 0 else text.removeprefix(engine.detokenize([first]))


def _first_answer(engine: Any, tokenizer: Any) -> Iterator[str]:
    message = _TURNS[0]
    ids = tokenizer(prompt(tokenizer, [message]), add_special_tokens=False)["input_ids"]
    with engine.create_conversation(max_output_tokens=1) as one:
        try:
            one.send_message(message)
        except RuntimeError as error:
            yield f"it answers nothing: {error}"
            return
        count = one.get_benchmark_info().last_prefill_token_count
    if count != len(ids):
        yield f"it reads {count} tokens of a prompt of {len(ids)}"


def _declares_tools(engine: Any, tokenizer: Any) -> bool | None:
    import litert_lm

    message = _TURNS[0]
    expected = prompt(tokenizer, [message], [TOOL])
    if expected == prompt(tokenizer, [message]):
        return None
    # Declared, never called.
    methods = {"get_tool_description": lambda _: TOOL, "execute": lambda *_: None}
    tool = type("Tracker", (litert_lm.Tool,), methods)()
    with engine.create_conversation(tools=[tool], automatic_tool_calling=False) as one:
        return bool(one.render_message_to_string(message) == _behind_start(engine, expected))
