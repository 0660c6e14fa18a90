"""What the check of lengths says of a row: what is lost of it, and what the service makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dataset.checks.length_tallies import Code, Located
from orchestrator.dataset.rules import Rules

#: What becomes of a row that is too long, where it is trained as it is.
_FATE = {
    "hf-jobs": {
        "answer-lost": "the training leaves such a row out without a word",
        "answer-cut": "the training cuts the end off without a word, the end of turn with it",
        "end-of-turn-cut": "the model never learns from it where to stop",
    },
    "vertex": {
        "answer-lost": "Vertex says only after the job how many rows it cut or dropped",
        "answer-cut": "Vertex says only after the job how many rows it cut or dropped",
        "end-of-turn-cut": "Vertex says only after the job how many rows it cut or dropped",
    },
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What rows are held against, and whether their tokens are estimated."""

    rules: Rules
    smallest: int
    estimated: bool


def row_message(code: Code, row: Located, limits: Limits) -> str:
    """What is wrong with a row, in tokens."""
    if row.count is None:
        return f"the tokens of the row cannot be counted: {row.said}"
    model = limits.rules.tokens.model
    if code == "no-template":
        return f"{model} has no chat template here: the row is counted as plain lines"
    limit = limits.rules.max_length or 0
    count, over = row.count, row.count.total - limit
    about = "about " if limits.estimated else ""
    sizes = (
        f"prompt {about}{count.prompt:,} + answer {about}{count.answer:,} = {about}"
        f"{count.total:,} tokens, of {limit:,} ({limits.rules.max_length_source})"
    )
    if code == "perhaps-too-long":
        return f"{sizes}: perhaps too long, as far as an estimate can tell"
    if code == "answer-lost":
        cut = count.prompt - limit
        prompt = f", {cut:,} of its own are cut" if cut else ""
        lost = f"the prompt alone fills the limit{prompt}, nothing of the answer is left"
    elif code == "answer-cut":
        lost = f"the last {over:,} tokens of the answer are cut"
    else:
        lost = f"the end of turn is cut ({over:,} of its {count.end:,} tokens)"
    fate = {
        "drop": "the row is left out when the rows are prepared",
        "error": _FATE[limits.rules.service][code],
        "cut": _FATE[limits.rules.service][code],
    }[limits.rules.too_long]
    return f"{sizes}: {lost}; {fate}"


def row_hint(code: Code, limits: Limits) -> str:
    """What to do about a row."""
    if code == "not-counted":
        return "The kind template says what its chat template refuses."
    if code == "no-template":
        return "Name the model's template: `chat_template:` in the spec."
    if limits.rules.too_long == "drop":
        return f"To keep all rows: max_length {limits.smallest:,}."
    drop = "`too_long: drop` under `tuning:` leaves such rows out"
    if limits.rules.service == "vertex":
        return f"The limit is the service's: shorten the rows, or {drop}."
    shorten = "shorten the tools and the system prompt" if code == "answer-lost" else "shorten them"
    return (
        f"Set `max_length: {limits.smallest}` under `tuning:`, the smallest that loses no answer; "
        f"or {shorten}; {drop}."
    )
