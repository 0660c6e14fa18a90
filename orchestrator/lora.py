"""What the tensors of a LoRA adapter must look like, given its configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.safetensors_file import TensorInfo

_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+?)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])"
    r"(?:\.(?!bias$)\w+)??(?:\.weight)?"
)
#: What variants of LoRA keep beside A and B.
_BESIDE = re.compile(r"base_model\.model\..+\.lora_(magnitude_vector(\..+)?|B\.bias)")
#: More of the same kind would hide the other problems.
_MOST_NAMED = 3


@dataclass(frozen=True)
class LoraConfig:
    """The part of `adapter_config.json` that decides about the tensors."""

    rank: int
    alpha: float
    targets: tuple[str, ...] | str
    rank_pattern: Mapping[str, int]
    target_parameters: tuple[str, ...]
    modules_to_save: tuple[str, ...]


def parse_config(value: Mapping[str, Any]) -> LoraConfig | str:
    """The configuration, or a sentence that says what is wrong with it."""
    if value.get("peft_type") != "LORA":
        return f"is for the method {value.get('peft_type')!r}; only LORA can be checked"
    rank: Any = value.get("r")
    alpha = value.get("lora_alpha")
    if not _is_whole(rank) or rank < 1:
        return f"has no usable rank: r is {rank!r}"
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        return f"has no usable scale: lora_alpha is {alpha!r}"
    targets = value.get("target_modules")
    if not isinstance(targets, str) and (not targets or not _are_texts(targets)):
        return f"names no modules: target_modules is {targets!r}"
    rank_pattern = value.get("rank_pattern") or {}
    if not isinstance(rank_pattern, dict) or not all(map(_is_whole, rank_pattern.values())):
        return f"has a rank_pattern that is no map of ranks: {rank_pattern!r}"
    parameters, saved = value.get("target_parameters"), value.get("modules_to_save")
    if not _are_texts(parameters or []) or not _are_texts(saved or []):
        return "has target_parameters or modules_to_save that are no lists of names"
    return LoraConfig(
        rank=rank,
        alpha=alpha,
        targets=targets if isinstance(targets, str) else tuple(targets or ()),
        rank_pattern=rank_pattern,
        target_parameters=tuple(parameters or ()),
        modules_to_save=tuple(saved or ()),
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@dataclass(frozen=True)
class Pairs:
    """The A and B tensors by module; `other` are tensors that are neither."""

    a: dict[str, str]
    b: dict[str, str]
    other: tuple[str, ...]

    @property
    def modules(self) -> set[str]:
        """Every module that has at least one of the two."""
        return self.a.keys() | self.b.keys()

    @property
    def leaves(self) -> list[str]:
        """The last parts of the modules' names: `q_proj`, ..."""
        return sorted({leaf(module) for module in self.modules})


def leaf(module: str) -> str:
    """The last part of a module's name."""
    return module.rsplit(".", 1)[-1]


def pair_up(names: Iterable[str]) -> Pairs:
    """Sort tensors by what their names say."""
    sides: dict[str, dict[str, str]] = {"A": {}, "B": {}}
    other = []
    for name in names:
        found = _TENSOR.fullmatch(name)
        if found is None or found["module"] in sides[found["side"]]:
            other.append(name)
        else:
            sides[found["side"]][found["module"]] = name
    return Pairs(sides["A"], sides["B"], tuple(other))


def problems_of(
    file: str,
    config: LoraConfig,
    pairs: Pairs,
    tensors: Mapping[str, TensorInfo],
    allowed_targets: Iterable[str] | None,
) -> list[str]:
    """What is wrong with names and shapes, a sentence each."""
    found = []
    if not pairs.modules:
        found.append(f"{file}: holds no LoRA tensors; look at what the service wrote")
    if half := sorted(pairs.a.keys() ^ pairs.b.keys()):
        found.append(
            f"{file}: LoRA A or B is missing for {some(half)};"
            " the file is incomplete, collect again"
        )
    saved = [name for name in pairs.other if not _is_known(name, config)]
    if saved:
        found.append(f"{file}: {some(saved)} is no part of this LoRA adapter; refused")
    found += _shape_problems(file, config, pairs, tensors)
    found += _target_problems(file, config, pairs)
    if allowed_targets is not None:
        allowed = set(allowed_targets)
        named = (
            {leaf(one) for one in config.targets} if not isinstance(config.targets, str) else set()
        )
        if extra := sorted((set(pairs.leaves) | named) - allowed):
            found.append(
                f"{file}: adapts {some(extra)}, which the plan does not allow"
                f" (allowed: {', '.join(sorted(allowed))})"
            )
    return found


def _is_known(name: str, config: LoraConfig) -> bool:
    if _BESIDE.fullmatch(name):
        return True
    parts = name.split(".")
    return any(module.split(".")[-1] in parts for module in config.modules_to_save)


def _shape_problems(
    file: str, config: LoraConfig, pairs: Pairs, tensors: Mapping[str, TensorInfo]
) -> list[str]:
    ranks = {config.rank, *config.rank_pattern.values()}

    def fits(rank: int) -> bool:
        # Adapted parameters (of experts) stack a rank for each expert.
        return rank in ranks or (
            bool(config.target_parameters) and rank > 0 and any(rank % one == 0 for one in ranks)
        )

    wrong = []
    for module in sorted(pairs.a.keys() & pairs.b.keys()):
        a, b = tensors[pairs.a[module]].shape, tensors[pairs.b[module]].shape
        if len(a) < 2 or len(b) < 2 or a[0] != b[1] or not fits(a[0]) or 0 in (*a, *b):
            wrong.append(f"{module} (A {list(a)}, B {list(b)})")
    if not wrong:
        return []
    return [f"{file}: shapes do not fit rank {config.rank}: {some(wrong)}; the files do not match"]


def _target_problems(file: str, config: LoraConfig, pairs: Pairs) -> list[str]:
    matches = _matcher(config.targets)
    if matches is None:
        return [f"{file}: target_modules {config.targets!r} is no valid expression"]
    found = []
    if not isinstance(config.targets, str):
        empty = [one for one in config.targets if not any(_is_under(m, one) for m in pairs.modules)]
        if empty and pairs.modules:
            found.append(
                f"{file}: has no tensors for {some(sorted(empty))}, which adapter_config.json"
                " targets; the file is incomplete, collect again"
            )
    parameters = {one.rpartition(".")[0] for one in config.target_parameters}
    stray = [
        module
        for module in sorted(pairs.modules)
        if not matches(module) and not any(_is_under(module, one) for one in parameters)
    ]
    if stray:
        found.append(
            f"{file}: has tensors for {some(stray)}, which adapter_config.json does not target;"
            " loading would drop them"
        )
    return found


def _is_under(module: str, target: str) -> bool:
    return module == target or module.endswith("." + target)


def _matcher(targets: tuple[str, ...] | str) -> Callable[[str], bool] | None:
    if not isinstance(targets, str):
        return lambda module: any(_is_under(module, one) for one in targets)
    if targets == "all-linear":
        return lambda _: True
    try:
        expression = re.compile(targets)
    except re.error:
        return None
    return lambda module: expression.fullmatch(module) is not None


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
