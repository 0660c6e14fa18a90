"""Answers to the rows of a file, from a server on loopback: all, in order, paid for once."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.answer_files import alone, prompt_sha256, read_answers
from orchestrator.answering import asking
from orchestrator.answering.answers import AnsweringResult, Examples, answer_rows
from orchestrator.answering.endpoint import Asking, Endpoint
from orchestrator.errors import Ambiguous, InputError, LedgerError, Refused
from tests.answering.server import Body, FakeServer, asked_in, said, status
from tests.manual_clock import ManualClock

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def chat(text: str, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": text}],
        "completion": [{"role": "assistant", "content": answer}],
        **more,
    }


def rows_file(folder: Path, *rows: Any) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def numbered(folder: Path, count: int) -> Path:
    return rows_file(folder, *(chat(f"question {number}") for number in range(count)))


def answered(file: Path, server: FakeServer, **more: Any) -> AnsweringResult:
    """Ask for all rows, one at a time unless told otherwise, on a clock that nobody waits for."""
    endpoint = more.pop("endpoint", Endpoint(server.base_url, "router", concurrency=1))
    more.setdefault("clock", ManualClock())
    return answer_rows(file, endpoint, file.parent / "answers", **more)


def lines(result: AnsweringResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.file.read_text(encoding="utf-8").splitlines()]


def test_turns_texts_and_tools_are_asked_and_the_answers_stand_in_the_order_of_rows(
    server: FakeServer, tmp_path: Path
) -> None:
    server.answer = lambda body: said(f"to {asked_in(body)}", body)
    file = rows_file(
        tmp_path,
        chat("hällo", "grüezi"),
        {"prompt": "Once upon", "completion": " a time"},
        chat("add", tools=[TOOL]),
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    )
    many = Endpoint(server.base_url, "router", concurrency=4)
    result = answered(file, server, endpoint=many, asking=Asking(max_tokens=9, stop=("\n",)))
    found = lines(result)
    assert result.file == tmp_path / "answers" / "tuned.jsonl"
    assert (result.rows, result.paid, result.answered, result.cut) == (4, 4, 4, 0)
    assert result.models == ("router",)
    assert result.warnings == ()
    assert found[0] == {
        "row": 0,
        "prompt_sha256": prompt_sha256([{"role": "user", "content": "hällo"}]),
        "expected": "grüezi",
        "predicted": "to hällo",
        "raw": "to hällo",
        "prompt_tokens": 7,
        "new_tokens": 3,
        "stopped_by": "end",
        "latency_s": 0.0,
    }
    assert [one["predicted"] for one in found] == ["to hällo", "to Once upon", "to add", "to x"]
    assert [one["expected"] for one in found] == ["grüezi", " a time", "yes", "y"]
    bodies = {asked_in(one.body): one for one in server.received}
    assert bodies["Once upon"].path == "/v1/completions"
    assert bodies["Once upon"].body == {
        "model": "router",
        "prompt": "Once upon",
        "max_tokens": 9,
        "temperature": 0.0,
        "stop": ["\n"],
        "seed": 0,
    }
    assert bodies["add"].path == "/v1/chat/completions"
    assert bodies["add"].body["tools"] == [TOOL]
    assert "tools" not in bodies["x"].body


def test_the_file_is_one_that_scoring_reads(server: FakeServer, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    wanted = {"function": {"name": "add", "arguments": {"a": 1}}}
    expected = {"role": "assistant", "content": "", "tool_calls": [wanted]}
    server.answer = lambda body: said(None, body, finish_reason="tool_calls", tool_calls=[call])
    server.faults.append(status(400, {"error": {"message": "no", "code": "content_filter"}}))
    rows = [chat("one"), chat("two", tools=[TOOL]) | {"completion": [expected]}]
    result = answered(rows_file(tmp_path, *rows), server)
    matched = alone(read_answers(result.file, "predicted"))
    assert [one.predicted is None for one in matched.rows] == [True, False]
    assert json.loads(matched.rows[1].predicted or "") == {"content": "", "tool_calls": [call]}
    assert json.loads(matched.rows[1].expected)["tool_calls"] == [wanted]


def test_a_row_that_stands_twice_is_paid_for_once(server: FakeServer, tmp_path: Path) -> None:
    result = answered(rows_file(tmp_path, chat("a"), chat("b"), chat("a", "other")), server)
    assert sorted(server.questions) == ["a", "b"]
    assert (result.rows, result.paid) == (3, 2)
    assert [one["expected"] for one in lines(result)] == ["yes", "yes", "other"]


def test_drawn_answers_to_the_same_question_are_drawn_each_and_paid_for_once(
    server: FakeServer, tmp_path: Path
) -> None:
    server.answer = lambda body: said(f"drawn with {body['seed']}", body)
    file = rows_file(tmp_path, chat("a"), chat("b"), chat("a", "other"), chat("a"))
    drawn = Asking(temperature=0.8)
    result = answered(file, server, asking=drawn)
    assert [one["predicted"] for one in lines(result)] == [
        f"drawn with {seed}" for seed in (0, 0, 1, 2)
    ]
    assert (result.paid, answered(file, server, asking=drawn).paid) == (4, 0)
    # Servers draw where they are told no temperature, too.
    unseeded = Asking(seed=None, extra={"temperature": None})
    server.answer = lambda body: said("drawn", body)
    assert answered(file, server, asking=unseeded).paid == 4


def test_what_was_answered_before_is_not_asked_again(server: FakeServer, tmp_path: Path) -> None:
    file = numbered(tmp_path, 3)
    first = answered(file, server)
    again = answered(file, server)
    assert (first.paid, again.paid, len(server.received)) == (3, 0, 3)
    assert lines(again) == lines(first)
    answered(file, server, asking=Asking(max_tokens=9))
    assert len(server.received) == 6


def test_a_run_that_broke_off_goes_on_where_it_was(server: FakeServer, tmp_path: Path) -> None:
    file = numbered(tmp_path, 5)
    yes = status(200, said("yes", {"model": "router", "messages": []}))
    server.faults.extend([yes, yes, status(401, {"error": {"message": "expired"}})])
    with pytest.raises(Refused, match="expired"):
        answered(file, server)
    assert not (tmp_path / "answers" / "tuned.jsonl").exists()
    result = answered(file, server)
    assert server.questions == [f"question {n}" for n in (0, 1, 2, 2, 3, 4)]
    assert (result.paid, result.answered) == (3, 5)


def test_an_interruption_keeps_what_was_answered(server: FakeServer, tmp_path: Path) -> None:
    file = numbered(tmp_path, 4)

    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered(file, server, on_progress=interrupt)
    for thread in threading.enumerate():
        if thread.name.startswith("ask-"):
            thread.join(10)
    result = answered(file, server)
    assert result.answered == 4
    assert sorted(server.questions) == [f"question {n}" for n in range(4)]


def test_a_lease_can_be_kept_while_no_answer_comes(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_LOOK_UP_S", 0.01)
    told: list[tuple[int, int]] = []

    def answer(body: Body) -> Body:
        assert server.let_go.wait(10)
        return said("yes", body)

    def progress(done: int, every: int) -> None:
        told.append((done, every))
        if len(told) == 5:
            server.let_go.set()

    server.answer = answer
    assert answered(numbered(tmp_path, 1), server, on_progress=progress).answered == 1
    assert told[:5] == [(0, 1)] * 5
    assert told[-1] == (1, 1)


def test_who_has_lost_the_lease_before_the_first_question_pays_for_nothing(
    server: FakeServer, tmp_path: Path
) -> None:
    def lost(*_: int) -> None:
        raise LedgerError("another pass took over")

    with pytest.raises(LedgerError):
        answered(numbered(tmp_path, 3), server, on_progress=lost)
    assert server.received == []


def test_a_line_that_was_cut_by_a_crash_is_passed_over_and_told(
    server: FakeServer, tmp_path: Path
) -> None:
    file = numbered(tmp_path, 3)
    answered(file, server)
    kept = tmp_path / "answers" / "asked.jsonl"
    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) - 20])
    result = answered(file, server)
    assert (result.paid, result.answered) == (1, 3)
    assert any("1 lines could not be read" in one for one in result.warnings)
    # What was added stands on a line of its own.
    assert answered(file, server).paid == 0
    kept.write_bytes(b'\x00\xff\n[1]\n{"key": 1}\n{"key": "a", "reply": {"predicted": 3}}\n')
    assert answered(file, server).paid == 3
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_as_many_are_asked_at_a_time_as_is_wished_and_no_more(
    server: FakeServer, tmp_path: Path
) -> None:
    together = threading.Barrier(3, timeout=20)
    now, most = [0], [0]

    def answer(body: Body) -> Body:
        with server.lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait()
        with server.lock:
            now[0] -= 1
        return said("yes", body)

    server.answer = answer
    endpoint = Endpoint(server.base_url, "router", concurrency=3)
    assert answered(numbered(tmp_path, 9), server, endpoint=endpoint).paid == 9
    assert most == [3]


def test_rows_that_the_server_refuses_are_told_from_wrong_answers(
    server: FakeServer, tmp_path: Path
) -> None:
    long = {"error": {"message": "exceeds the context size", "code": 400}}
    filtered = said("half", {"model": "router", "messages": []}, finish_reason="content_filter")
    none = {"model": "router", "choices": []}
    server.faults.extend([status(200, filtered), status(400, long), status(200, none)])
    server.answer = lambda body: said("cut", body, finish_reason="length")
    result = answered(numbered(tmp_path, 4), server)
    assert result.unanswered == {"content_filter": 1, "too_long": 1, "no_choices": 1}
    assert (result.cut, result.answered, result.paid) == (1, 1, 3)
    assert result.refusals == ("400: exceeds the context size",)
    assert [one["predicted"] for one in lines(result)] == [None, None, None, "cut"]
    assert [one["raw"] for one in lines(result)] == ["half", None, None, "cut"]


def test_a_server_that_refuses_everything_is_no_model_that_answers_wrongly(
    server: FakeServer, tmp_path: Path
) -> None:
    server.faults.extend([status(400, {"error": {"message": "unknown field seed"}})] * 90)
    with pytest.raises(Refused, match="refused every question so far: 400: unknown field seed"):
        answered(numbered(tmp_path, 90), server)
    assert 5 <= len(server.received) < 90
    assert not (tmp_path / "answers" / "tuned.jsonl").exists()


def test_a_row_that_fails_for_good_stops_the_file_but_not_the_others(
    server: FakeServer, tmp_path: Path
) -> None:
    file = numbered(tmp_path, 3)
    down = [status(503, {"error": "overloaded"})] * 5
    server.faults.extend(down)
    with pytest.raises(Ambiguous) as caught:
        answered(file, server)
    assert "1 of 3 questions got no answer" in caught.value.message
    assert "overloaded" in caught.value.message
    assert not (tmp_path / "answers" / "tuned.jsonl").exists()
    server.faults.extend(down)
    result = answered(file, server, on_failure="mark")
    assert result.unanswered == {"failed": 1}
    assert answered(file, server).paid == 1
    assert len(server.received) == 5 + 2 + 5 + 1


def test_a_server_that_answers_nobody_is_given_up_and_never_marked(
    server: FakeServer, tmp_path: Path
) -> None:
    server.faults.extend([status(500, {})] * 1000)
    with pytest.raises(Ambiguous, match="0 answers are there and are kept"):
        answered(numbered(tmp_path, 40), server, on_failure="mark")
    assert 5 * 5 <= len(server.received) < 5 * 40
    with pytest.raises(Ambiguous, match="0 answers"):
        answered(numbered(tmp_path, 1), server, on_failure="mark")


def test_examples_stand_before_the_question_and_never_hold_its_answer(
    server: FakeServer, tmp_path: Path
) -> None:
    system = {"role": "system", "content": "s"}
    rows = [chat(f"q{n}", f"a{n}") for n in range(4)]
    for row in rows:
        row["prompt"].insert(0, system)
    file = rows_file(tmp_path, *rows)
    result = answered(file, server, examples=Examples(file, 3), condition="few-shot", limit=1)
    (body,) = [one.body for one in server.received]
    said_there = [turn["content"] for turn in body["messages"]]
    assert said_there[0] == "s"
    assert said_there[-1] == "q0"
    assert sorted(said_there[1:-1]) == ["a1", "a2", "a3", "q1", "q2", "q3"]
    assert result.file.name == "few-shot.jsonl"
    # The digest is that of the row, so that conditions can be compared row by row.
    assert lines(result)[0]["prompt_sha256"] == prompt_sha256(rows[0]["prompt"])
    with pytest.raises(InputError, match="only 3 are not the row itself"):
        answered(file, server, examples=Examples(file, 4))


def test_texts_can_be_asked_as_chats(server: FakeServer, tmp_path: Path) -> None:
    file = rows_file(tmp_path, {"prompt": "hi", "completion": "ho"})
    answered(file, server, asking=Asking(texts="chat"))
    assert server.received[0].path == "/v1/chat/completions"
    assert server.received[0].body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"prompt": "x"}, "needs `prompt` and `completion`"),
        ({"prompt": "x", "completion": [{"role": "assistant"}]}, "needs `prompt`"),
        ({"messages": [{"role": "user", "content": "x"}]}, "ends with the assistant's"),
        ({"messages": "[oh"}, "not JSON"),
        (chat("x", tools={"a": 1}), "`tools` is no list"),
        ([1], ""),
    ],
)
def test_a_row_that_cannot_be_asked_is_named_before_anything_is_asked(
    server: FakeServer, tmp_path: Path, row: Any, wrong: str
) -> None:
    with pytest.raises(InputError) as caught:
        answered(rows_file(tmp_path, chat("fine"), row), server)
    assert wrong in caught.value.message
    assert caught.value.where
    assert caught.value.where.line == 2
    assert server.received == []


@pytest.mark.parametrize("name", ["", "../x", "Tuned", "scores", "asked", "a/b"])
def test_a_condition_that_is_no_name_of_a_file_is_refused(
    server: FakeServer, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="cannot be the name of a condition"):
        answered(numbered(tmp_path, 1), server, condition=name)
