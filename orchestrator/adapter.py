"""Checks what was collected and builds the folder that may be published. Nothing is loaded.

Only a known set of files goes on: no pickles (they run code when they are loaded), no optimizer
state, no card, and no path of the machines that trained.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.digests import sha256_file
from orchestrator.errors import CheckFailed
from orchestrator.lora import Pairs, pair_up, parse_config, problems_of, some
from orchestrator.publishable import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MODEL_CONFIG,
    MODEL_INDEX,
    Kind,
    select,
)
from orchestrator.publishable import is_publishable as is_publishable
from orchestrator.safetensors_file import TensorInfo, is_zero, non_finite, read_header
from orchestrator.scrub import NAME_KEYS, TENANT_MARK, is_path, scrub

#: Where a stand-in names itself; real outputs have no such key.
STAND_IN = "stand_in"

#: Vocabularies: their entries may look like paths, and changing one would change the model.
_VERBATIM = ("tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json")


@dataclass(frozen=True)
class ExpectedAdapter:
    """What the plan promised. None means that the plan does not say."""

    base_model: str
    hub_id: str
    accepted_names: tuple[str, ...]
    rank: int | None
    allowed_targets: tuple[str, ...] | None


class PublishableFile(BaseModel):
    """A file of the folder to publish. `path` is relative, with forward slashes."""

    model_config = ConfigDict(frozen=True)

    path: str
    size_bytes: int
    sha256: str


class AdapterReport(BaseModel):
    """The outcome of the check: it passes if there are no problems, and only then has files."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    files: tuple[PublishableFile, ...] = ()
    rank: int | None = None
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    parameter_count: int = 0
    base_model_found: str | None = None
    stand_in: dict[str, Any] | None = None
    scrubbed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON, for the ledger."""
        return self.model_dump(mode="json")


def check_adapter(collected: Path, out: Path, expected: ExpectedAdapter) -> AdapterReport:
    """Check the files in `collected` and build `out` from them, replacing an earlier one.

    Every problem that can be found is reported. Where there is one, `out` does not exist
    afterwards. `collected` is never changed.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        report = _Check(collected, partial, expected).run()
        if out.exists():
            shutil.rmtree(out)
        if not report.problems:
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


