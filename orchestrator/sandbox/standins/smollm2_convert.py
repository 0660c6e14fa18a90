"""Turns the quantized SmolLM2 into safetensors in 32 bits, which can be trained.

Run as a script in a process of its own, so that nobody else imports torch:
`python smollm2_convert.py GGUF FOLDER`. One line of JSON says what was made. It takes half a minute
and 1.2 GB of memory, so it is done once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

#: With this SmolLM2 ends a turn; its own configuration names only the end of a text.
END_OF_TURN = "<|im_end|>"


def convert(gguf: Path, folder: Path) -> int:
    """Write model and tokenizer to `folder`; the number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    options = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **options)
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), quantization_config=GgufConfig(dequantize=True), **options
    )
    # The model still calls itself quantized, and would refuse to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.generation_config.eos_token_id = [
        tokenizer.eos_token_id,
        tokenizer.convert_tokens_to_ids(END_OF_TURN),
    ]
    model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parameters: int = model.num_parameters()
    return parameters


if __name__ == "__main__":
    made = convert(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps({"parameters": made}) + "\n")
