# /// script
# requires-python = ">=3.11,<3.15"
# dependencies = [
#     "ai-edge-litert==2.3.0",
#     "jinja2==3.1.6",
#     "litert-lm==0.18.1",
#     "litert-torch==0.10.0",
#     "torch==2.13.0",
#     "transformers==5.23.0",
# ]
# ///
"""Exports a model to LiteRT-LM, and has the file asked by its own runtime.

Writes OUTPUT/NAME.litertlm and OUTPUT/export.json. Needs an environment of its own, which its
first lines name. Runs inside a job, so it imports nothing of the package but `litertlm_metadata.py`
beside it. Standard output: one JSON object a line. Exit codes: 0 exported; 1 the export went wrong;
2 the arguments or the model are wrong.
"""

from __future__ import annotations

import argparse
import importlib
import io
import mmap
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training import litertlm_metadata
    from orchestrator.training.argument_types import file_name, whole
    from orchestrator.training.export_run import BadInput, ExportFailed, run, write_result
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    import litertlm_metadata
    from argument_types import file_name, whole
    from export_run import BadInput, ExportFailed, run, write_result

CONVERTER = "litert-torch 0.10.0"
RECIPES = {"dynamic_int8": "dynamic_wi8_afp32", "none": "none"}
SENTINEL = "SENTINEL0X"


@dataclass(frozen=True)
class Written:
    """What the file says of itself."""

    kv_cache: int
    prefill: tuple[int, ...]
    start: str
    stop: tuple[str, ...]
    model_type: str


# --- Arguments ---------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; argparse itself exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="export_litertlm.py", description="Export a model to LiteRT-LM."
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, help="folder of the model, as merge.py writes it")
    add("--output", required=True, type=Path, help="folder for the results")
    add(
        "--prefill", type=whole(1), nargs="+", default=[256], help="tokens of a prompt read at once"
    )
    add("--kv-cache", type=whole(1), default=1024, help="tokens held, prompt and answer together")
    add("--quantization", choices=sorted(RECIPES), default="dynamic_int8")
    add("--name", type=file_name, default="model", help="name of the file, without .litertlm")
    arguments = parser.parse_args(argv)
    if max(arguments.prefill) >= arguments.kv_cache:
        parser.error(
            f"--prefill {max(arguments.prefill)} must be smaller than --kv-cache"
            f" {arguments.kv_cache}: the cache holds prompt and answer"
        )
    return arguments


# --- Converting --------------------------------------------------------------------------------


def _alias_schema() -> None:
    """Let litert-torch find the one module of TensorFlow that it imports without declaring it.

    ai-edge-litert brings the same module under a name of its own.
    """
    # Before the alias, because it looks whether there is a TensorFlow.
    importlib.import_module("torch._dynamo")
    from ai_edge_litert import schema_py_generated

    names = ("tensorflow", "tensorflow.lite", "tensorflow.lite.python")
    for name in names:
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules[f"{names[-1]}.schema_py_generated"] = schema_py_generated
    sys.modules[names[-1]].schema_py_generated = schema_py_generated  # type: ignore[attr-defined]  # a module made here


def convert(arguments: argparse.Namespace, work: Path) -> Path:
    """The file that litert-torch leaves in `work`; raises `ExportFailed` in its words."""
    try:
        _alias_schema()
        from litert_torch.generative.export_hf.export import export as export_model
    except ImportError as error:
        raise BadInput(
            f"{error}: this script needs an environment of its own, which its first lines name;"
            " run it with `uv run`"
        ) from error
    try:
        export_model(
            model=str(arguments.model),
            output_dir=str(work),
            prefill_lengths=sorted(set(arguments.prefill)),
            cache_length=arguments.kv_cache,
            quantization_recipe=RECIPES[arguments.quantization],
        )
    except Exception as error:  # it raises what it likes
        raise ExportFailed(
            f"{arguments.model}: {CONVERTER} cannot convert it: {error!r}"
        ) from error
    made = sorted(work.glob("*.litertlm"))
    if len(made) != 1:
        raise ExportFailed(f"{CONVERTER} left {len(made)} files *.litertlm instead of one")
    return made[0]


# --- Reading back ------------------------------------------------------------------------------


