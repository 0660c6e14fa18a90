"""How likely a model finds the expected answers: one pass over prompt and answer.

The text is the one that a training learns from (`sft_rows.tokens_of`): the same template, and only
the tokens of the answer count, its end among them. A row is not cut, though: where a training cut
it to `--max-length`, the two see different texts.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.sft_rows import Row, tokens_of
else:
    from sft_rows import tokens_of

#: Numbers of a pass's head that are held at once: 1 GiB in 32 bits. One row may take more.
MOST_LOGITS = 2**28
#: Padding is never looked at, so any token will do.
_PADDING = 0


@dataclass(frozen=True)
class Target:
    """Prompt and expected answer as tokens; the answer's begin at `start`, which is 1 or more."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Likelihood:
    """What a model makes of the `tokens` of an expected answer.

    `loss` is the sum of their negative log likelihoods in nats, None where that is no finite
    number; `right` how many were the likeliest after all that stands before them.
    """

    tokens: int
    loss: float | None
    right: int


def target_of(row: Row, tokenizer: Any, context: int | None) -> Target | None:
    """A row as a training sees it; None without an answer, or beyond what the model can hold."""
    ids, start = tokens_of(row, tokenizer)
    start = max(1, start)  # nothing stands before a first token that could foretell it
    if start >= len(ids) or (context is not None and len(ids) > context):
        return None
    return Target(tuple(ids), start)


class LikelihoodMeter:
    """Measures expected answers in batches."""

    def __init__(self, model: Any, most_logits: int = MOST_LOGITS) -> None:
        self._model = model
        self._most_logits = most_logits
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._can_choose = "logits_to_keep" in inspect.signature(inner.forward).parameters
        self._vocabulary = int(model.config.get_text_config().vocab_size)

    def measure(self, targets: Sequence[Target | None]) -> list[Likelihood | None]:
        """One for each target of a batch, in order; None where there is none."""
        found: list[Likelihood | None] = [None] * len(targets)
        numbered = [(number, one) for number, one in enumerate(targets) if one is not None]
        # Answers that begin near each other leave the head less to compute beside them.
        for group in self._groups(sorted(numbered, key=lambda pair: pair[1].start)):
            measured = self._pass([one for _, one in group])
            for (number, _), one in zip(group, measured, strict=True):
                found[number] = one
        return found

    def _groups(self, ordered: Sequence[tuple[int, Target]]) -> Iterator[list[tuple[int, Target]]]:
        """Targets by rising start, as many at once as the head has room for."""
        group: list[tuple[int, Target]] = []
        for pair in ordered:
            first = group[0][1].start if group else pair[1].start
            longest = max(len(one.ids) for _, one in [*group, pair])
            if group and (len(group) + 1) * (longest - first) * self._vocabulary > (
                self._most_logits
            ):
                yield group
                group = []
            group.append(pair)
        if group:
            yield group

    def _pass(self, targets: Sequence[Target]) -> list[Likelihood]:
        """One pass; padding stands behind each text, where nothing before it sees it."""
        import torch

        width = max(len(one.ids) for one in targets)
        pads = [width - len(one.ids) for one in targets]
        lines = [[*one.ids, *[_PADDING] * pad] for one, pad in zip(targets, pads, strict=True)]
        masks = [[1] * (width - pad) + [0] * pad for pad in pads]
        device = self._model.device
        # What stands at a place says what is likely at the next one.
        first = min(one.start for one in targets) - 1
        places = torch.arange(first, width - 1, device=device)
        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.tensor(lines, device=device),
                attention_mask=torch.tensor(masks, device=device),
                use_cache=False,
                **({"logits_to_keep": places} if self._can_choose else {}),
            ).logits
            if not self._can_choose:
                logits = logits[:, first : width - 1]
            return [
                _likelihood(row[one.start - 1 - first : len(one.ids) - 1 - first], one)
                for row, one in zip(logits, targets, strict=True)
            ]


def _likelihood(logits: Any, target: Target) -> Likelihood:
    """What the head says of the tokens of one answer, in 32 bits whatever it was computed in."""
    import torch

    expected = torch.tensor(target.ids[target.start :], device=logits.device)
    losses = torch.nn.functional.cross_entropy(logits.float(), expected, reduction="none")
    # Among numbers that are none, the first token would count as the likeliest.
    right = (logits.argmax(dim=-1) == expected) & losses.isfinite()
    total = float(losses.double().sum())
    return Likelihood(
        len(expected), total if math.isfinite(total) else None, int(right.sum().item())
    )
