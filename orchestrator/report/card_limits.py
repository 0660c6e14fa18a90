"""The part of a model card that says what is not known of the model, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.report.card_facts import CardFacts, base_commit
from orchestrator.report.card_text import Markdown, code, count, own, table
from orchestrator.report.evaluated import ORDER, TUNED


def limit_lines(card: CardFacts) -> list[str]:
    """The section on limits, by what was and was not done."""
    return ["## Limits", "", *(f"- {words}" for words in _limits(card)), ""]


def _limits(card: CardFacts) -> Iterator[str]:
    evaluation = card.evaluation
    if card.view.facts.is_adopted:
        yield "How it was trained, and on which rows, is not known to the program that wrote this."
    else:
        yield "One training with one seed: another one gives other figures."
    if evaluation is None:
        yield "How good its answers are was not measured."
    else:
        source = "They come from the same source as the training rows"
        if card.view.facts.is_adopted:
            source = "They are the rows that the spec names"
        yield (
            f"Measured on {evaluation.rows:,} rows of {code(evaluation.split)} alone "
            f"(sha256 {code(evaluation.rows_sha256)}; seed of the intervals {evaluation.seed}). "
            f"{source}: on other questions it may do worse."
        )
        missing = [
            name
            for name in reversed(ORDER)
            if not evaluation.condition(name)
            and name != TUNED
            and not (name == "published" and card.nothing_published)
        ]
        if missing:
            yield f"Not measured beside it: {', '.join(missing)}."
        cut = card.tuned.answers.cut if card.tuned and card.tuned.answers else None
        if cut:
            yield (
                f"{cut:,} of its answers were cut off at the longest length that was allowed, "
                "and count as they stand."
            )
    yield "Safety, bias, languages and tasks beside the one it was tuned for were not measured."
    if not card.audits.every:
        yield "Nobody has looked at its answers one by one and scored them."


def provenance_lines(card: CardFacts) -> list[str]:
    """The section on where it comes from: run, plan, commits, and the weights with digests."""
    run = card.view.facts.run
    commit = base_commit(card.view)
    rows: list[tuple[Markdown, Markdown]] = [
        (own("run"), code(run.id)),
        (own("plan"), code(run.plan.digest)),
    ]
    if commit:
        rows.append((own("commit of the base model"), code(commit)))
    if card.candidate_revision:
        where = "commit of the private candidate that was evaluated"
        rows.append((own(where), code(card.candidate_revision)))
    machine = run.plan.machine
    if machine is not None:
        rows.append((own("container image"), code(card.mask(machine.image))))
    weights = [
        (code(item.name), count(item.size_bytes), code(item.sha256))
        for item in card.view.adapter_files.values()
        if item.name.endswith(".safetensors")
    ]
    return [
        "## Provenance",
        "",
        *table(("what", "which"), rows),
        *table(("weights", "bytes", "sha256"), weights),
    ]
