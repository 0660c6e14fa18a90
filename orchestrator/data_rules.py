"""What rows are checked against: the spec, the catalog and the files beside the spec, resolved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.catalog import Model
from orchestrator.data_files import schema_text
from orchestrator.data_sources import Fetch, RowsSource, resolve_source
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.errors import InputError, Place
from orchestrator.spec import LoadedSpec, SpecError
from orchestrator.token_rules import Tokenizers, beside_spec, resolve_tokens

if TYPE_CHECKING:
    from orchestrator.dataset.example import Tool

T = TypeVar("T")


def resolve_files(
    loaded: LoadedSpec,
    override: Path | str | None = None,
    *,
    fetch: Fetch | None = None,
    label: Callable[[Path], str] = str,
) -> tuple[RowsFile, ...]:
    """The files with the rows, brought to this machine; see `data_sources.resolve_source`.

    Of a `head` subset those that hold its rows: the others are not fetched.
    """
    source = resolve_source(loaded, override, fetch=fetch, label=label)
    subset = loaded.spec.data.subset
    if subset is None or subset.by != "head":
        return source.files()
    return tuple(_until(source, subset.rows))


def _until(source: RowsSource, rows: int) -> Iterator[RowsFile]:
    """The files in their order until they hold so many rows."""
    from orchestrator.dataset.reading.opening import read_rows

    last = len(source.parts)
    for number, file in enumerate(source.iter_files(), start=1):
        yield file
        if number < last and file.path.is_file():  # a pipe can be read only once
            rows -= sum(1 for _ in itertools.islice(read_rows(file), rows))
        if rows <= 0:
            return


def resolve_rules(
    loaded: LoadedSpec, model: Model, *, tokenizers: Tokenizers | None = None
) -> Rules:
    """What the rows of a spec are checked against.

    `tokenizers` finds those of the Hub; without it, tokens are estimated unless the spec names a
    folder. Raises `SpecError` with everything that is wrong with the files that the spec names.
    """
    spec = loaded.spec
    problems: list[InputError] = []

    def tried(resolve: Callable[[], T], default: T) -> T:
        try:
            return resolve()
        except InputError as error:
            problems.extend(error.problems if isinstance(error, SpecError) else [error])
            return default

    tried(lambda: _check_format(loaded), None)
    tried(lambda: _check_answer(loaded), None)
    tools: tuple[Tool, ...] = tried(lambda: _tools(loaded), ())
    tokens = tried(lambda: resolve_tokens(loaded, model, tokenizers), None)
    if problems or tokens is None:
        raise SpecError(problems)
    own_limit = spec.tuning.max_length
    return Rules(
        data=spec.data,
        spec_folder=loaded.file.parent,
        tools=tools,
        tokens=tokens,
        service=spec.service.name,
        max_length=model.max_row_tokens if own_limit is None else own_limit,
        max_length_source=(
            f"the limit of {spec.service.name} for {model.id}"
            if own_limit is None
            else "tuning.max_length"
        ),
        too_long=spec.tuning.too_long,
        export=spec.export,
        seed=spec.seed,
    )


def _check_format(loaded: LoadedSpec) -> None:
    from orchestrator.dataset.formats.registry import find_format

    name = loaded.spec.data.format
    _placed(loaded.place("data", "format"), lambda: find_format(name, loaded.file.parent))


def _check_answer(loaded: LoadedSpec) -> None:
    """A schema by its name must ship; one by its path must be there."""
    answer = loaded.spec.data.answer
    place = loaded.place("data", "answer")
    if answer == "text":
        return
    if "/" in answer or answer.endswith(".json"):
        beside_spec(loaded, answer, place)
    else:
        _placed(place, lambda: schema_text(answer))


def _tools(loaded: LoadedSpec) -> tuple[Tool, ...]:
    from orchestrator.dataset.tools import load_tools

    name = loaded.spec.data.tools
    if name is None:
        return ()
    file = beside_spec(loaded, name, loaded.place("data", "tools"))
    return load_tools(file, str(file))


def _placed(place: Place, resolve: Callable[[], T]) -> T:
    """Give an error that has no place of its own that of the field which led to it."""
    try:
        return resolve()
    except InputError as error:
        if error.where is not None:
            raise
        raise InputError(error.message, where=place, hint=error.hint) from error
