"""Whether an exported model gives the answers of the model it was made from, greedily.

`python export_parity.py MODEL ROWS [--gguf FILE]... [--litertlm FILE]...` asks the rows' prompts
of the model with transformers, of a GGUF file with xllamacpp and of a LiteRT-LM file with
litert-lm; the last two may live in environments of their own (`--gguf-python`,
`--litertlm-python`), in which this file runs itself. Prints a table of agreement, writes JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEW_TOKENS = 48


def read_prompts(rows: Path, model: Path, most: int) -> list[str]:
    """The rows' prompts through the model's chat template; texts stay as they are."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    lines = rows.read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines[:most]]
    return [
        one
        if isinstance(one, str)
        else tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True)
        for one in prompts
    ]


def ends_of(model: Path) -> list[str]:
    """The tokens at which an answer ends: end of text, and what follows an answer in a chat."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    mark = "SENTINEL0X"
    turns = [{"role": "user", "content": "U"}, {"role": "assistant", "content": mark}]
    turns.append({"role": "user", "content": "U"})
    after = tokenizer.apply_chat_template(turns, tokenize=False).partition(mark)[2]
    starts = [one for one in tokenizer.added_tokens_encoder if one and after.startswith(one)]
    return [tokenizer.eos_token, *starts]


def with_transformers(model: str, prompts: Sequence[str], ends: Sequence[str]) -> list[str]:
    """The answers of the model itself, in 32 bits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    stop = tokenizer.convert_tokens_to_ids(list(ends))
    answers = []
    for prompt in prompts:
        given = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            out = loaded.generate(
                **given,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=stop[0],
            )
        new = out[0][given["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    return answers


def with_xllamacpp(file: str, prompts: Sequence[str], ends: Sequence[str]) -> list[str]:
    """The answers of a GGUF file."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx = 2048
    parameters.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    answers = []
    for prompt in prompts:
        answer = server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": NEW_TOKENS,
                "n_predict": NEW_TOKENS,
                "temperature": 0,
                "top_k": 1,
                "repeat_penalty": 1,
                "stop": list(ends),
            }
        )
        value = json.loads(answer) if isinstance(answer, str | bytes) else answer
        if "choices" not in value and "content" not in value:
            raise SystemExit(f"xllamacpp answered {value}")
        answers.append(value["choices"][0]["text"] if "choices" in value else value["content"])
    return answers


def with_litert_lm(file: str, prompts: Sequence[str], ends: Sequence[str]) -> list[str]:
    """The answers of a LiteRT-LM file, each from a session of its own; the prompt goes as text."""
    import litert_lm

    answers = []
    with litert_lm.Engine(file, backend=litert_lm.Backend.CPU()) as engine:
        # The engine writes the first token itself, so it goes out of the prompt.
        first = engine.bos_token_id
        start = "" if first is None or first < 0 else engine.detokenize([first])
        for prompt in prompts:
            greedy = litert_lm.SamplerConfig(top_k=1, temperature=0.0, seed=0)
            with engine.create_session(
                apply_prompt_template=False,
                sampler_config=greedy,
                max_output_tokens=NEW_TOKENS,
            ) as session:
                session.run_prefill([prompt.removeprefix(start)])
                answers.append("".join(session.run_decode().texts))
    # The runtime leaves the token at which it stopped in the text.
    return [re.split("|".join(map(re.escape, ends)), one)[0] for one in answers]


RUNTIMES = {
    "transformers": with_transformers,
    "xllamacpp": with_xllamacpp,
    "litert-lm": with_litert_lm,
}


def ask(
    runtime: str, python: str, model: Path, prompts: Sequence[str], ends: Sequence[str]
) -> list[str]:
    """The answers of a runtime, which runs in a process and an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        asked.write_text(json.dumps({"prompts": prompts, "ends": ends}), encoding="utf-8")
        command = [python, __file__, "--answer", runtime, str(model), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{runtime} failed on {model}:\n{done.stderr[-2000:]}")
        return list(json.loads(answered.read_text(encoding="utf-8")))


def _answer(runtime: str, model: str, asked: str, answered: str) -> None:
    value = json.loads(Path(asked).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        answers = RUNTIMES[runtime](model, value["prompts"], value["ends"])
    Path(answered).write_text(json.dumps(answers), encoding="utf-8")


def agreement(expected: Sequence[str], got: Sequence[str]) -> dict[str, Any]:
    """How many answers are the same to the letter, and how far the others go together."""
    pairs = [(one.strip(), other.strip()) for one, other in zip(expected, got, strict=True)]
    shared = [_shared(*pair) / max(*map(len, pair), 1) for pair in pairs]
    return {
        "rows": len(pairs),
        "same": sum(one == other for one, other in pairs),
        "shared_prefix": round(sum(shared) / len(shared), 3),
        "different": [pair for pair in pairs if pair[0] != pair[1]],
    }


def _shared(one: str, other: str) -> int:
    """How many letters the two begin with together."""
    differing = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))


def main(argv: Sequence[str]) -> int:
    """Compare and print; the exit code."""
    if argv[:1] == ["--answer"]:
        _answer(*argv[1:])
        return 0
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("model", type=Path, help="folder of the model")
    add("rows", type=Path, help="JSONL rows with prompts")
    add("--gguf", type=Path, action="append", default=[])
    add("--litertlm", type=Path, action="append", default=[])
    add("--gguf-python", default=sys.executable, help="the Python that has xllamacpp")
    add("--litertlm-python", default=sys.executable, help="the Python that has litert-lm")
    add("--most", type=int, default=24, help="so many rows are asked")
    add("--json", type=Path, help="file for the results")
    arguments = parser.parse_args(argv)
    prompts = read_prompts(arguments.rows, arguments.model, arguments.most)
    ends = ends_of(arguments.model)
    expected = ask("transformers", sys.executable, arguments.model, prompts, ends)
    exported = [("xllamacpp", arguments.gguf_python, file) for file in arguments.gguf]
    exported += [("litert-lm", arguments.litertlm_python, file) for file in arguments.litertlm]
    results = {}
    print("| file | runtime | same answers | shared prefix |\n|---|---|---|---|")
    for runtime, python, file in exported:
        result = agreement(expected, ask(runtime, python, file, prompts, ends))
        results[file.name] = {"runtime": runtime, **result}
        share = f"{result['same']}/{result['rows']}"
        print(f"| {file.name} | {runtime} | {share} | {result['shared_prefix']:.3f} |", flush=True)
    if arguments.json:
        text = json.dumps({"expected": expected, "exports": results}, indent=2, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
