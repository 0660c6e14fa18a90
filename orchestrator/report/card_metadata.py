"""The metadata of a model card: the YAML block that the Hub reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from orchestrator.hub_licences import HUB_LICENCES
from orchestrator.report.card_facts import CardFacts
from orchestrator.report.card_text import MASKS, Mask

_TASK = "text-generation"
_NOT_PLAIN = re.compile(r"[^\w .,+:/@()%-]")
_LONGEST_TAG = 80


def metadata_lines(card: CardFacts) -> list[str]:
    """The block with the lines that open and close it."""
    # Long texts stay on one line: a folded one might begin with what ends the block.
    text = yaml.safe_dump(_metadata(card), sort_keys=False, allow_unicode=True, width=100_000)
    return ["---", text.rstrip(), "---", ""]


def _metadata(card: CardFacts) -> dict[str, Any]:
    plan = card.view.facts.run.plan
    publish = plan.spec.publish
    tags = [
        *(["lora"] if card.is_adapter else []),
        *(["rehearsal"] if card.view.stand_in else []),
        *_tags(publish.tags if publish else (), card.mask),
    ]
    results = list(_metrics(card))
    return {
        "base_model": plan.model.hub_id,
        "base_model_relation": "adapter" if card.is_adapter else "finetune",
        "library_name": "peft" if card.is_adapter else "transformers",
        **_licence(plan.model.licence, plan.model.hub_id),
        "pipeline_tag": _TASK,
        "tags": list(dict.fromkeys(tags)),
        # Nobody tried it in the Hub's own widget.
        "inference": False,
        **({"model-index": _index(card, results)} if results else {}),
    }


def _licence(name: str, base_model: str) -> dict[str, str]:
    """The base model's licence; one that the Hub does not know is named and linked."""
    if name in HUB_LICENCES - {"other"}:
        return {"license": name}
    slug = re.sub("[^a-z0-9.-]+", "-", name.lower()).strip("-") or "of-the-base-model"
    link = f"https://huggingface.co/{base_model}"
    return {"license": "other", "license_name": slug, "license_link": link}


def _tags(given: Iterable[str], mask: Mask) -> Iterator[str]:
    """Tags as the Hub takes them; one with something private in it is left out."""
    for tag in given:
        masked = mask(tag)
        clean = _plain(masked)[:_LONGEST_TAG].strip()
        if clean and not any(mark in masked for mark in MASKS):
            yield clean


def _plain(text: str) -> str:
    """Masked text without what YAML, HTML or Markdown act upon: the Hub shows it in many places."""
    return " ".join(_NOT_PLAIN.sub(" ", text).split())


def _index(card: CardFacts, metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plan, evaluation = card.view.facts.run.plan, card.evaluation
    assert evaluation is not None  # noqa: S101 (there are metrics)
    rehearsal = " (rehearsal)" if card.view.stand_in else ""
    dataset = {
        "name": _plain(f"{plan.name}, {evaluation.split} rows"),
        "type": plan.name,
        "split": _plain(evaluation.split),
        "args": {"rows": evaluation.rows, "sha256": _plain(evaluation.rows_sha256)},
    }
    task = {"type": _TASK, "name": _plain(f"Scored as {evaluation.scorer}")}
    results = [{"task": task, "dataset": dataset, "metrics": metrics}]
    return [{"name": f"{plan.name}{rehearsal}", "results": results}]


def _metrics(card: CardFacts) -> Iterator[dict[str, Any]]:
    """What the published model reached, in figures that are finite; those by tool are left out."""
    for one in card.tuned.metrics if card.tuned else ():
        ends = (one.low, one.high)
        name = _plain(one.name)
        if not math.isfinite(one.value) or "[" in one.name or not name:
            continue
        known = all(map(math.isfinite, ends))
        yield {
            "type": name,
            "value": round(one.value, 6),
            "name": name,
            "args": {
                "rows": one.rows,
                **({"interval_95": [round(end, 6) for end in ends]} if known else {}),
            },
            "verified": False,
        }
