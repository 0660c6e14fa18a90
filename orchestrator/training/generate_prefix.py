"""What all prompts of a batch begin with, computed once: instructions, tools, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: A shorter beginning is not worth a pass of its own.
_LEAST_TOKENS = 8


@dataclass(frozen=True)
class Layout:
    """A batch as the model takes it: `rows` prompts, the first `shared` tokens alike in all.

    `ids` and `masks` have a list a row, all as long: what is shared, padding, the rest. Positions
    count the tokens that the mask shows, so that padding in the middle moves nothing.
    """

    shared: int
    ids: list[list[int]]
    masks: list[list[int]]

    @property
    def width(self) -> int:
        """Tokens of each row, padding among them."""
        return len(self.ids[0])


def lay_out(prompts: Sequence[Sequence[int]], padding: int, *, share: bool) -> Layout:
    """Pad prompts of a batch to one length, behind what they share if `share` is true."""
    shared = shared_tokens(prompts) if share else 0
    rests = [list(ids[shared:]) for ids in prompts]
    width = max(map(len, rests))
    pads = [width - len(rest) for rest in rests]
    return Layout(
        shared,
        [
            [*ids[:shared], *([padding] * pad), *rest]
            for ids, pad, rest in zip(prompts, pads, rests, strict=True)
        ],
        [[1] * shared + [0] * pad + [1] * len(rest) for pad, rest in zip(pads, rests, strict=True)],
    )


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; none if there is one prompt, or it is not worth it.

    At least one token of each prompt is left: what follows it is what the model is asked for.
    """
    if len(prompts) < 2:
        return 0
    # Of all prompts in order, the first and the last differ soonest.
    ordered = sorted(tuple(ids) for ids in prompts)
    first, last = ordered[0], ordered[-1]
    most = min(map(len, prompts)) - 1
    count = next((n for n in range(most) if first[n] != last[n]), most)
    return count if count >= _LEAST_TOKENS else 0


def can_share(model: Any, tokens: int) -> bool:
    """Whether a cache of the beginning, repeated for each row, changes nothing in the answers.

    `tokens` is the longest row with its answer. Windows of attention count places, padding among
    them, so that a text longer than a window would see less of itself; recurrent layers keep no
    places at all.
    """
    config = model.config.get_text_config()
    if getattr(model, "_is_stateful", False) or getattr(model.config, "is_encoder_decoder", False):
        return False
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    if not kinds <= {"full_attention", "sliding_attention"}:
        return False
    window = getattr(config, "sliding_window", None)
    return window is None or tokens <= window


def cache_of(model: Any, ids: Sequence[int], rows: int) -> Any:
    """The model's cache of a beginning, repeated for each row."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    model(
        input_ids=torch.tensor([list(ids)], device=model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(rows)
    return cache
