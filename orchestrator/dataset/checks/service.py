"""What the service would refuse, or has never said that it takes. Row length is of kind `length`.

Sources: the catalog, which names them with their dates; every finding repeats them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from orchestrator.catalog import VertexLimits, load_catalog
from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Example, Message, answer_calls
from orchestrator.dataset.report import Figure, Finding, Group, Level, Table
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

KIND = "service"
#: What Vertex documents for `messages`; calls bring a role of their own with them.
_DOCUMENTED_ROLES = frozenset({"system", "user", "assistant"})
_ROLES_OF_CALLS = frozenset({"tool"})
#: So near to a limit (its share) rows of unlike lengths may carry a split's bytes over it.
_NEAR = 0.8


@dataclass(frozen=True)
class SplitSize:
    """How much of a split the service is sent. `file` is how messages call where it comes from.

    Bytes are None where only the rows are known, from their shares.
    """

    name: str
    rows: int
    size_bytes: int | None
    file: str

    @property
    def weight(self) -> int:
        """What splits are compared by: bytes, or rows where bytes are not known."""
        return self.rows if self.size_bytes is None else self.size_bytes


class ServiceCheck(Check):
    """Rows in a form that Vertex does not document, and files of splits beyond its limits."""

    kind: ClassVar[str] = KIND

    def __init__(self, rules: Rules) -> None:
        self._service = rules.service
        self._sizes: dict[str, SplitSize] = {}

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """Rows that Vertex may not take; the bytes of each split that has a file of its own."""
        found: list[Finding] = []
        for example in examples:
            if self._service == "vertex":
                found.extend(vertex_findings(example))
            if example.split is not None:
                self._add(_size(example, example.split, self._service))
        return found

    def merge(self, later: Self) -> None:
        """Add up the splits of both parts."""
        for size in later._sizes.values():
            self._add(size)

    def conclude(self) -> Iterable[Group]:
        """What is wrong with the splits' files; nothing where one file is still to be split."""
        if not self._sizes:
            return ()
        return split_groups(list(self._sizes.values()), self._service)

    def figures(self) -> Iterable[Figure]:
        """The size of each split that has a file of its own."""
        return [sizes_table(list(self._sizes.values()))] if self._sizes else []

    def _add(self, size: SplitSize) -> None:
        mine = self._sizes.get(size.name)
        if mine is not None:
            rows, size_bytes = mine.rows + size.rows, mine.weight + size.weight
            size = SplitSize(size.name, rows, size_bytes, mine.file)
        self._sizes[size.name] = size


def vertex_findings(example: Example) -> Iterator[Finding]:
    """What Vertex may refuse about a row, with what its documentation says."""
    messages = _messages(example)
    if messages is None:
        return
    source = _source(load_catalog().vertex)
    roles = dict.fromkeys(message.role for message in messages)
    unknown = [role for role in roles if role not in _DOCUMENTED_ROLES | _ROLES_OF_CALLS]
    if unknown:
        message = f"vertex documents no role `{unknown[0]}`: it takes system, user and assistant"
        hint = f"Give that text as the system prompt, or tune on hf-jobs. {source}"
        yield Finding(KIND, Level.ERROR, "role-not-taken", example.place, message, hint)
    if len(messages) < 2:
        message = "a chat of one message has a question or an answer, not both"
        hint = f"vertex trains on the assistant's turns after what it was asked. {source}"
        yield Finding(KIND, Level.ERROR, "one-message", example.place, message, hint)
    if example.tools or answer_calls(example) or _ROLES_OF_CALLS & roles.keys():
        message = "the row holds tools or calls: whether vertex takes them is not documented"
        hint = f"Try a few rows before you pay for all, or tune on hf-jobs. {source}"
        yield Finding(KIND, Level.WARNING, "tools-undocumented", example.place, message, hint)


def split_groups(sizes: Sequence[SplitSize], service: str) -> list[Group]:
    """What is wrong with the sizes of splits as they would be uploaded."""
    by_name = {size.name: size for size in sizes if size.rows}
    train, validation = by_name.get("train"), by_name.get("validation")
    anywhere = Place(sizes[0].file)
    if train is None:
        message = "no row is left for training"
        hint = "Give more rows, or a larger share to `train`."
        finding = Finding(KIND, Level.ERROR, "no-training-rows", anywhere, message, hint)
        return [Group.of(finding)]
    if validation is None:
        message = "no validation rows: nothing will show whether the model overfits"
        hint = "Give `validation` a share of the rows, or a file."
        finding = Finding(KIND, Level.WARNING, "no-validation-rows", anywhere, message, hint)
        return [Group.of(finding)]
    if service != "vertex":
        return []
    return [Group.of(finding) for finding in _over_limits(train, validation)]


def _over_limits(train: SplitSize, validation: SplitSize) -> Iterator[Finding]:
    limits = load_catalog().vertex
    place, hint = Place(validation.file), f"Give `validation` fewer rows. {_source(limits)}"
    ratio, most = validation.weight / train.weight, limits.max_validation_bytes_ratio
    if ratio > most:
        about, unit = ("", "bytes") if validation.size_bytes is not None else ("about ", "rows")
        message = (
            f"the validation file is {about}{ratio:.1%} of the training file in {unit} "
            f"({validation.weight:,} of {train.weight:,}); vertex takes at most {most:.0%} in bytes"
        )
        yield Finding(KIND, Level.ERROR, "validation-too-large", place, message, hint)
    if validation.rows > limits.max_validation_rows:
        message = (
            f"the validation file has {validation.rows:,} rows; vertex takes at most "
            f"{limits.max_validation_rows:,}"
        )
        yield Finding(KIND, Level.ERROR, "validation-too-many-rows", place, message, hint)


def near_a_limit(sizes: Sequence[SplitSize], service: str) -> bool:
    """Whether numbers of rows cannot tell on which side of a limit the files will be."""
    weights = {size.name: size.weight for size in sizes}
    if service != "vertex" or not weights.get("train"):
        return False
    most = load_catalog().vertex.max_validation_bytes_ratio
    return _NEAR * most < weights.get("validation", 0) / weights["train"] < most / _NEAR


def sizes_table(sizes: Sequence[SplitSize]) -> Table:
    """The sizes of the splits as a figure."""
    rows = tuple((size.name, size.rows, size.size_bytes) for size in sizes)
    about = " (about, by the shares)" if any(size.size_bytes is None for size in sizes) else ""
    return Table(f"what the service would be sent{about}", ("split", "rows", "bytes"), rows)


def _size(example: Example, split: str, service: str) -> SplitSize:
    from orchestrator.dataset.output import service_line

    return SplitSize(split, 1, len(service_line(example, service)), example.file)


def _messages(example: Example) -> tuple[Message, ...] | None:
    """All turns of a chat; None for a pair of texts."""
    if isinstance(example.prompt, str) or isinstance(example.answer, str):
        return None
    return example.prompt + example.answer


def _source(limits: VertexLimits) -> str:
    return f"Source: {limits.source}; checked {limits.checked.isoformat()}."