def read_back(file: Path) -> Written:
    """What is built into the file: lengths, and the tokens at which it starts and stops."""
    from litert_lm_builder import litertlm_header_schema_py_generated as schema
    from litert_lm_builder.litertlm_peek import read_litertlm_header
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    sections = read_litertlm_header(str(file), io.StringIO()).SectionMetadata()
    metadata = llm_metadata_pb2.LlmMetadata()
    for number in range(sections.ObjectsLength()):
        section = sections.Objects(number)
        if section.DataType() == schema.AnySectionDataType.LlmMetadataProto:
            with file.open("rb") as content:
                content.seek(section.BeginOffset())
                metadata.ParseFromString(content.read(section.EndOffset() - section.BeginOffset()))
    with (
        file.open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        prefill = {int(one) for one in re.findall(rb"prefill_([0-9]+)\0", data)}
    return Written(
        kv_cache=metadata.max_num_tokens,
        prefill=tuple(sorted(prefill)),
        start=_token(metadata.start_token),
        stop=tuple(_token(one) for one in metadata.stop_tokens),
        model_type=str(metadata.llm_model_type.WhichOneof("model_type")),
    )


def _token(token: Any) -> str:
    ids = list(token.token_ids.ids)
    return f"#{','.join(map(str, ids))}" if ids else str(token.token_str)


def check(written: Written, arguments: argparse.Namespace, tokenizer: Any) -> list[str]:
    """What in the file is not what was asked for, a sentence each."""
    found = []
    if written.kv_cache != arguments.kv_cache:
        found.append(f"holds {written.kv_cache} tokens instead of {arguments.kv_cache}")
    if list(written.prefill) != sorted(set(arguments.prefill)):
        found.append(f"prefills {written.prefill} tokens instead of {arguments.prefill}")
    end = _after_an_answer(tokenizer)
    special = [one for one in tokenizer.added_tokens_encoder if one and end.startswith(one)]
    stops = {*special, *(f"#{tokenizer.convert_tokens_to_ids(one)}" for one in special)}
    if not any(one in stops or end.startswith(one) for one in written.stop):
        found.append(f"does not stop at {end!r}, with which the chat template ends an answer")
    return found


def _after_an_answer(tokenizer: Any) -> str:
    messages = [{"role": "user", "content": "U"}, {"role": "assistant", "content": SENTINEL}]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    return text.rpartition(SENTINEL)[2]


# --- Running -----------------------------------------------------------------------------------


def _load_tokenizer(model: Path) -> Any:
    if not (model / "config.json").is_file() or not any(model.glob("*.safetensors")):
        raise BadInput(f"--model {model}: is no folder with config.json and *.safetensors")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--model {model}: its tokenizer cannot be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise BadInput(f"--model {model}: its tokenizer has no chat template to build in")
    return tokenizer


def export(arguments: argparse.Namespace) -> dict[str, Any]:
    """Convert and read back; what export.json says. A file that is not as asked is not kept."""
    file = arguments.output / f"{arguments.name}.litertlm"
    if file.exists():
        raise BadInput(f"{file}: is there already; name a new --output")
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a folder, so nothing may be asked for
    tokenizer = _load_tokenizer(arguments.model)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output, prefix="converting-") as work:
        made = convert(arguments, Path(work))
        try:
            litertlm_metadata.rewrite(made, Path(work), tokenizer)
            judged = litertlm_metadata.judge(made, Path(work), tokenizer)
        except (litertlm_metadata.NotExpressible, RuntimeError) as error:
            raise ExportFailed(f"{file.name}: {error}") from error
        written = read_back(made)
        problems = [*check(written, arguments, tokenizer), *judged.problems]
        if problems:
            raise ExportFailed(f"{file.name}: {'; '.join(problems)}")
        shutil.move(made, file)
    return write_result(
        file,
        "litertlm",
        quantization=arguments.quantization,
        kv_cache=written.kv_cache,
        prefill=list(written.prefill),
        start=written.start,
        stop=list(written.stop),
        model_type=written.model_type,
        declares_tools=judged.declares_tools,
        converter=CONVERTER,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    arguments = parse_arguments(argv)
    return run("export_litertlm.py", lambda: export(arguments))


if __name__ == "__main__":
    sys.exit(main())
