# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "accelerate==1.15.0",
#     "jinja2==3.1.6",
#     "peft==0.21.2",
#     "safetensors==0.8.0",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# ///
"""Merges an adapter into its base model in 32 bits, and compares what was written with the two.

Writes OUTPUT/merged/ and OUTPUT/merge.json. Runs inside a job, so it imports nothing of the
package but what lies beside it. Standard output: one JSON object a line. Exit codes: 0 merged; 1 it
went wrong, or what came out is not base and adapter together; 2 the arguments, the adapter or the
base model are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.adapter_on_base import (
        WEIGHTS,
        attach,
        check_base,
        file_tensors,
        first_line,
        not_finite,
    )
    from orchestrator.training.sft_events import BadInput, Metrics
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    from adapter_on_base import (
        WEIGHTS,
        attach,
        check_base,
        file_tensors,
        first_line,
        not_finite,
    )
    from sft_events import BadInput, Metrics

#: Merging SmolLM2 and Gemma 3 270M in 32 bits moved logits by 1e-4 to 2.3e-4.
TOLERANCE = 1e-3
SHARD_SIZE = "5GB"
#: How the tokenizer was loaded here, which transformers 5 writes into its configuration.
LOCAL_FIELDS = ("is_local", "local_files_only")
#: What both are asked: prose, code, JSON, other scripts, and the borders of turns.
PROMPTS = (
    "The order was placed on 3 May and has not arrived. What should the customer do first?",
    'def area(width: float, height: float) -> float:\n    """Area of a rectangle."""\n',
    '{"agent": "billing", "arguments": {"invoice": 20417, "reason": "charged twice"}}',
    "Größe 42, café crème, 3 × 7 = 21; 東京 и Москва, مرحبا.",
)
CONVERSATION = (
    {"role": "user", "content": "Book a table for four at eight."},
    {"role": "assistant", "content": "Which restaurant?"},
    {"role": "user", "content": "The one by the harbour."},
)


class MergeFailed(Exception):
    """What came out is not base and adapter together: exit code 1."""


# --- Arguments ---------------------------------------------------------------------------------


def _tolerance(text: str) -> float:
    value = float(text)
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"must be a number over 0, not {text}")
    return value


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; argparse itself exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="merge.py", description="Merge an adapter into its base model, in 32 bits."
    )
    add = parser.add_argument
    add("--base-model", required=True, help="folder of the base model, or its id on the Hub")
    add("--base-model-name", help="what outputs call the base model (default: --base-model)")
    add("--base-revision", help="revision of the base model on the Hub")
    add("--adapter", required=True, type=Path, help="folder with adapter_model.safetensors")
    add("--output", required=True, type=Path, help="folder for merged/ and merge.json")
    add("--tolerance", type=_tolerance, default=TOLERANCE, help="greatest difference of a logit")
    add("--other-base", action="store_true", help="merge although the adapter names another base")
    add("--shard-size", default=SHARD_SIZE, help="greatest size of a file of weights")
    add("--threads", type=int, help="threads of the processor")
    arguments = parser.parse_args(argv)
    arguments.base_model_name = arguments.base_model_name or arguments.base_model
    return arguments


# --- Loading -----------------------------------------------------------------------------------


def _load_model(name: str, revision: str | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            name, revision=revision, dtype=torch.float32
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--base-model {name}: cannot be loaded: {first_line(error)}") from error


def _load_tokenizer(arguments: argparse.Namespace) -> Any:
    """The tokenizer that the adapter was trained with: its own if it brings one."""
    from transformers import AutoTokenizer

    own = (arguments.adapter / "tokenizer_config.json").is_file()
    name = str(arguments.adapter) if own else arguments.base_model
    try:
        return AutoTokenizer.from_pretrained(
            name, revision=None if own else arguments.base_revision
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{name}: its tokenizer cannot be loaded: {first_line(error)}") from error


def _untie(model: Any, config: dict[str, Any]) -> bool:
    """Give input and output their own weights where the adapter changes only one of the two.

    Tied, a change to one would change the other too, which the training did not do.
    """
    if not model.config.get_text_config().tie_word_embeddings:
        return False
    targets = config.get("target_modules") or []
    touched = [*([targets] if isinstance(targets, str) else targets)]
    touched += config.get("modules_to_save") or []
    if not any("lm_head" in name or "embed" in name for name in touched):
        return False
    import torch

    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False
    return True


# --- Comparing ---------------------------------------------------------------------------------


def _check_finite(tensors: Iterator[tuple[str, Any]], where: str) -> None:
    if name := not_finite(tensors):
        raise MergeFailed(f"{name} of {where} holds NaN or infinity: it cannot be used")


def probe_ids(tokenizer: Any) -> list[list[int]]:
    """The fixed prompts as token ids, and a conversation through the chat template if any."""
    ids = [list(tokenizer(text)["input_ids"]) for text in PROMPTS]
    if tokenizer.chat_template:
        try:
            text = tokenizer.apply_chat_template(
                list(CONVERSATION), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates raise whatever they like
            raise BadInput(f"the chat template refuses three turns: {error}") from error
        ids.append(list(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return ids


def _logits(model: Any, prompts: Sequence[Sequence[int]]) -> list[Any]:
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        return [model(torch.tensor([ids], device=device)).logits[0].cpu() for ids in prompts]


def _difference(ones: Sequence[Any], others: Sequence[Any]) -> float:
    """The greatest difference of a logit; infinite where one of them is not finite."""
    greatest = max(
        float((one - other).abs().max()) for one, other in zip(ones, others, strict=True)
    )
    return greatest if math.isfinite(greatest) else math.inf


# --- Writing -----------------------------------------------------------------------------------


def _write(merged: Any, tokenizer: Any, folder: Path, arguments: argparse.Namespace) -> None:
    merged.save_pretrained(folder, max_shard_size=arguments.shard_size)
    tokenizer.save_pretrained(folder)
    here = {arguments.base_model, str(arguments.adapter)} - {arguments.base_model_name}
    here |= {str(Path(path).resolve()) for path in here}
    for file in folder.glob("*.json"):
        value = json.loads(file.read_text(encoding="utf-8"))
        kept = _without_paths(value, here)
        if kept != value:
            text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
            file.write_text(text, encoding="utf-8")


def _without_paths(value: Any, paths: set[str]) -> Any:
    """The same JSON without fields that name a folder of this machine."""
    if not isinstance(value, dict):
        return value
    return {
        key: _without_paths(one, paths)
        for key, one in value.items()
        if not (isinstance(one, str) and one in paths) and key not in LOCAL_FIELDS
    }


def _digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def merge(arguments: argparse.Namespace, events: Metrics) -> dict[str, Any]:
    """Merge, write, read back and compare; what merge.json says."""
    names = (arguments.base_model_name, arguments.base_model)
    config = check_base(arguments.adapter, names, arguments.base_revision, arguments.other_base)
    folder = arguments.output / "merged"
    if folder.exists():
        raise BadInput(f"--output {arguments.output}: merged/ is there already; name a new folder")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if Path(arguments.base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is missing, so nothing may be asked for
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    # Only what was compared gets its name: a folder called merged/ can be used.
    draft = arguments.output / "merging"
    try:
        result = _merge_to(draft, arguments, config, events)
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        (arguments.output / "merge.json").write_text(text, encoding="utf-8")
        if not result["within_tolerance"]:
            raise MergeFailed(
                f"a logit of the merged model differs by {result['greatest_logit_difference']}"
                f" from base and adapter, more than --tolerance {arguments.tolerance:g}"
            )
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return result


def _merge_to(
    draft: Path, arguments: argparse.Namespace, config: dict[str, Any], events: Metrics
) -> dict[str, Any]:
    tokenizer = _load_tokenizer(arguments)
    model = _load_model(arguments.base_model, arguments.base_revision)
    prompts = probe_ids(tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    if max(max(ids) for ids in prompts) >= rows:
        raise BadInput(f"the tokenizer has tokens beyond the {rows:,} that the base model knows")
    _check_finite(iter(model.state_dict().items()), "the base model")
    untied = _untie(model, config)
    plain = _logits(model, prompts)
    _check_finite(file_tensors(arguments.adapter / WEIGHTS), "the adapter")
    together = attach(model, arguments.adapter, autocast_adapter_dtype=False).float()
    expected = _logits(together, prompts)
    effect = _difference(expected, plain)
    if effect == 0:
        raise MergeFailed(f"--adapter {arguments.adapter}: changes no logit: it is empty")
    events.emit("start", adapter_effect=effect, prompts=len(prompts), untied=untied)
    merged = together.merge_and_unload()
    parameters = merged.num_parameters()
    _write(merged, tokenizer, draft, arguments)
    # Two of a large model do not fit beside each other.
    del model, together, merged
    greatest = _compare_written(draft, prompts, expected)
    return {
        "base_model": arguments.base_model_name,
        "base_revision": arguments.base_revision,
        "precision": "float32",
        "parameters": parameters,
        "untied_embeddings": untied,
        "prompts": len(prompts),
        "adapter_effect": effect,
        "greatest_logit_difference": greatest if math.isfinite(greatest) else str(greatest),
        "tolerance": arguments.tolerance,
        "within_tolerance": greatest <= arguments.tolerance,
        "files": {file.name: _digest(file) for file in sorted(draft.iterdir())},
    }


def _compare_written(folder: Path, prompts: Sequence[Sequence[int]], expected: list[Any]) -> float:
    """The greatest difference between what the files hold and what was expected of them."""
    from transformers import AutoTokenizer

    for file in sorted(folder.glob("*.safetensors")):
        _check_finite(file_tensors(file), file.name)
    if probe_ids(AutoTokenizer.from_pretrained(str(folder))) != list(prompts):
        raise MergeFailed(f"{folder}: the tokenizer that was written makes other tokens")
    return _difference(_logits(_load_model(str(folder), None), prompts), expected)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    arguments = parse_arguments(argv)
    events = Metrics(sys.stdout)
    try:
        # Libraries print what they like; standard output is for the events alone.
        with contextlib.redirect_stdout(sys.stderr):
            result = merge(arguments, events)
    except BadInput as error:
        sys.stderr.write(f"merge.py: {error}\n")
        return 2
    except (MergeFailed, RuntimeError, MemoryError, OSError) as error:
        line = first_line(error)
        events.emit("failed", message=line)
        sys.stderr.write(f"merge.py: {line}\n")
        return 1
    fields = ("greatest_logit_difference", "tolerance", "adapter_effect", "parameters")
    events.emit("end", **{name: result[name] for name in fields})
    return 0


if __name__ == "__main__":
    sys.exit(main())
