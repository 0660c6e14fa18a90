"""Answers from transformers: loading, greedy decoding in batches, and when each row ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orchestrator.training.adapter_on_base import attach, first_line
    from orchestrator.training.generate_prefix import cache_of, can_share, lay_out
    from orchestrator.training.sft_events import BadInput
    from orchestrator.training.sft_model import choose_precision, dtype, this_machine
    from orchestrator.training.sft_probe import calls_module
else:
    from adapter_on_base import attach, first_line
    from generate_prefix import cache_of, can_share, lay_out
    from sft_events import BadInput
    from sft_model import choose_precision, dtype, this_machine
    from sft_probe import calls_module

EOS, END_OF_TURN, STOP_TEXT, LENGTH = "eos", "end_of_turn", "stop_text", "max_new_tokens"
#: A character may take this many tokens of a byte-level vocabulary.
_TOKENS_A_CHARACTER = 4


@dataclass(frozen=True)
class Answer:
    """What the model said to one prompt, in the tokens `ids`.

    `raw` is all of it with its special tokens; `predicted` is `raw` up to what stopped it, its
    other special tokens kept: calls of tools may be made of them. `stopped_by` is `eos`,
    `end_of_turn`, `stop_text` or `max_new_tokens`. `latency_s` is the time from the start of the
    row's batch until its own last token was there, which is what somebody who asked would have
    waited; it is no time per row of the machine, which is lower. None where it is not known.
    """

    raw: str
    predicted: str
    ids: tuple[int, ...]
    stopped_by: str
    latency_s: float | None


class Engine(Protocol):
    """Something that answers prompts given as tokens."""

    def answer(self, prompts: Sequence[Sequence[int]]) -> list[Answer]:
        """One answer for each, in order."""
        ...


@dataclass(frozen=True)
class Stops:
    """What ends an answer: tokens, and texts asked for."""

    eos: int | None
    others: frozenset[int]
    texts: tuple[str, ...]

    @property
    def ids(self) -> list[int]:
        """All tokens that end an answer."""
        return sorted(self.others | ({self.eos} if self.eos is not None else set()))

    def reason(self, token: int) -> str | None:
        """Why an answer ends with this token; None if it does not."""
        if token == self.eos:
            return EOS
        return END_OF_TURN if token in self.others else None


def stops_of(tokenizer: Any, generation: Any, texts: Sequence[str]) -> Stops:
    """The tokenizer's end of text, what the generation config names, and well-known marks."""
    own = getattr(generation, "eos_token_id", None)
    named = set(own if isinstance(own, list | tuple) else [own]) - {None}
    known = tokenizer.get_vocab()
    marks = {known[mark] for mark in calls_module().END_MARKS if mark in known}
    eos = tokenizer.eos_token_id
    return Stops(eos, frozenset((named | marks) - {eos}), tuple(texts))


@dataclass(frozen=True)
class Loaded:
    """A model that answers, and how it was loaded."""

    model: Any
    device: str
    precision: str
    precision_reason: str


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The base model's tokenizer; raises `BadInput`."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--base-model {name}: {first_line(error)}") from error


def load_configs(name: str, revision: str | None) -> tuple[Any, Any]:
    """The base model's config and generation config (None if it has none); raises `BadInput`."""
    from transformers import AutoConfig, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--base-model {name}: cannot be loaded: {first_line(error)}") from error
    try:
        return config, GenerationConfig.from_pretrained(name, revision=revision)
    except OSError:
        return config, None


def load(
    name: str, revision: str | None, adapter: Path | None, wanted: str, model_type: str
) -> Loaded:
    """The model in evaluation mode, with its adapter; raises `BadInput`."""
    from transformers import AutoModelForCausalLM

    machine = this_machine()
    precision = choose_precision(wanted, "lora", model_type, machine)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, dtype=dtype(precision.compute)
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--base-model {name}: cannot be loaded: {first_line(error)}") from error
    if adapter is not None:
        model = attach(model, adapter)
    device = "cuda" if machine.cuda else "cpu"
    return Loaded(model.to(device).eval(), device, precision.compute, precision.reason)


