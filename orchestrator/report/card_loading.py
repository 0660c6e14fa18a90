"""The part of a model card that says how the model is loaded, as code that a test executes."""

from __future__ import annotations

from orchestrator.report.card_facts import CardFacts, base_commit

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
#: Tokens of an answer where no evaluation says how long answers may be.
_ANSWER_TOKENS = 256


def run_tag(run_id: str) -> str:
    """The tag under which a run is published."""
    return f"run-{run_id}"


def loading_lines(card: CardFacts) -> list[str]:
    """The section: what is needed, and the code."""
    lines = ["## How to load it", ""]
    if card.view.stand_in:
        lines += ["The weights of a rehearsal fit its stand-in only; real ones load so:", ""]
    lines += ["A private repo and a gated base model need a token (`hf auth login`).", ""]
    lines += ["```python", *_code(card), "```", ""]
    if card.view.facts.run.plan.data.tools_sha256 is not None:
        lines += [
            (
                "The training rows declare tools: give the declarations as `tools=` to "
                "`apply_chat_template`, as they were given in training."
            ),
            "",
        ]
    return lines


def _code(card: CardFacts) -> list[str]:
    base, tag = card.view.facts.run.plan.model.hub_id, run_tag(card.view.facts.run.id)
    commit = base_commit(card.view)
    at_base = f'"{base}"' + (f', revision="{commit}"' if commit else "")
    here = f'"{card.repo}", revision="{tag}"'
    brings_tokenizer = all(name in card.view.adapter_files for name in _TOKENIZER_FILES)
    if card.is_adapter:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({at_base})",
            f'base = AutoModelForCausalLM.from_pretrained({at_base}, dtype="auto")',
            f"model = PeftModel.from_pretrained(base, {here})",
        ]
    else:
        # Without its own, the tokenizer is still the base model's.
        tokenizer = here if brings_tokenizer else at_base
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({tokenizer})",
            f'model = AutoModelForCausalLM.from_pretrained({here}, dtype="auto")',
        ]
    tokens = card.how.max_new_tokens if card.how else _ANSWER_TOKENS
    return [
        *lines,
        "",
        'messages = [{"role": "user", "content": "…"}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
        ")",
        f"output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))',
    ]
