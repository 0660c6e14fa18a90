"""Makes the tiny base model: a random Llama with a tokenizer trained on the rows at hand.

Run as a script in a process of its own, so that nobody else imports torch:
`python tiny_model.py ROWS FOLDER SEED`. Only the shape is imported from here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAYERS = 2
HIDDEN_SIZE = 64
INTERMEDIATE_SIZE = 128
HEADS = 4
KEY_VALUE_HEADS = 2
HEAD_DIM = HIDDEN_SIZE // HEADS
VOCABULARY_SIZE = 600
CONTEXT_TOKENS = 8192
#: With the usual 0.02 a random base passes so little on that LoRA barely learns.
INITIALIZER_RANGE = 0.1
#: Enough text for 600 tokens; more would only cost time.
MOST_TOKENIZER_ROWS = 500

#: Output and input size of every module that an adapter may target.
MODULE_SHAPES = {
    "self_attn.q_proj": (HIDDEN_SIZE, HIDDEN_SIZE),
    "self_attn.k_proj": (KEY_VALUE_HEADS * HEAD_DIM, HIDDEN_SIZE),
    "self_attn.v_proj": (KEY_VALUE_HEADS * HEAD_DIM, HIDDEN_SIZE),
    "self_attn.o_proj": (HIDDEN_SIZE, HIDDEN_SIZE),
    "mlp.gate_proj": (INTERMEDIATE_SIZE, HIDDEN_SIZE),
    "mlp.up_proj": (INTERMEDIATE_SIZE, HIDDEN_SIZE),
    "mlp.down_proj": (HIDDEN_SIZE, INTERMEDIATE_SIZE),
}
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TURN, END_OF_TURN = "<|turn|>", "<|end|>"
#: Every message as its role and its content; tools, if any, first.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% if tools %}" + TURN + "tools\n{{ tools | tojson }}" + END_OF_TURN + "\n{% endif %}"
    "{% for message in messages %}"
    + TURN
    + "{{ message['role'] }}\n"
    + "{% if message['content'] %}{{ message['content'] }}{% endif %}"
    "{% if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% endif %}"
    + "{% if loop.last and message['role'] == 'assistant' %}{{ eos_token }}"
    + "{% else %}"
    + END_OF_TURN
    + "\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + TURN + "assistant\n{% endif %}"
)


def _texts(rows: Path) -> Iterator[str]:
    """Every text in the rows, whatever their format."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for one in value.values():
                yield from strings(one)
        elif isinstance(value, list):
            for one in value:
                yield from strings(one)

    with rows.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= MOST_TOKENIZER_ROWS:
                return
            if line.strip():
                yield from strings(json.loads(line))


def _make_tokenizer(rows: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        _texts(rows),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY_SIZE,
            special_tokens=[BOS, EOS, PAD, TURN, END_OF_TURN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_TOKENS,
    )


def make(rows: Path, folder: Path, seed: int) -> None:
    """Write model and tokenizer to `folder`; the number of parameters goes to standard output."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _make_tokenizer(rows)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY_SIZE,  # a few rows may not fill it; the rest stays unused
            hidden_size=HIDDEN_SIZE,
            intermediate_size=INTERMEDIATE_SIZE,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_VALUE_HEADS,
            max_position_embeddings=CONTEXT_TOKENS,
            initializer_range=INITIALIZER_RANGE,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sys.stdout.write(json.dumps({"parameters": model.num_parameters()}) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
