"""What follows from the lengths of all rows: what is lost, which limits would do, and figures."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.dataset.checks.length_tallies import Code, LengthTallies
from orchestrator.dataset.checks.length_wording import Limits, row_hint, row_message
from orchestrator.dataset.report import Figure, Finding, Group, Level, Table
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

_KIND = "length"
_LOSSES: frozenset[Code] = frozenset({"answer-lost", "answer-cut", "end-of-turn-cut"})
_LEVEL_OF_LOSS = {"error": Level.ERROR, "drop": Level.NOTE, "cut": Level.WARNING}
_PERCENTS = (50, 90, 95, 99)


def conclusions(tallies: LengthTallies, rules: Rules) -> Iterable[Group]:
    """The rows of each sort, then what is true of all of them together."""
    limits = Limits(rules, tallies.smallest_limit, tallies.estimated)
    for code, tally in tallies.of.items():
        level = _LEVEL_OF_LOSS[rules.too_long] if code in _LOSSES else Level.WARNING
        hint = row_hint(code, limits)
        examples = tuple(
            Finding(_KIND, level, code, row.place, row_message(code, row, limits), hint)
            for row in tally.first
        )
        yield Group(_KIND, level, code, tally.count, examples)
    if tallies.estimated:
        yield _one(
            Level.NOTE,
            "estimated",
            Place(tallies.rows.file),
            f"tokens are estimated: {tallies.basis}",
            rules.tokens.tokenizer_missing
            or f"The tokenizer of {rules.tokens.model} is not on this machine; `tokenizer:` in the "
            "spec names a folder that has it.",
        )
    yield from _about_limit(tallies, rules)
    yield from _about_cache(tallies, rules)
    yield from _about_prefill(tallies, rules)


def _about_limit(tallies: LengthTallies, rules: Rules) -> Iterable[Group]:
    """The smallest limit, and whether any row is left under the one there is."""
    trained, limit = tallies.trained, rules.max_length
    if limit is None or trained.most <= limit:
        return
    smallest = tallies.smallest_limit
    by_estimate = f" ({trained.most:,} by the estimate alone)" if tallies.estimated else ""
    yield _one(
        Level.NOTE,
        "smallest-limit",
        trained.longest,
        f"the smallest max_length that loses no answer is {smallest:,}{by_estimate}; now it is "
        f"{limit:,} ({rules.max_length_source})",
    )
    lost = tallies.count_of("answer-lost")
    if rules.too_long == "drop":
        lost = trained.rows_over(limit)
    if lost == trained.rows:
        yield _one(
            Level.ERROR,
            "no-rows-left",
            trained.longest,
            f"nothing is left to train on: at max_length {limit:,}, all {lost:,} rows lose their "
            "answer",
            f"Every row needs at least {min(trained.rows_of):,} tokens; all need {smallest:,}.",
        )


def _about_cache(tallies: LengthTallies, rules: Rules) -> Iterable[Group]:
    """Whether the exported model can hold the longest row."""
    kept, cache = tallies.kept, rules.export.kv_cache if rules.export is not None else None
    needed = math.ceil(kept.most * (1 + tallies.more))
    if cache is None or needed <= cache:
        return
    certain = kept.most * (1 - tallies.fewer) > cache
    holds = f"the exported model holds {cache:,} (export.kv_cache)"
    taken = f"prompt and answer take {kept.most:,} tokens in the longest row, and {holds}"
    if not certain:
        taken = (
            f"prompt and answer are estimated at {kept.most:,} tokens in the longest row; with the "
            f"estimate's error that is up to {needed:,}, and {holds}"
        )
    yield _one(
        Level.ERROR if certain else Level.WARNING,
        "kv-cache-too-small" if certain else "kv-cache-perhaps-too-small",
        kept.longest,
        taken,
        f"The smallest cache that holds all rows is {needed:,}.",
        max(1, kept.rows_over(cache)),
    )


def _about_prefill(tallies: LengthTallies, rules: Rules) -> Iterable[Group]:
    """Whether the exported model reads every prompt in one step."""
    prompts, step = tallies.prompts, rules.export.prefill if rules.export is not None else None
    if step is None or prompts.most <= step:
        return
    yield _one(
        Level.NOTE,
        "prefill-in-steps",
        prompts.longest,
        f"the prompt takes {prompts.most:,} tokens, which are read in "
        f"{math.ceil(prompts.most / step)} steps of {step:,} (export.prefill)",
        "Longer steps answer sooner and take more memory.",
        prompts.rows_over(step),
    )


def length_figures(tallies: LengthTallies, rules: Rules) -> Iterable[Figure]:
    """Histograms with a mark at every limit, and tables of percentiles and limits."""
    rows, export = tallies.rows, rules.export
    if not rows.rows:
        return
    limits = [("max_length", rules.max_length)]
    if export is not None:
        limits.append(("kv_cache", export.kv_cache))
    marks = tuple((name, value) for name, value in limits if value is not None)
    prefill = export.prefill if export is not None else None
    steps = (("prefill", prefill),) if prefill is not None else ()
    said = " (estimated)" if tallies.estimated else ""
    yield tallies.prompts.histogram(f"prompt{said}", steps)
    yield tallies.answers.histogram(f"answer{said}")
    yield rows.histogram(f"prompt and answer{said}", marks)
    yield Table(
        f"length{said}",
        ("tokens of", "rows", "all", "least", "median", "p90", "p95", "p99", "most", "longest at"),
        tuple(
            (
                name,
                part.rows,
                part.tokens,
                min(part.rows_of),
                *(part.percentile(percent) for percent in _PERCENTS),
                part.most,
                str(part.longest),
            )
            for name, part in (
                ("prompt", tallies.prompts),
                ("answer", tallies.answers),
                ("prompt and answer", rows),
            )
        ),
    )
    yield Table(
        "limits of length",
        ("limit", "tokens", "rows over"),
        (
            ("smallest that loses no answer", tallies.smallest_limit, 0),
            *((name, value, rows.rows_over(value)) for name, value in marks),
            *((name, value, tallies.prompts.rows_over(value)) for name, value in steps),
        ),
    )


def _one(
    level: Level, code: str, place: Place, message: str, hint: str = "", count: int = 1
) -> Group:
    return Group.of(Finding(_KIND, level, code, place, message, hint), count)
