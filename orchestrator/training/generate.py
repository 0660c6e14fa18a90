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
"""Predicts the answers to rows with a base model, with an adapter on it, or with a full model.

It only predicts: a line for each row in OUTPUT/predictions.jsonl, in order. Messages go through the
chat template with the row's tools, texts go raw; decoding is greedy. Special tokens are kept, since
calls of tools may be made of them; only what ends the answer is cut off.

A run that was interrupted goes on after its last whole line; OUTPUT/run.json says what the answers
were made of. With --condition it answers under several conditions in turn, each into its own
folder (generate_conditions.py). Each row's `latency_s` is the time from the start of its batch to
its own last token. With --likelihood each line also says how likely the model finds the expected
answer: `expected_tokens`, `expected_loss` (the sum of their negative log likelihoods in nats; null
where that is no number) and `expected_right`, how many of them were the likeliest.
Standard output: one JSON object a line (`start`, `progress`, `end`, `failed`), and what --diagnose
prints. Exit codes: 0 predicted; 1 it went wrong; 2 the arguments, the rows or the model are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training import generate_vllm
    from orchestrator.training.generate_arguments import parse_arguments as parse_arguments
    from orchestrator.training.generate_conditions import answer_all
    from orchestrator.training.generate_diagnose import Asked, diagnose
    from orchestrator.training.generate_likelihood import LikelihoodMeter, Target, target_of
    from orchestrator.training.generate_model import (
        Engine,
        Stops,
        TransformersEngine,
        load,
        load_configs,
        load_tokenizer,
        stops_of,
    )
    from orchestrator.training.generate_prompts import Shots, check_lengths, prepare
    from orchestrator.training.generate_record import Header, Record
    from orchestrator.training.sft_events import BadInput, Metrics
    from orchestrator.training.sft_model import Precision, choose_precision, this_machine
    from orchestrator.training.sft_rows import read_rows
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    import generate_vllm
    from generate_arguments import parse_arguments
    from generate_conditions import answer_all
    from generate_diagnose import Asked, diagnose
    from generate_likelihood import LikelihoodMeter, target_of
    from generate_model import (
        TransformersEngine,
        load,
        load_configs,
        load_tokenizer,
        stops_of,
    )
    from generate_prompts import Shots, check_lengths, prepare
    from generate_record import Header, Record
    from sft_events import BadInput, Metrics
    from sft_model import choose_precision, this_machine
    from sft_rows import read_rows

_VLLM_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Task:
    """All that is known before the model's weights are loaded."""

    arguments: argparse.Namespace
    asked: list[Asked]
    #: The expected answers to measure, by row; None where there is nothing to measure.
    targets: list[Target | None]
    tokenizer: Any
    stops: Stops
    model_type: str
    revision: str | None
    engine: str
    precision: Precision


def _engine_of(wanted: str, adapter: Path | None, *, cuda: bool) -> str:
    if wanted == "transformers":
        return wanted
    installed = generate_vllm.is_installed()
    refused = generate_vllm.fit_of(adapter).refused if adapter else None
    if wanted == "auto":
        return "vllm" if cuda and installed and not refused else "transformers"
    if not installed:
        raise BadInput("--engine vllm: vllm is not installed; install it, or use transformers")
    if refused:
        raise BadInput(f"--engine vllm: cannot apply an adapter with {refused}; use transformers")
    return wanted


