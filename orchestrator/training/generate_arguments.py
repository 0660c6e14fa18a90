"""The command line of the prediction script: what may be asked for, and what contradicts itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.adapter_on_base import check_base
    from orchestrator.training.argument_types import whole
    from orchestrator.training.sft_events import BadInput
else:
    from adapter_on_base import check_base
    from argument_types import whole
    from sft_events import BadInput

_DESCRIPTION = (
    "Predicts the answers to rows with a base model, with an adapter on it, or with a full model."
)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with what follows from others filled in; raises `BadInput`."""
    parser = argparse.ArgumentParser(prog="generate.py", description=_DESCRIPTION)
    add = parser.add_argument
    add("--base-model", required=True, help="folder of a base or full model, or its id on the Hub")
    add("--base-model-name", help="what the outputs call it (default: --base-model)")
    add("--base-revision", help="commit, tag or branch of the base model on the Hub")
    add("--adapter", type=Path, help="folder of an adapter to put on the base model")
    add("--other-base", action="store_true", help="although the adapter names another base")
    add("--rows", required=True, type=Path, help="JSONL rows: prompt and completion, or messages")
    add("--output", required=True, type=Path, help="folder for predictions.jsonl and run.json")
    add("--max-new-tokens", type=whole(1), default=256, help="longest answer, in tokens")
    add("--batch-size", type=whole(1), default=8, help="rows answered at a time")
    add("--stop", nargs="+", default=[], metavar="TEXT", help="texts that end an answer")
    add("--few-shot", type=Path, help="JSONL rows to show as examples before each prompt")
    add("--shots", type=whole(0), default=0, help="how many of them; never the row itself")
    add("--limit", type=whole(1), help="answer only the first rows")
    add("--seed", type=whole(0), default=42, help="draws the examples")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--threads", type=whole(1), help="threads of the processor")
    add("--engine", choices=("auto", "transformers", "vllm"), default="auto")
    add("--diagnose", type=whole(0), default=0, metavar="N", help="show N rows in every way")
    add("--likelihood", action="store_true", help="measure each expected answer's loss too")
    add(
        "--condition",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="answer under this condition, into OUTPUT/NAME: adapter=DIR or model=DIR, "
        "shots=FILE count=N, other-base=yes, may-fail=yes; may be repeated",
    )
    arguments = parser.parse_args(argv)
    arguments.base_model_name = arguments.base_model_name or arguments.base_model
    if (arguments.shots > 0) != (arguments.few_shot is not None):
        raise BadInput("--few-shot and --shots belong together")
    if "" in arguments.stop:
        raise BadInput("--stop: an empty text would end every answer at once")
    if arguments.likelihood:
        if arguments.engine == "vllm":
            raise BadInput(
                "--likelihood: vLLM does not measure expected answers here; use --engine"
                " transformers, or leave --likelihood out"
            )
        arguments.engine = "transformers"
    if arguments.adapter:
        names = (arguments.base_model_name, arguments.base_model)
        check_base(arguments.adapter, names, arguments.base_revision, arguments.other_base)
    return arguments
