"""A tokenizer folder as models have them, trained on a few sentences in a blink."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import orchestrator.dataset.tokens

#: ChatML with tools as JSON in the system turn and calls as Hermes writes them.
CHATML = """\
{%- if tools %}{{- '<|im_start|>system\\nTools:\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n' }}{{- {"name": call.function.name, "arguments": call.function.arguments}
| tojson }}{{- '\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

#: Stands in the folder of the package, beside the module that finds it.
FUNCTIONGEMMA_FILE = Path(orchestrator.dataset.tokens.__file__).with_name("functiongemma.jinja")

_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_FUNCTIONGEMMA_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_function_declaration>",
    "<end_function_declaration>",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<end_function_response>",
    "<escape>",
)
_TEXTS = (
    "What is the weather in Zurich tomorrow, and how far have I gone on my ride?",
    "The assistant answers in one sentence, or calls a tool with the arguments that it needs.",
    '{"type": "function", "function": {"name": "get_status", "description": "The status."}}',
    '{"parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}',
)


def make_tokenizer(
    folder: Path,
    template: Literal["chatml", "functiongemma"] | None = "chatml",
    *,
    texts: Sequence[str] = _TEXTS,
    vocabulary_size: int = 600,
    add_bos: bool = False,
) -> Path:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja; the folder.

    `add_bos` puts the first token before texts that no template renders, as Gemma's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = _FUNCTIONGEMMA_TOKENS if template == "functiongemma" else _CHATML_TOKENS
    bos, eos = ("<bos>", "<eos>") if template == "functiongemma" else special[1:3]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": special[0],
        "model_max_length": 8192,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template is not None:
        text = CHATML
        if template == "functiongemma":
            text = FUNCTIONGEMMA_FILE.read_text(encoding="utf-8")
        (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder
