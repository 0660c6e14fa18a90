"""Which of the files that a job left may be published: a known set, and never a pickle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

Kind = Literal["adapter", "merged"]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"
MODEL_INDEX = "model.safetensors.index.json"

_MODEL_WEIGHTS = ("model.safetensors", "model-*.safetensors")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)
_KNOWN: dict[Kind, tuple[str, ...]] = {
    "adapter": (ADAPTER_CONFIG, ADAPTER_WEIGHTS, *_TOKENIZER),
    "merged": (MODEL_CONFIG, "generation_config.json", MODEL_INDEX, *_MODEL_WEIGHTS, *_TOKENIZER),
}
#: Plots of the card. They come from us, never out of a job.
_PICTURES = ("plots/*.png",)
_PICKLED_WEIGHTS = ("adapter_model.bin", "pytorch_model*.bin")
#: How a zip archive and a pickle begin: some hide under a harmless name.
_CODE_MAGIC = re.compile(rb"PK\x03\x04|\x80[\x02-\x05]")


@dataclass(frozen=True)
class Selection:
    """The names to publish, those to leave out (with slashes if below a folder), what is missing.

    The kind is that of the weights; an adapter wins over a merged model beside it.
    """

    kind: Kind
    names: tuple[str, ...]
    dropped: tuple[str, ...]
    problems: tuple[str, ...]


def is_publishable(name: str) -> bool:
    """Whether a file of this name can be something that was published."""
    return any(_is_one_of(name, known) for known in (*_KNOWN.values(), _PICTURES))


def select(folder: Path) -> Selection:
    """Sort the files of a folder. Links and files in folders below are always left out."""
    everything = sorted(
        one.relative_to(folder).as_posix()
        for one in folder.rglob("*")
        if one.is_symlink() or not one.is_dir()
    )
    top = [name for name in everything if "/" not in name and not (folder / name).is_symlink()]
    has_adapter = ADAPTER_CONFIG in top or ADAPTER_WEIGHTS in top
    has_model = any(_is_one_of(name, _MODEL_WEIGHTS) for name in top)
    kind: Kind = "merged" if has_model and not has_adapter else "adapter"
    names = tuple(
        name for name in top if _is_one_of(name, _KNOWN[kind]) and not _is_code(folder / name)
    )
    return Selection(
        kind=kind,
        names=names,
        dropped=tuple(name for name in everything if name not in names),
        problems=tuple(_missing(kind, names, top)),
    )


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_code(file: Path) -> bool:
    """Whether a vocabulary file is really a pickle."""
    if file.suffix != ".model":
        return False
    with file.open("rb") as stream:
        return _CODE_MAGIC.match(stream.read(4)) is not None


def _missing(kind: Kind, names: Iterable[str], top: Iterable[str]) -> list[str]:
    found = []
    config = MODEL_CONFIG if kind == "merged" else ADAPTER_CONFIG
    if config not in names:
        found.append(f"{config}: is missing; the output is incomplete, collect again")
    if any(name.endswith(".safetensors") for name in names):
        return found
    pickles = [name for name in top if _is_one_of(name, _PICKLED_WEIGHTS)]
    if pickles:
        found.append(
            f"{pickles[0]}: is a pickle, which can run code when it is loaded; refused:"
            " have the service write safetensors, or convert it where nothing can be harmed"
        )
    else:
        found.append(f"{ADAPTER_WEIGHTS}: is missing; the output is incomplete, collect again")
    return found
