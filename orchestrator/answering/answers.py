"""Answers to all rows of a file from an endpoint, written as `generate.py` writes them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.answering.asking import Asked, OnProgress, ask, without_answer
from orchestrator.answering.cache import AnswerCache
from orchestrator.answering.endpoint import Asking, Endpoint, token_of
from orchestrator.answering.questions import Request
from orchestrator.answering.replies import CUT, FAILED, Reply, as_line
from orchestrator.answering.rows import AskedRow, Shots, read_asked_rows
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.written_files import write_whole

CACHE = "asked.jsonl"
_CONDITION = re.compile(r"[a-z][a-z-]*")
#: Files of the same folder that are no answers.
_TAKEN = frozenset({"asked", "scores"})


@dataclass(frozen=True)
class Examples:
    """Rows to show before each prompt: `count` of a file, drawn with `seed`, never the row."""

    file: Path
    count: int
    seed: int = 42


@dataclass(frozen=True)
class AnsweringResult:
    """What was written, and what became of the rows.

    `paid` answers came now, for which the endpoint was asked; all others were kept from before, or
    stand for rows that ask the same. `unanswered` counts rows by why they have no answer, and
    `refusals` holds what the server said of some of them: text for people, it may repeat rows.
    """

    file: Path
    rows: int
    paid: int
    cut: int
    unanswered: Mapping[str, int] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    #: The names under which answers came.
    models: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def answered(self) -> int:
        """Rows with an answer, be it cut or empty."""
        return self.rows - sum(self.unanswered.values())


def answer_rows(
    rows_file: Path,
    endpoint: Endpoint,
    output_folder: Path,
    *,
    condition: str = "tuned",
    asking: Asking = Asking(),  # noqa: B008 (frozen)
    examples: Examples | None = None,
    limit: int | None = None,
    on_failure: Literal["stop", "mark"] = "stop",
    environment: Mapping[str, str] = os.environ,
    clock: Clock = SYSTEM_CLOCK,
    on_progress: OnProgress | None = None,
) -> AnsweringResult:
    """Ask for an answer to each row, and write OUTPUT_FOLDER/CONDITION.jsonl, whole or not at all.

    Answers are kept in OUTPUT_FOLDER/asked.jsonl as they come, so that a run that was interrupted
    goes on where it was. `examples` puts rows in front of each prompt. Rows that the server refuses
    have no answer (`predicted` is null, `stopped_by` says why). For rows that fail although they
    are asked again it raises `Ambiguous`, or with `on_failure="mark"` leaves them unanswered too.
    """
    if not _CONDITION.fullmatch(condition) or condition in _TAKEN:
        raise InputError(
            f"{condition!r} cannot be the name of a condition",
            hint="Write it in small letters, like few-shot; asked and scores are taken.",
        )
    token = token_of(endpoint, environment)
    rows = read_asked_rows(rows_file)[:limit]
    requests = _requests(rows, endpoint, asking, examples)
    cache = AnswerCache(output_folder / CACHE)
    asked = ask(requests, endpoint, token, cache, clock=clock, on_progress=on_progress)
    if asked.failed and on_failure == "stop":
        raise without_answer(asked)
    replies = [_reply(request.key, asked) for request in requests]
    file = output_folder / f"{condition}.jsonl"
    lines = [_line(row, reply) for row, reply in zip(rows, replies, strict=True)]
    write_whole(file, "".join(lines).encode())
    return AnsweringResult(
        file,
        rows=len(rows),
        paid=asked.paid,
        cut=sum(reply.stopped_by in CUT for reply in replies),
        unanswered=dict(Counter(r.stopped_by for r in replies if r.predicted is None)),
        refusals=tuple(sorted({one.said for one in asked.refused.values()})),
        models=tuple(sorted({reply.model for reply in replies if reply.model})),
        warnings=(*asked.warnings, *_warnings(replies, cache)),
    )


def _requests(
    rows: Sequence[AskedRow],
    endpoint: Endpoint,
    asking: Asking,
    examples: Examples | None,
) -> list[Request]:
    shots = (
        Shots(read_asked_rows(examples.file), examples.count, examples.seed) if examples else None
    )
    found, seen = [], Counter[str]()
    for row in rows:
        question = shots.before(row) if shots else row.question
        found.append(question.request(endpoint, asking, seen[row.sha256]))
        seen[row.sha256] += 1
    return found


def _reply(key: str, asked: Asked) -> Reply:
    if key in asked.replies:
        return asked.replies[key]
    refused = asked.refused.get(key)
    return Reply(None, None, refused.stopped_by if refused else FAILED)


def _warnings(replies: Sequence[Reply], cache: AnswerCache) -> list[str]:
    models = sorted({reply.model for reply in replies if reply.model})
    found = []
    if len(models) > 1:
        found.append(f"answers came under {len(models)} names: {', '.join(models)}")
    if cache.broken_lines:
        found.append(
            f"{CACHE}: {cache.broken_lines} lines could not be read; what they held was asked again"
        )
    return found


def _line(row: AskedRow, reply: Reply) -> str:
    return as_line(
        {
            "row": row.number,
            "prompt_sha256": row.sha256,
            "expected": row.expected,
            "predicted": reply.predicted,
            "raw": reply.raw,
            "prompt_tokens": reply.prompt_tokens,
            "new_tokens": reply.new_tokens,
            "stopped_by": reply.stopped_by,
            "latency_s": reply.latency_s,
        }
    )
