"""A model as judge: asked for each answer through an endpoint, twice at most."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.answering.asking import Asked, OnProgress, ask, without_answer
from orchestrator.answering.cache import AnswerCache
from orchestrator.answering.endpoint import Asking, Endpoint, token_of
from orchestrator.answering.questions import Question, Request
from orchestrator.answering.replies import CUT, Reply
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.evaluation.judging import (
    Judged,
    NoVerdict,
    ToJudge,
    Verdict,
    judge_turns,
    read_verdict,
    second_turns,
)
from orchestrator.evaluation.rubric import ANSWER_QUALITY, Rubric

#: Enough for a verdict, and for some thinking before it.
JUDGE_ASKING = Asking(max_tokens=1024)
_NO_ANSWER = "there is no answer"

Found = Verdict | NoVerdict


def judge_rows(
    rows: Sequence[ToJudge],
    endpoint: Endpoint,
    kept_in: Path | None,
    *,
    rubric: Rubric = ANSWER_QUALITY,
    asking: Asking = JUDGE_ASKING,
    environment: Mapping[str, str] = os.environ,
    clock: Clock = SYSTEM_CLOCK,
    on_progress: OnProgress | None = None,
) -> Judged:
    """Let a model score answers by a rubric. What it said is kept in `kept_in` (JSONL).

    What is no verdict is asked for once more, with what is wrong with it; then the row is unjudged.
    A row without an answer gets the lowest score, and nobody is asked. Raises as `answer_rows` does
    for what concerns all rows.
    """
    if len({row.key for row in rows}) < len(rows):
        raise InputError("two rows to judge have the same key", hint="Name each row once.")
    token = token_of(endpoint, environment)
    there = [row for row in rows if (row.answer or "").strip()]
    cache = AnswerCache(kept_in)
    replies: dict[str, Reply] = {}

    def asked(turns: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, tuple[str, Found]]:
        requests = {key: Question(talk).request(endpoint, asking) for key, talk in turns.items()}
        done = ask(
            [*requests.values()], endpoint, token, cache, clock=clock, on_progress=on_progress
        )
        if done.failed:
            raise without_answer(done)
        replies.update(done.replies)
        return {key: _verdict(request, done, rubric) for key, request in requests.items()}

    found, twice = _twice(there, rubric, asked)
    none = tuple(row.key for row in rows if row.key not in found)
    found |= {key: Verdict(rubric.lowest, _NO_ANSWER) for key in none}
    in_order = {row.key: found[row.key] for row in rows}
    return Judged(
        endpoint.model,
        rubric.name,
        {key: one for key, one in in_order.items() if isinstance(one, Verdict)},
        {key: one.why for key, one in in_order.items() if isinstance(one, NoVerdict)},
        none,
        twice,
        _total(one.prompt_tokens for one in replies.values()),
        _total(one.new_tokens for one in replies.values()),
    )


def _total(counts: Iterable[int | None]) -> int | None:
    known = [*counts]
    return None if None in known else sum(one or 0 for one in known)


def _twice(
    rows: Sequence[ToJudge],
    rubric: Rubric,
    asked: Callable[[Mapping[str, Sequence[Mapping[str, str]]]], dict[str, tuple[str, Found]]],
) -> tuple[dict[str, Found], int]:
    """What was found for each row, and how many had to be asked for again."""
    first = asked({row.key: judge_turns(rubric, row) for row in rows})
    again = {
        row.key: second_turns(rubric, row, said, one)
        for row in rows
        for said, one in [first[row.key]]
        if isinstance(one, NoVerdict) and said
    }
    found = {**first, **asked(again)}
    return {key: one for key, (_, one) in found.items()}, len(again)


def _verdict(request: Request, asked: Asked, rubric: Rubric) -> tuple[str, Found]:
    """What was said, and the verdict in it; nothing said where the endpoint gave no answer."""
    refused = asked.refused.get(request.key)
    if refused is not None:
        return "", NoVerdict(f"the endpoint refused it ({refused.stopped_by})")
    reply = asked.replies[request.key]
    if reply.predicted is None:
        return "", NoVerdict(f"the endpoint gave no answer ({reply.stopped_by})")
    found = read_verdict(reply.predicted, rubric)
    if isinstance(found, NoVerdict) and reply.stopped_by in CUT:
        found = NoVerdict("it was cut at the most tokens allowed")
    return reply.predicted, found
