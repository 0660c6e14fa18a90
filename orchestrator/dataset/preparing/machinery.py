"""What works on rows while they are prepared, made once from the rules."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.dataset.example import Example
from orchestrator.dataset.preparing.prepared import PREPARATION_VERSION, Version
from orchestrator.dataset.privacy.redaction import redacted
from orchestrator.dataset.reading.rows import Row
from orchestrator.dataset.report import Finding, Group
from orchestrator.dataset.rules import RowsFile, Rules
from orchestrator.dataset.tokens.base import TokenCount, TokenCounter
from orchestrator.errors import InputError


@dataclass(frozen=True)
class Machinery:
    """The parts in the order in which a row meets them."""

    read: Callable[[RowsFile], Iterator[Row | Finding]]
    convert: Callable[[RowsFile, Row], Example | Finding]
    examine: Callable[[Sequence[Example]], Iterable[Finding]]
    conclude: Callable[[], Iterable[Group]]
    #: None where nothing is masked.
    redact: Callable[[Example], Example] | None
    line: Callable[[Example], bytes]
    counter: TokenCounter
    loses_answer: Callable[[TokenCount, int], bool]


def machinery(rules: Rules) -> Machinery:
    """The machinery of these rules. Raises `InputError` for rows that an estimate would drop."""
    from orchestrator.dataset.checks.form import FormCheck
    from orchestrator.dataset.formats.conversion import Converter
    from orchestrator.dataset.output import service_line
    from orchestrator.dataset.reading.opening import read_rows
    from orchestrator.dataset.tokens.counting import loses_answer, make_counter

    counter = make_counter(rules.tokens, rules.service)
    need_exact_counts(rules, counter)
    converter = Converter(rules)
    form = FormCheck(rules)
    return Machinery(
        read=read_rows,
        convert=lambda file, row: converter.convert(file.name, row, file.split),
        examine=form.examine,
        conclude=form.conclude,
        redact=_redactor() if rules.data.redact else None,
        line=functools.partial(service_line, service=rules.service),
        counter=counter,
        loses_answer=loses_answer,
    )


def need_columns(files: Iterable[RowsFile], rules: Rules) -> None:
    """Raise `InputError` if the rows lack a column that the spec's mapping names."""
    if not rules.data.mapping.columns:
        return
    from orchestrator.dataset.formats.conversion import require_columns

    require_columns(list(files), rules)


def need_exact_counts(rules: Rules, counter: TokenCounter) -> None:
    """Raise if an estimate would decide which rows are trained on."""
    if rules.too_long == "drop" and not counter.exact:
        raise InputError(
            f"tuning.too_long is `drop`, and the tokenizer of {rules.tokens.model} is not here: an "
            "estimate must not decide which rows are trained on",
            hint="Give `tokenizer:` in the spec, a folder with tokenizer.json or a model on the "
            "Hub; or write `too_long: error`.",
        )


def versions(rules: Rules) -> tuple[Version, ...]:
    """The versions of what decides which bytes are written."""
    from importlib.metadata import PackageNotFoundError, version

    names: list[str] = []
    if rules.data.near_duplicates < 1:
        names.append("rensa")
    if rules.data.redact:
        names += ["detect-secrets", "phonenumbers"]
    if rules.tokens.tokenizer is not None:
        names += ["jinja2", "tokenizers"]
    found = [Version(name="preparation", version=str(PREPARATION_VERSION))]
    for name in names:
        try:
            found.append(Version(name=name, version=version(name)))
        except PackageNotFoundError:  # who needs it will say so
            found.append(Version(name=name, version="not installed"))
    return tuple(found)


def _redactor() -> Callable[[Example], Example]:
    from orchestrator.dataset.privacy.detection import redact

    return lambda example: redacted(example, redact)
