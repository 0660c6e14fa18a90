"""Prompts of a prediction: read from rows, with examples before them, rendered and tokenized."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_events import BadInput
    from orchestrator.training.sft_rows import Row
else:
    from sft_events import BadInput
    from sft_rows import Row

#: Roles whose turns say what holds for the whole talk: they stay in front of examples.
_LEADING = ("system", "developer")
BETWEEN_TEXTS = "\n\n"


@dataclass(frozen=True)
class Prompt:
    """What the model is asked. `text` is as the template renders it, `ids` its tokens."""

    row: int
    place: str
    sha256: str
    text: str
    ids: tuple[int, ...]
    expected: str


def prompt_sha256(row: Row) -> str:
    """SHA-256 of the row's own prompt and tools as JSON: sorted keys, no spaces, UTF-8 as it is."""
    value = {"prompt": row.prompt, "tools": row.tools}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Shots:
    """Examples to put before prompts: the first `count` of a shuffled file that are not the row."""

    def __init__(self, rows: Sequence[Row], count: int, seed: int) -> None:
        order = list(rows)
        random.Random(seed).shuffle(order)  # noqa: S311 (not a secret)
        self._order = [(prompt_sha256(one), one) for one in order]
        self._count = count

    def before(self, row: Row) -> Row:
        """The row with examples in front of its prompt; raises `BadInput` where none fit."""
        if self._count == 0:
            return row
        own = prompt_sha256(row)
        chosen = [one for digest, one in self._order if digest != own][: self._count]
        if len(chosen) < self._count:
            raise BadInput(f"--shots {self._count}: --few-shot has only {len(chosen)} other rows")
        texts = isinstance(row.prompt, str)
        if any(isinstance(one.prompt, str) != texts for one in chosen):
            raise BadInput(f"{row.place}: prompts and examples must both be texts, or messages")
        if texts:
            shown = [f"{one.prompt}{one.completion}{BETWEEN_TEXTS}" for one in chosen]
            return Row(row.place, "".join(shown) + row.prompt, row.completion, row.tools)
        place = next(
            (n for n, turn in enumerate(row.prompt) if turn["role"] not in _LEADING),
            len(row.prompt),
        )
        turns = [
            turn
            for one in chosen
            for turn in [*one.prompt, *one.completion]
            if turn["role"] not in _LEADING
        ]
        prompt = [*row.prompt[:place], *turns, *row.prompt[place:]]
        return Row(row.place, prompt, row.completion, row.tools)


def prepare(number: int, row: Row, shown: Row, tokenizer: Any, stops: Sequence[str]) -> Prompt:
    """Render and tokenize as a training does; `shown` is the row with its examples.

    Texts go raw, messages through the chat template with the row's tools. What is expected is
    rendered too, so that it can be compared with what a model says, text with text.
    """
    if isinstance(shown.prompt, str):
        text, expected = shown.prompt, row.completion
        ids = tokenizer(text)["input_ids"]
    else:
        text = render(shown, shown.prompt, tokenizer, add_generation_prompt=True)
        whole = render(shown, [*shown.prompt, *shown.completion], tokenizer)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected = _without_end(_behind(text, ids, whole, tokenizer), stops)
    return Prompt(number, row.place, prompt_sha256(row), text, tuple(ids), expected)


def render(row: Row, messages: Any, tokenizer: Any, **options: bool) -> str:
    """Messages as the chat template writes them; raises `BadInput` if it cannot."""
    if not tokenizer.chat_template:
        raise BadInput(f"{row.place}: holds messages, but the base model has no chat template")
    try:
        text = tokenizer.apply_chat_template(messages, tools=row.tools, tokenize=False, **options)
    except Exception as error:  # templates raise whatever they like
        raise BadInput(f"{row.place}: the chat template refuses the messages: {error}") from error
    return str(text)


def _behind(text: str, ids: Sequence[int], whole: str, tokenizer: Any) -> str:
    """What stands in a whole talk behind its prompt.

    Templates may write more before an answer that is to come than before one that is there; the
    answer then begins at the first token that differs, not amid one that only begins alike.
    """
    if whole.startswith(text):
        return whole[len(text) :]
    all_ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    pairs = enumerate(zip(ids, all_ids, strict=False))
    start = next((n for n, (one, other) in pairs if one != other), len(ids))
    return str(tokenizer.decode(all_ids[start:], skip_special_tokens=False))


def _without_end(text: str, stops: Sequence[str]) -> str:
    text = text.rstrip()
    while end := next((stop for stop in stops if stop and text.endswith(stop)), None):
        text = text.removesuffix(end).rstrip()
    return text


def check_lengths(prompts: Sequence[Prompt], new_tokens: int, context: int | None) -> None:
    """Raise `BadInput` for a prompt that leaves no room for its answer."""
    for one in prompts:
        if not one.ids:
            raise BadInput(f"{one.place}: the prompt has no tokens")
        if context is not None and len(one.ids) + new_tokens > context:
            raise BadInput(
                f"{one.place}: {len(one.ids)} tokens and --max-new-tokens {new_tokens} are more"
                f" than the {context} that the model can hold"
            )


def sha256_of(file: Path) -> str:
    """The digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