def make_task(arguments: argparse.Namespace) -> Task:
    """Read and check rows, tokenizer and configs; raises `BadInput`."""
    rows = read_rows(arguments.rows)[: arguments.limit]
    examples = read_rows(arguments.few_shot) if arguments.few_shot else []
    if Path(arguments.base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is missing, so nothing may be asked for
    machine = this_machine()
    engine = _engine_of(arguments.engine, arguments.adapter, cuda=machine.cuda)
    config, generation = load_configs(arguments.base_model, arguments.base_revision)
    tokenizer = load_tokenizer(arguments.base_model, arguments.base_revision)
    stops = stops_of(tokenizer, generation or config, arguments.stop)
    if not stops.ids and not stops.texts:
        raise BadInput("neither the model nor --stop says what ends an answer")
    ends = [tokenizer.decode([one]) for one in stops.ids]
    shots = Shots(examples, arguments.shots, arguments.seed)
    asked = []
    for number, row in enumerate(rows):
        shown = shots.before(row)
        asked.append(Asked(shown, prepare(number, row, shown, tokenizer, ends)))
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    check_lengths([one.prompt for one in asked], arguments.max_new_tokens, context)
    targets = [
        target_of(one.row, tokenizer, context) if arguments.likelihood else None for one in asked
    ]
    return Task(
        arguments=arguments,
        asked=asked,
        targets=targets,
        tokenizer=tokenizer,
        stops=stops,
        model_type=config.model_type,
        revision=getattr(config, "_commit_hash", None) or arguments.base_revision,
        engine=engine,
        precision=choose_precision(arguments.precision, "lora", config.model_type, machine),
    )


def _load_engine(task: Task, out: TextIO) -> tuple[Engine, LikelihoodMeter | None, str]:
    """What answers, what measures, and on which device; diagnoses first where that is asked."""
    given = task.arguments
    if task.engine == "vllm":
        if given.diagnose:
            raise BadInput("--diagnose: use it with --engine transformers")
        vllm = generate_vllm.VllmEngine(
            given.base_model,
            task.revision,
            given.adapter,
            task.tokenizer,
            task.stops,
            new_tokens=given.max_new_tokens,
            context_tokens=max(len(one.prompt.ids) for one in task.asked) + given.max_new_tokens,
            dtype=_VLLM_DTYPES[task.precision.compute],
            seed=given.seed,
        )
        return vllm, None, "cuda"
    loaded = load(
        given.base_model, given.base_revision, given.adapter, given.precision, task.model_type
    )
    chosen = task.asked[: given.diagnose]
    new_tokens = given.max_new_tokens
    if chosen:
        for line in diagnose(chosen, loaded.model, task.tokenizer, task.stops, new_tokens):
            print(line, file=out, flush=True)
    engine = TransformersEngine(loaded.model, task.tokenizer, task.stops, given.max_new_tokens)
    meter = LikelihoodMeter(loaded.model) if given.likelihood else None
    return engine, meter, loaded.device


def generate(arguments: argparse.Namespace, metrics: Metrics, out: TextIO) -> None:
    """Read, check, load, answer and write; raises `BadInput`. Diagnoses go to `out`."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    task = make_task(arguments)
    prompts = [one.prompt for one in task.asked]
    header = Header.of(arguments, task.revision, task.engine, task.precision.compute)
    record = Record(arguments.output, header, [one.sha256 for one in prompts])
    waiting, began = prompts[record.done :], time.monotonic()
    metrics.emit(
        "start",
        model=arguments.base_model_name,
        adapter=arguments.adapter is not None,
        rows=len(prompts),
        done=min(record.done, len(prompts)),
        engine=task.engine,
        precision=task.precision.compute,
        precision_reason=task.precision.reason,
        **({"measured": len(prompts) - task.targets.count(None)} if arguments.likelihood else {}),
    )
    tokens = 0
    if waiting or arguments.diagnose:
        engine, meter, device = _load_engine(task, out)
        metrics.emit("loaded", device=device, seconds=round(time.monotonic() - began, 3))
        try:
            for start in range(0, len(waiting), arguments.batch_size):
                batch = waiting[start : start + arguments.batch_size]
                answers = engine.answer([one.ids for one in batch])
                targets = [task.targets[one.row] for one in batch]
                measured = meter.measure(targets) if meter else [None] * len(batch)
                for prompt, answer, likelihood in zip(batch, answers, measured, strict=True):
                    record.add(prompt, answer, likelihood)
                    tokens += len(answer.ids)
                record.flush()
                metrics.emit("progress", rows=batch[-1].row + 1, of=len(prompts))
        finally:
            record.close()
    seconds = time.monotonic() - began
    metrics.emit("end", rows=len(prompts), new_tokens=tokens, seconds=round(seconds, 3))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    stdout = sys.stdout
    metrics = Metrics(stdout)
    try:
        arguments = parse_arguments(argv)
        if arguments.condition:
            return answer_all(arguments, Path(__file__).resolve(), metrics, parse_arguments)
        # Libraries print what they like; standard output is for the events alone.
        with contextlib.redirect_stdout(sys.stderr):
            generate(arguments, metrics, stdout)
    except BadInput as error:
        sys.stderr.write(f"generate.py: {error}\n")
        return 2
    except (RuntimeError, MemoryError, OSError) as error:
        line = next((one for one in str(error).splitlines() if one.strip()), repr(error))
        metrics.emit("failed", message=line)
        sys.stderr.write(f"generate.py: {line}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
