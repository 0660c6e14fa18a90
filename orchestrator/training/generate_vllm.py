"""Answers from vLLM, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.generate_model import (
        EOS,
        LENGTH,
        STOP_TEXT,
        Answer,
        Stops,
        decode,
    )
else:
    from generate_model import EOS, LENGTH, STOP_TEXT, Answer, Stops, decode


#: The ranks that `max_lora_rank` may be (vllm.config.lora).
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def is_installed() -> bool:
    """Whether vLLM can be imported."""
    return importlib.util.find_spec("vllm") is not None


@dataclass(frozen=True)
class Fit:
    """What vLLM needs to know of an adapter; `refused` says why it cannot apply it."""

    rank: int
    refused: str | None = None


def fit_of(adapter: Path) -> Fit:
    """Whether vLLM applies an adapter as PEFT does, and at which of its ranks."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    highest = max([config.get("r", 0), *(config.get("rank_pattern") or {}).values()])
    rank = next((one for one in RANKS if one >= highest), None)
    # As its PEFTHelper does; what it does not look at would be left out of the answers silently.
    found = {
        f"its peft_type {config.get('peft_type')}": config.get("peft_type") != "LORA",
        "DoRA": config.get("use_dora"),
        "modules_to_save": config.get("modules_to_save"),
        f"bias {config.get('bias')}": config.get("bias", "none") != "none",
        "alpha_pattern": config.get("alpha_pattern"),
        "rank_pattern": config.get("rank_pattern"),
        "trainable_token_indices": config.get("trainable_token_indices"),
        f"rank {highest}": rank is None,
    }
    refused = next((what for what, there in found.items() if there), None)
    return Fit(rank or 0, refused)


class VllmEngine:
    """Greedy answers by vLLM's own batching; an adapter is applied, not merged."""

    def __init__(
        self,
        name: str,
        revision: str | None,
        adapter: Path | None,
        tokenizer: Any,
        stops: Stops,
        *,
        new_tokens: int,
        context_tokens: int,
        dtype: str,
        seed: int,
    ) -> None:
        vllm = importlib.import_module("vllm")
        lora = importlib.import_module("vllm.lora.request")
        self._tokenizer = tokenizer
        self._stops = stops
        # Else it keeps room for the longest text the model knows, which many a card has not.
        options: dict[str, Any] = {"max_model_len": context_tokens}
        if adapter:
            options |= {"enable_lora": True, "max_lora_rank": fit_of(adapter).rank}
        try:
            self._llm = vllm.LLM(model=name, revision=revision, dtype=dtype, seed=seed, **options)
        except (ValueError, NotImplementedError) as error:  # what else it raises, the script tells
            raise RuntimeError(f"vLLM cannot load {name}: {error}") from error
        self._lora = lora.LoRARequest("adapter", 1, str(adapter)) if adapter else None
        self._greedy = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=new_tokens,
            stop=list(stops.texts) or None,
            stop_token_ids=stops.ids,
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
        )

    def answer(self, prompts: Sequence[Sequence[int]]) -> list[Answer]:
        """One answer for each prompt, in order."""
        results = self._llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            self._greedy,
            lora_request=self._lora,
            use_tqdm=False,
        )
        return [self._read(result) for result in results]

    def _read(self, result: Any) -> Answer:
        said = result.outputs[0]
        ids = list(said.token_ids)
        last = self._stops.reason(ids[-1]) if ids else None
        if said.finish_reason == "length":
            reason = LENGTH
        elif isinstance(said.stop_reason, str):
            reason = STOP_TEXT
        else:
            reason = last or EOS
        kept = ids[:-1] if last is not None else ids
        text = said.text if reason == STOP_TEXT else decode(self._tokenizer, kept)
        times: Any = getattr(result, "metrics", None)
        known = hasattr(times, "finished_time") and hasattr(times, "arrival_time")
        latency_s = times.finished_time - times.arrival_time if known else None
        return Answer(decode(self._tokenizer, ids), text, tuple(ids), reason, latency_s)
