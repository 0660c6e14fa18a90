"""Answers of a model under training to a fixed set of rows: do they parse, are they right?"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_rows import Row, tokens_of
else:
    from sft_rows import tokens_of

#: An answer may be half as long again as the longest that is expected, and a little more.
LENGTH_ROOM, SPARE_TOKENS = 1.5, 16
#: Tokens that any machine can answer at once: without gradients, they take little memory.
BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Judged:
    """How a set of answers fared; `unparsed` and `exact` are counts."""

    rows: int
    unparsed: int
    exact: int

    @property
    def unparsed_share(self) -> float:
        """Unparsed answers over all."""
        return self.unparsed / self.rows


def has_drifted(
    earlier: Sequence[Judged], now: Judged, max_unparsed: float | None, done: float
) -> bool:
    """Whether too few answers parse, where enough did once, or where half the steps taught none.

    `done` is the share of all steps. A model that has never had the format is given that long to
    learn it, and longer as long as more answers parse than at the evaluation before.
    """
    if max_unparsed is None or not earlier or now.unparsed_share <= max_unparsed:
        return False
    if any(one.unparsed_share <= max_unparsed for one in earlier):
        return True
    return done >= 0.5 and now.unparsed >= earlier[-1].unparsed


def calls_module() -> ModuleType:
    """`calls.py`, which lies beside this file in a job and one folder up in the checkout.

    Found by its path: the folder above holds names that other libraries use too.
    """
    if "calls" in sys.modules:
        return sys.modules["calls"]
    here = Path(__file__).resolve().parent
    file = next(one for one in (here / "calls.py", here.parent / "calls.py") if one.is_file())
    spec = importlib.util.spec_from_file_location("calls", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules["calls"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class _Answer:
    parsed: bool
    value: Any


def judge(answers: Sequence[str], expected: Sequence[str], syntax: str) -> Judged:
    """Hold answers against the expected ones, as texts without the marks that end a turn.

    An answer parses if nothing in it is wrong, and if it has calls where the expected one has.
    """
    unparsed = exact = 0
    for given, wanted in zip(answers, expected, strict=True):
        one, other = _read(given, syntax), _read(wanted, syntax)
        parsed = one.parsed and (not _is_calls(other) or _is_calls(one))
        unparsed += not parsed
        exact += parsed and one == other
    return Judged(len(expected), unparsed, exact)


def _is_calls(answer: _Answer) -> bool:
    return isinstance(answer.value, tuple)


def _read(text: str, syntax: str) -> _Answer:
    """What an answer says; a tuple of pairs where it calls tools."""
    text = text.strip()
    if syntax == "none":
        return _Answer(True, text)
    if syntax == "json":
        try:
            return _Answer(True, [json.loads(text)])
        except (ValueError, RecursionError):
            return _Answer(False, text)
    calls = calls_module()
    parsed = calls.parse(text, calls.Syntax(syntax))
    if parsed.problems:
        return _Answer(False, text)
    if parsed.calls:
        return _Answer(True, tuple((call.name, call.arguments) for call in parsed.calls))
    return _Answer(True, parsed.text)


class Probe:
    """Rows whose answers are generated greedily, as often as asked."""

    def __init__(self, rows: Sequence[Row], tokenizer: Any, syntax: str, batch_size: int) -> None:
        self._tokenizer = tokenizer
        self._syntax = syntax
        self._prompts, self._expected = [], []
        longest = 0
        for row in rows:
            ids, start = tokens_of(row, tokenizer)
            self._prompts.append(ids[:start])
            self._expected.append(self._text(ids[start:]))
            longest = max(longest, len(ids) - start)
        self._most_tokens = math.ceil(LENGTH_ROOM * longest) + SPARE_TOKENS
        # A token takes about as long for many rows as for one.
        widest = max(map(len, self._prompts)) + self._most_tokens
        self._batch_size = max(batch_size, BATCH_TOKENS // widest)

    def run(self, model: Any) -> Judged:
        """Answer all rows with the model as it is; its mode is what it was afterwards."""
        import torch

        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                answers = [
                    self._text(ids) for batch in self._batches() for ids in self._ids(model, batch)
                ]
        finally:
            model.train(training)
        return judge(answers, self._expected, self._syntax)

    def _batches(self) -> Iterator[list[list[int]]]:
        for start in range(0, len(self._prompts), self._batch_size):
            yield self._prompts[start : start + self._batch_size]

    def _ids(self, model: Any, prompts: list[list[int]]) -> Iterator[list[int]]:
        """New tokens behind each prompt. Padding stands left, so that all answers start alike."""
        import torch

        width = max(map(len, prompts))
        padding = self._tokenizer.pad_token_id
        if padding is None:
            padding = self._tokenizer.eos_token_id
        filled = [[padding] * (width - len(ids)) + ids for ids in prompts]
        masks = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        out = model.generate(
            input_ids=torch.tensor(filled, device=model.device),
            attention_mask=torch.tensor(masks, device=model.device),
            generation_config=self._generation(model, padding),
        )
        yield from out[:, width:].tolist()

    def _generation(self, model: Any, padding: int) -> Any:
        """Greedy, whatever the model's own settings for sampling are."""
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=self._most_tokens,
            do_sample=False,
            pad_token_id=padding,
            eos_token_id=self._stops(model),
        )

    def _stops(self, model: Any) -> list[int]:
        """Tokens that end an answer: the tokenizer's, the model's, and well-known marks."""
        own = getattr(model.generation_config, "eos_token_id", None)
        found = {self._tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
        known = self._tokenizer.get_vocab()
        found |= {known[mark] for mark in calls_module().END_MARKS if mark in known}
        return sorted(found - {None})

    def _text(self, ids: list[int]) -> str:
        """The text of an answer, with its special tokens but for those that end the turn."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        marks = {*calls_module().END_MARKS, self._tokenizer.eos_token, self._tokenizer.pad_token}
        marks.discard(None)
        text = text.strip()
        while ended := next((mark for mark in marks if text.endswith(mark)), None):
            text = text.removesuffix(ended).rstrip()
        return text
