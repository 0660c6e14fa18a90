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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NEW_TOKENS = 48


@dataclass(frozen=True)
class Questions:
    """What every runtime is asked, and where its answers end."""

    prompts: list[str]
    ends: list[str]
    bos: str


#: An answer, and how many tokens the runtime read of its prompt.
Answered = tuple[str, int]


def questions(rows: Path, model: Path, most: int) -> Questions:
    """The rows' prompts through the model's chat template, texts as they are, and where to end."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    lines = rows.read_text(encoding="utf-8").splitlines()[:most]
    prompts = []
    for row in map(json.loads, lines):
        given = row["prompt"] if "prompt" in row else row["messages"][:-1]
        if not isinstance(given, str):
            given = tokenizer.apply_chat_template(
                given, tools=row.get("tools"), tokenize=False, add_generation_prompt=True
            )
        prompts.append(given)
    return Questions(prompts, ends_of(tokenizer), tokenizer.bos_token or "")


def ends_of(tokenizer: Any) -> list[str]:
    """The tokens at which an answer ends: end of text, and what follows an answer in a chat."""
    mark = "SENTINEL0X"
    turns = [{"role": "user", "content": "U"}, {"role": "assistant", "content": mark}]
    turns.append({"role": "user", "content": "U"})
    after = tokenizer.apply_chat_template(turns, tokenize=False).partition(mark)[2]
    starts = [one for one in tokenizer.added_tokens_encoder if one and after.startswith(one)]
    return [tokenizer.eos_token, *starts]


def with_transformers(model: str, asked: Questions) -> list[Answered]:
    """The answers of the model itself, in 32 bits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    stop = tokenizer.convert_tokens_to_ids(asked.ends)
    answers = []
    for prompt in asked.prompts:
        given = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        count = given["input_ids"].shape[1]
        with torch.inference_mode():
            out = loaded.generate(
                **given,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=stop[0],
            )
        answers.append((tokenizer.decode(out[0][count:], skip_special_tokens=True), count))
    return answers


def with_xllamacpp(file: str, asked: Questions) -> list[Answered]:
    """The answers of a GGUF file."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx = 2048
    parameters.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def complete(prompt: str, tokens: int) -> Answered:
        request = {"prompt": prompt, "max_tokens": tokens, "n_predict": tokens, "temperature": 0}
        request |= {"top_k": 1, "repeat_penalty": 1, "stop": asked.ends}
        answer = server.handle_completions(request)
        value = json.loads(answer) if isinstance(answer, str | bytes) else answer
        if "choices" not in value:
            raise SystemExit(f"xllamacpp answered {value}")
        return value["choices"][0]["text"], value["usage"]["prompt_tokens"]

    # Where it writes the first token itself, that goes out of the prompt, as the Modelfile has it.
    start = asked.bos if asked.bos and complete(asked.bos, 1)[1] == 2 else ""
    return [complete(prompt.removeprefix(start), NEW_TOKENS) for prompt in asked.prompts]


def with_litert_lm(file: str, asked: Questions) -> list[Answered]:
    """The answers of a LiteRT-LM file, each from a session of its own; the prompt goes as text."""
    import litert_lm

    answers = []
    with litert_lm.Engine(file, backend=litert_lm.Backend.CPU(), enable_benchmark=True) as engine:
        # The engine writes the first token itself, so it goes out of the prompt.
        first = engine.bos_token_id
        start = "" if first is None or first < 0 else engine.detokenize([first])
        for prompt in asked.prompts:
            greedy = litert_lm.SamplerConfig(top_k=1, temperature=0.0, seed=0)
            with engine.create_session(
                apply_prompt_template=False,
                sampler_config=greedy,
                max_output_tokens=NEW_TOKENS,
            ) as session:
                session.run_prefill([prompt.removeprefix(start)])
                text = "".join(session.run_decode().texts)
                count = session.get_benchmark_info().last_prefill_token_count
            # The runtime leaves the token at which it stopped in the text.
            answers.append((re.split("|".join(map(re.escape, asked.ends)), text)[0], count))
    return answers


RUNTIMES = {
    "transformers": with_transformers,
    "xllamacpp": with_xllamacpp,
    "litert-lm": with_litert_lm,
}


def ask(runtime: str, python: str, model: Path, asked: Questions) -> list[Answered]:
    """The answers of a runtime, which runs in a process and an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        question, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        question.write_text(json.dumps(asdict(asked)), encoding="utf-8")
        command = [python, __file__, "--answer", runtime, str(model), str(question), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{runtime} failed on {model}:\n{done.stderr[-2000:]}")
        return [tuple(one) for one in json.loads(answered.read_text(encoding="utf-8"))]


def _answer(runtime: str, model: str, asked: str, answered: str) -> None:
    value = json.loads(Path(asked).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        answers = RUNTIMES[runtime](model, Questions(**value))
    Path(answered).write_text(json.dumps(answers), encoding="utf-8")


def agreement(expected: Sequence[Answered], got: Sequence[Answered]) -> dict[str, Any]:
    """How many answers are the same to the letter, and how far the others go together.

    `prompts_as_long` counts the prompts of which as many tokens were read.
    """
    rows = list(zip(expected, got, strict=True))
    pairs = [(one[0].strip(), other[0].strip()) for one, other in rows]
    shared = [_shared(*pair) / max(*map(len, pair), 1) for pair in pairs]
    return {
        "rows": len(pairs),
        "prompts_as_long": sum(one[1] == other[1] for one, other in rows),
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
    asked = questions(arguments.rows, arguments.model, arguments.most)
    expected = ask("transformers", sys.executable, arguments.model, asked)
    exported = [("xllamacpp", arguments.gguf_python, file) for file in arguments.gguf]
    exported += [("litert-lm", arguments.litertlm_python, file) for file in arguments.litertlm]
    results = {}
    print("| file | runtime | same answers | shared prefix | prompts as long |")
    print("|---|---|---|---|---|")
    for runtime, python, file in exported:
        result = agreement(expected, ask(runtime, python, file, asked))
        results[file.name] = {"runtime": runtime, **result}
        share = f"{result['same']}/{result['rows']}"
        alike = f"{result['shared_prefix']:.3f} | {result['prompts_as_long']}/{result['rows']}"
        print(f"| {file.name} | {runtime} | {share} | {alike} |", flush=True)
    if arguments.json:
        said = [text for text, _ in expected]
        text = json.dumps({"expected": said, "exports": results}, indent=2, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