class _Check:
    """One pass over one folder; what it finds gathers in its lists."""

    def __init__(self, collected: Path, into: Path, expected: ExpectedAdapter) -> None:
        self._from = collected
        self._into = into
        self._expected = expected
        self._problems: list[str] = []
        self._scrubbed: list[str] = []
        self._configs: dict[str, dict[str, Any]] = {}
        self._base_found: str | None = None

    def run(self) -> AdapterReport:
        selected = select(self._from)
        self._problems += selected.problems
        for name in selected.names:
            self._take(name)
        tensors = self._read_weights(selected.names)
        self._check_values(tensors)
        if selected.kind == "adapter":
            fields, config = self._adapter(tensors), self._configs.get(ADAPTER_CONFIG, {})
        else:
            fields, config = self._model(tensors), self._configs.get(MODEL_CONFIG, {})
        stand_in = config.get(STAND_IN)
        return AdapterReport(
            kind=selected.kind,
            files=() if self._problems else self._files(),
            parameter_count=sum(one.value_count for _, one in tensors.values()),
            base_model_found=self._base_found,
            stand_in=stand_in if isinstance(stand_in, dict) else None,
            scrubbed=tuple(self._scrubbed),
            dropped=selected.dropped,
            problems=tuple(self._problems),
            **fields,
        )

    def _problem(self, file: str, sentence: str) -> None:
        self._problems.append(f"{file}: {sentence}")

    # --- Building the folder -------------------------------------------------------------------

    def _take(self, name: str) -> None:
        source, target = self._from / name, self._into / name
        if name.endswith(".safetensors"):
            _link_or_copy(source, target)
            return
        value = self._read_json(name) if name.endswith(".json") else None
        changed: list[str] = []
        if isinstance(value, dict) and name not in (*_VERBATIM, MODEL_INDEX):
            value, changed = self._clean(name, value)
            self._configs[name] = value
        if changed:
            self._scrubbed += [f"{name}: {place}" for place in changed]
            text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
            target.write_text(text, encoding="utf-8", newline="\n")
        else:
            shutil.copyfile(source, target)
        if TENANT_MARK.encode() in target.read_bytes():
            self._problem(
                name, f"names an internal folder of the service ({TENANT_MARK}…) in its text"
            )

    def _read_json(self, name: str) -> Any:
        try:
            value = json.loads((self._from / name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            self._problem(name, f"is not valid JSON ({error}); collect again")
            return None
        if not isinstance(value, dict):
            self._problem(name, "is not a JSON object; collect again")
        return value

    def _clean(self, name: str, value: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Without paths, and with the base model under its public name."""
        if name in (ADAPTER_CONFIG, MODEL_CONFIG):
            key = "base_model_name_or_path" if name == ADAPTER_CONFIG else "_name_or_path"
            self._check_base(name, key, value.get(key))
        result = scrub(value, self._expected.hub_id)
        clean, changed = dict(result.value), list(result.changed)
        for key in NAME_KEYS & clean.keys():
            if clean[key] != self._expected.hub_id and self._is_accepted(clean[key]):
                clean[key] = self._expected.hub_id
                changed.append(key)
        if name == ADAPTER_CONFIG and not clean.get("base_model_name_or_path"):
            clean["base_model_name_or_path"] = self._expected.hub_id
            changed.append("base_model_name_or_path")
        return clean, changed

    def _is_accepted(self, name: Any) -> bool:
        expected = self._expected
        names = (expected.hub_id, expected.base_model, *expected.accepted_names)
        return isinstance(name, str) and name.lower() in {one.lower() for one in names}

    def _check_base(self, file: str, key: str, found: Any) -> None:
        if not found:
            return
        self._base_found = str(found)
        if not isinstance(found, str) or not (is_path(found) or self._is_accepted(found)):
            self._problem(
                file,
                f"{key} is {found!r}, another model than the planned {self._expected.hub_id};"
                " this is the output of another job",
            )

    def _files(self) -> tuple[PublishableFile, ...]:
        return tuple(
            PublishableFile(
                path=file.name, size_bytes=file.stat().st_size, sha256=sha256_file(file)
            )
            for file in sorted(self._into.iterdir())
        )

    # --- The weights ---------------------------------------------------------------------------

    def _read_weights(self, names: Iterable[str]) -> dict[str, tuple[str, TensorInfo]]:
        """Every tensor with the file that holds it."""
        found: dict[str, tuple[str, TensorInfo]] = {}
        for name in names:
            if not name.endswith(".safetensors"):
                continue
            try:
                header = read_header(self._from / name)
            except CheckFailed as error:
                self._problems.append(f"{error.message}; collect again")
                continue
            if any(TENANT_MARK in text for text in header.metadata.values()):
                self._problem(name, f"names an internal folder ({TENANT_MARK}…) in its header")
            if twice := sorted(found.keys() & header.tensors.keys()):
                self._problem(name, f"holds {some(twice)}, which another file holds as well")
            found |= {tensor: (name, info) for tensor, info in header.tensors.items()}
        return found

    def _check_values(self, tensors: Mapping[str, tuple[str, TensorInfo]]) -> None:
        spoilt: dict[str, list[str]] = {}
        for tensor, (file, info) in tensors.items():
            if non_finite(self._from / file, info):
                spoilt.setdefault(file, []).append(tensor)
        for file, names in spoilt.items():
            self._problem(
                file,
                f"holds NaN or infinity in {some(names)}; the training diverged:"
                " lower the learning rate and train again",
            )

    def _adapter(self, tensors: Mapping[str, tuple[str, TensorInfo]]) -> dict[str, Any]:
        pairs = pair_up(tensors)
        fields: dict[str, Any] = {"targets": tuple(pairs.leaves)}
        value = self._configs.get(ADAPTER_CONFIG)
        if value is not None:
            config = parse_config(value)
            if isinstance(config, str):
                self._problem(ADAPTER_CONFIG, config)
                return fields
            fields |= {"rank": config.rank, "alpha": config.alpha}
            planned = self._expected.rank
            ranks = {config.rank, *config.rank_pattern.values()}
            if planned is not None and ranks != {planned}:
                self._problem(
                    ADAPTER_CONFIG,
                    f"rank {', '.join(map(str, sorted(ranks)))} instead of the planned {planned};"
                    " this is the output of another job, or the service changed the rank",
                )
            if tensors:
                infos = {name: info for name, (_, info) in tensors.items()}
                allowed = self._expected.allowed_targets
                self._problems += problems_of(ADAPTER_WEIGHTS, config, pairs, infos, allowed)
        self._check_learned(pairs, tensors)
        return fields

    def _check_learned(self, pairs: Pairs, tensors: Mapping[str, tuple[str, TensorInfo]]) -> None:
        found = [tensors[name] for name in pairs.b.values()]
        if found and all(is_zero(self._from / file, info) for file, info in found):
            self._problem(
                ADAPTER_WEIGHTS,
                "every LoRA B is zero: nothing was learned; look at the loss and the rows",
            )

    def _model(self, tensors: Mapping[str, tuple[str, TensorInfo]]) -> dict[str, Any]:
        """Merged weights: every tensor of the index must be where the index says."""
        files = {file for file, _ in tensors.values()}
        if not (self._into / MODEL_INDEX).exists():
            if len(files) > 1:
                self._problem(MODEL_INDEX, "is missing beside several weights; collect again")
            return {}
        value = self._read_json(MODEL_INDEX)
        index = value.get("weight_map") if isinstance(value, dict) else None
        if not isinstance(index, dict):
            self._problem(MODEL_INDEX, "has no weight_map; collect again")
            return {}
        here = {tensor: file for tensor, (file, _) in tensors.items()}
        if wrong := sorted(
            name for name in index.keys() | here.keys() if index.get(name) != here.get(name)
        ):
            self._problem(
                MODEL_INDEX, f"does not agree with the weights on {some(wrong)}; collect again"
            )
        return {}


def _link_or_copy(source: Path, target: Path) -> None:
    """Weights are large and are never changed, so a second name for them will do."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
