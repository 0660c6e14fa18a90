"""How the tokens of a spec's rows are counted: with which tokenizer, and by which template."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.catalog import Model
from orchestrator.dataset.rules import TokenRules
from orchestrator.errors import InputError, NotFound, Place
from orchestrator.spec import LoadedSpec

_HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>\S+))?", re.ASCII
)


@dataclass(frozen=True)
class FoundTokenizer:
    """A folder with a tokenizer, and where it is from; or why there is none, and how to get it."""

    folder: Path | None
    source: str = ""
    missing: str = ""


class Tokenizers(Protocol):
    """Finds the tokenizers of models on the Hub, here or there."""

    def find(self, repo: str, revision: str) -> FoundTokenizer:
        """The tokenizer of a model; raises `NotFound` if the Hub knows no such model."""
        ...


def resolve_tokens(
    loaded: LoadedSpec, model: Model, tokenizers: Tokenizers | None = None
) -> TokenRules:
    """How tokens are counted, by spec and catalog. Raises `InputError` with its place."""
    named = loaded.spec.tokenizer
    local = _local_tokenizer(loaded, named) if named is not None else None
    if local is not None:
        found = FoundTokenizer(local, f"the tokenizer in {local}")
    elif named is not None:
        found = _hub_tokenizer(loaded, named, tokenizers)
    else:
        found = _models_own(model, tokenizers)
    template, whose = _template(loaded, model, found, own=named is None)
    measured = model.estimate_error
    return TokenRules(
        model=model.id,
        tokenizer=found.folder,
        template=template,
        template_source=whose,
        tokens_per_character=model.tokens_per_character,
        estimate_source=model.source,
        estimate_error=None if measured is None else (measured.fewer, measured.more),
        tokenizer_source=found.source,
        tokenizer_missing=found.missing,
    )


def beside_spec(loaded: LoadedSpec, name: str, place: Place) -> Path:
    """A file that a field names, relative to the spec; raises `InputError` if it is not there."""
    file = loaded.file.parent / name
    try:
        problem = (
            None
            if file.is_file()
            else f"{file} is a folder, not a file"
            if file.is_dir()
            else f"there is no file {file}"
        )
    except (OSError, ValueError) as error:
        problem = f"cannot read {file}: {getattr(error, 'strerror', None) or error}"
    if problem is not None:
        raise InputError(problem, where=place, hint="The path is relative to the spec.")
    return file


def has_own_template(folder: Path) -> bool:
    """Whether a tokenizer's folder holds a chat template."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))


def _local_tokenizer(loaded: LoadedSpec, named: str) -> Path | None:
    """The folder that the spec names; None if it names a model on the Hub."""
    place = loaded.place("tokenizer")
    folder = (loaded.file.parent / Path(named).expanduser()).resolve()
    if folder.is_dir():
        if not (folder / "tokenizer.json").is_file():
            raise InputError(
                f"{folder} has no tokenizer.json",
                where=place,
                hint="Save it there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)",
            )
        return folder
    if _HUB_ID.fullmatch(named) and not named.startswith(("./", "../", "/", "~")):
        return None
    raise InputError(
        f"there is no folder {folder}",
        where=place,
        hint="Name a folder with tokenizer.json, relative to the spec, or owner/name@revision of "
        "a model on the Hub.",
    )


def _hub_tokenizer(loaded: LoadedSpec, named: str, tokenizers: Tokenizers | None) -> FoundTokenizer:
    if tokenizers is None:
        return FoundTokenizer(None, missing=f"the tokenizer of {named} is not on this machine")
    found = _HUB_ID.fullmatch(named)
    repo, revision = (found["repo"], found["revision"]) if found else (named, None)
    try:
        return tokenizers.find(repo, revision or "main")
    except NotFound as error:
        raise InputError(
            f"the Hub shows no tokenizer of {named}: {error.message}",
            where=loaded.place("tokenizer"),
            hint=error.hint or "Check the name and the revision.",
        ) from error


def _models_own(model: Model, tokenizers: Tokenizers | None) -> FoundTokenizer:
    if tokenizers is None:
        message = f"the tokenizer of {model.hub_id} is not on this machine"
        return FoundTokenizer(None, missing=message)
    try:
        return tokenizers.find(model.hub_id, "main")
    except NotFound as error:  # the catalog's name, not the user's: no fault of the spec
        return FoundTokenizer(None, missing=error.message)


def _template(
    loaded: LoadedSpec, model: Model, found: FoundTokenizer, *, own: bool
) -> tuple[Path | None, str]:
    """The file that goes before the tokenizer's own template, and whose template is used."""
    from orchestrator.dataset.tokens.templates import template_file, template_source

    given = loaded.spec.chat_template
    if given is not None:
        file = beside_spec(loaded, given, loaded.place("chat_template"))
        return file, f"the spec's {given}"
    if found.folder is not None and has_own_template(found.folder):
        return None, "the model's own" if own else f"that of {loaded.spec.tokenizer}"
    if model.chat_template is None:
        return None, ""
    file_there = template_file(model.chat_template)
    return file_there, template_source(model.chat_template) if file_there is not None else ""
