"""Answers from vLLM, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
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


def is_installed() -> bool:
    """Whether vLLM can be imported."""
    return importlib.util.find_spec("vllm") is not None


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
        rank: int,
        dtype: str,
        seed: int,
    ) -> None:
        vllm = importlib.import_module("vllm")
        lora = importlib.import_module("vllm.lora.request")
        self._tokenizer = tokenizer
        self._stops = stops
        options = {"enable_lora": True, "max_lora_rank": rank} if adapter else {}
        self._llm = vllm.LLM(model=name, revision=revision, dtype=dtype, seed=seed, **options)
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
