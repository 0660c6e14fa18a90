"""The card of a published dataset, from what its preparation recorded: no text of any row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.dataset.preparing.prepared import KeptTogether, LeftOut, PreparedSplit, Summary
from orchestrator.dataset.rules import SplitName
from orchestrator.spec import JobSpec
from orchestrator.spec_data import SplitBlock

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_LARGER_SIZES = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))
_LARGEST = "1B<n<10B"
_SERVICES = {"vertex": "Vertex AI tuning", "hf-jobs": "TRL"}


@dataclass(frozen=True)
class DataCard:
    """What a card tells. `splits` are those that are published, `paths` where each lies."""

    spec: JobSpec
    summary: Summary
    splits: tuple[SplitName, ...]
    paths: dict[SplitName, str]
    repo: str
    licence: str | None

    @property
    def published(self) -> tuple[PreparedSplit, ...]:
        """The splits that are published, as they were prepared."""
        return tuple(self.summary.split(name) for name in self.splits)


def data_card(card: DataCard, tag: str) -> str:
    """README.md of the dataset's repo; the same facts give the same bytes."""
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_metadata(card), sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# Rows of {card.spec.name}",
            "",
            (
                "Rows that a language model is fine-tuned with, converted and split by "
                f"`orchestrator prepare` into lines that {_SERVICES[card.spec.service.name]} takes."
            ),
            "",
            *_splits(card),
            *_making(card),
            *_privacy(card.summary),
            *_loading(card, tag),
        ]
    )


def _metadata(card: DataCard) -> dict[str, Any]:
    rows = sum(split.rows for split in card.published)
    files = [{"split": name, "path": card.paths[name]} for name in card.splits]
    publish = card.spec.publish
    return {
        **({"license": card.licence} if card.licence else {}),
        "pretty_name": f"Rows of {card.spec.name}",
        "task_categories": ["text-generation"],
        "size_categories": [size_category(rows)],
        "tags": ["fine-tuning", *(publish.tags if publish else ())],
        "configs": [{"config_name": "default", "data_files": files}],
    }


def size_category(rows: int) -> str:
    """The Hub's name for so many rows."""
    return next((name for most, name in (*_SIZES, *_LARGER_SIZES) if rows < most), _LARGEST)


def _splits(card: DataCard) -> list[str]:
    rows = [
        (split.name, f"{split.rows}", f"{split.size_bytes}", f"`{split.sha256}`")
        for split in card.published
    ]
    lines = ["## Splits", "", *_table(("split", "rows", "bytes", "sha256"), rows), ""]
    kept_back = [one for one in card.summary.splits if one.rows and one.name not in card.splits]
    if kept_back:
        told = ", ".join(f"{one.name} ({one.rows} rows)" for one in kept_back)
        lines += [f"Kept back, and not in this repo: {told}.", ""]
    return lines


def _making(card: DataCard) -> list[str]:
    summary, data = card.summary, card.spec.data
    inputs = ", ".join(f"`{one.sha256}`" for one in summary.inputs)
    rows = [
        ("spec", f"`{card.spec.name}`, {_format(data.format)}"),
        ("read", f"{summary.rows} rows, of content with sha256 {inputs}"),
        ("split", f"{_shares(data.split)}, seed {summary.seed}"),
        ("left out", _left_out(summary.left_out) or "nothing"),
        ("duplicates", _duplicates(summary.kept_together)),
    ]
    if data.subset is not None:
        by = "drawn by the seed" if data.subset.by == "reservoir" else "the first"
        rows.insert(2, ("subset", f"{data.subset.rows} rows, {by}"))
    if summary.limit is not None:
        rows.insert(2, ("limit", f"the first {summary.limit} of the seeded shuffle"))
    if summary.tools_sha256 is not None:
        rows.append(("tools", f"sha256 `{summary.tools_sha256}`"))
    versions = ", ".join(f"{_code(one.name)} {_code(one.version)}" for one in summary.versions)
    rows += [("made with", versions), ("digest of all of this", f"`{summary.digest}`")]
    return ["## How they were made", "", *_table(("what", "how"), rows), ""]


def _format(name: str) -> str:
    """The format, unless it is a file of the user's: where that lies is nobody's business."""
    own = not name.replace("-", "").isalnum()
    return "a format of its own" if own else f"format `{name}`"


def _shares(split: SplitBlock) -> str:
    if split.files is not None:
        return "a file for each split"
    parts = (("train", split.train), ("validation", split.validation), ("test", split.test))
    told = ", ".join(f"{name} {value:g}" for name, value in parts)
    spread = f", spread evenly by `{_code(split.stratify_by)}`" if split.stratify_by else ""
    return f"{'numbers of rows' if split.counts else 'shares'}: {told}{spread}"


def _duplicates(kept: KeptTogether) -> str:
    if not kept.groups:
        return "none"
    where = (
        f"{kept.straddling} of them in more than one split" if kept.straddling else "each in one"
    )
    groups = f"{kept.groups} group{'' if kept.groups == 1 else 's'}"
    return f"{kept.rows} rows in {groups} of equal or nearly equal questions, {where}"


def _left_out(left: LeftOut) -> str:
    reasons = (
        (left.too_long, "too long"),
        (left.subset, "outside the subset"),
        (left.limit, "beyond the limit"),
        (left.numbers_wanted, "more than the numbers wanted"),
    )
    return ", ".join(f"{rows} {why}" for rows, why in reasons if rows)


def _privacy(summary: Summary) -> list[str]:
    masked = ""
    if summary.redacted_rows:
        were = "row was" if summary.redacted_rows == 1 else "rows were"
        masked = f" {summary.redacted_rows} {were} masked (`[EMAIL]`, `[PHONE]`, `[SECRET]`)."
    return [
        "## Private things",
        "",
        (
            "Every text was searched for e-mail addresses, phone numbers, keys and tokens before "
            f"it was uploaded: none was found.{masked} Such a search finds what is written in a "
            "known form; names and postal addresses are not among it."
        ),
        "",
    ]


def _loading(card: DataCard, tag: str) -> list[str]:
    return [
        "## Loading",
        "",
        "A private repo needs a token (`hf auth login`).",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'rows = load_dataset("{card.repo}", revision="{tag}")',
        "```",
        "",
    ]


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _code(value: str) -> str:
    """Text of a spec, without what Markdown or HTML would act on."""
    return "".join(char for char in value if char.isalnum() or char in " .,:;/@-_()+%")