class TransformersEngine:
    """Greedy answers in batches; what all prompts of a batch begin with is computed once."""

    def __init__(self, model: Any, tokenizer: Any, stops: Stops, new_tokens: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._stops = stops
        self._new_tokens = new_tokens
        padding = tokenizer.pad_token_id
        self._padding = tokenizer.eos_token_id if padding is None else padding

    def answer(self, prompts: Sequence[Sequence[int]]) -> list[Answer]:
        """One answer for each prompt of a batch, in order."""
        import torch

        longest = max(map(len, prompts)) + self._new_tokens
        batch = lay_out(prompts, self._padding, share=can_share(self._model, longest))
        device, width = self._model.device, batch.width
        watch = _Watch(self._stops, self._tokenizer, width, len(prompts))
        with torch.inference_mode():
            beginning = {}
            if batch.shared:
                shared = batch.ids[0][: batch.shared]
                beginning = {"past_key_values": cache_of(self._model, shared, len(prompts))}
            out = self._model.generate(
                input_ids=torch.tensor(batch.ids, device=device),
                attention_mask=torch.tensor(batch.masks, device=device),
                generation_config=self._greedy(),
                stopping_criteria=_criteria(watch),
                **beginning,
            )
        lines = out[:, width:].tolist()
        return [self._read(ids, watch, number) for number, ids in enumerate(lines)]

    def _greedy(self) -> Any:
        """Settings that leave nothing to chance, whatever the model's own are."""
        from transformers import GenerationConfig

        config = GenerationConfig(
            max_new_tokens=self._new_tokens,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            pad_token_id=self._padding,
            eos_token_id=self._stops.ids or None,
        )
        self._model.generation_config = config  # what is not set above would come from there
        return config

    def _read(self, ids: list[int], watch: _Watch, number: int) -> Answer:
        count = watch.counts[number] or len(ids)
        reason = watch.reasons[number] or LENGTH
        raw = decode(self._tokenizer, ids[:count])
        if reason in (EOS, END_OF_TURN):
            predicted = decode(self._tokenizer, ids[: count - 1])
        else:
            predicted = before_stop(raw, self._stops.texts)
        return Answer(raw, predicted, tuple(ids[:count]), reason, watch.ended_s(number))


def decode(tokenizer: Any, ids: Sequence[int], *, special: bool = True) -> str:
    """Tokens as text, with or without the special ones; spaces as they are."""
    return str(
        tokenizer.decode(
            list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
        )
    )


def before_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to the first of the stop texts in it."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


class _Watch:
    """Sees each row end: by which token or text, after how many tokens, and when."""

    def __init__(self, stops: Stops, tokenizer: Any, width: int, rows: int) -> None:
        self._stops = stops
        self._tokenizer = tokenizer
        self._width = width
        self._tail = _TOKENS_A_CHARACTER * max(map(len, stops.texts), default=0)
        self._began_s = time.perf_counter()
        self._ends_s: list[float | None] = [None] * rows
        self.reasons: list[str | None] = [None] * rows
        self.counts = [0] * rows

    def step(self, input_ids: Any) -> list[bool]:
        """Look at the newest token of each row; which rows have ended."""
        new = input_ids[:, self._width :]
        last = new[:, -1].tolist()  # also waits until the device has really computed them
        now = time.perf_counter()
        for number, token in enumerate(last):
            if self.reasons[number] is not None:
                continue
            reason = self._stops.reason(token)
            if reason is None and self._stops.texts:
                tail = decode(self._tokenizer, new[number, -self._tail :].tolist())
                if any(stop in tail for stop in self._stops.texts):
                    reason = STOP_TEXT
            self._ends_s[number] = now
            self.counts[number] = new.shape[1]
            self.reasons[number] = reason
        return [reason is not None for reason in self.reasons]

    def ended_s(self, number: int) -> float | None:
        """Seconds from the start of the batch to the row's last token."""
        end = self._ends_s[number]
        return None if end is None else end - self._began_s


def _criteria(watch: _Watch) -> Any:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Ended(StoppingCriteria):  # type: ignore[misc]  # transformers is not type-checked
        """Tells the loop which rows are done."""

        def __call__(self, input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
            return torch.tensor(watch.step(input_ids), device=input_ids.device)

    return StoppingCriteriaList([Ended()])
