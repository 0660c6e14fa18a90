"""What servers reply, read; and what they might reply, which must never be a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.answering.client import Response
from orchestrator.answering.endpoint import Endpoint
from orchestrator.answering.refusals import RowRefused, success_of
from orchestrator.answering.replies import Reply, as_line, read_reply
from orchestrator.errors import Ambiguous, NotFound, OrchestratorError, RefusalKind, Refused
from tests.manual_clock import START, ManualClock

ENDPOINT = Endpoint("https://host/v1", "m")


def reply(message: Any, finish_reason: Any = "stop", **rest: Any) -> Reply:
    choice = {"message": message, "finish_reason": finish_reason}
    return read_reply({"choices": [choice], **rest}, 0.5)


def test_text_tokens_and_model_are_read() -> None:
    found = reply({"content": "hi"}, model="m", usage={"prompt_tokens": 5, "completion_tokens": 2})
    assert found == Reply("hi", "hi", "end", 5, 2, 0.5, "m")
    assert reply({"content": "hi"}) == Reply("hi", "hi", "end", None, None, 0.5, None)


@pytest.mark.parametrize(
    ("message", "predicted"),
    [
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}, "ab"),
        ({"content": None, "refusal": "I will not"}, "I will not"),
        (
            {"content": "4", "reasoning_content": " two and two\n"},
            "<think>\ntwo and two\n</think>\n\n4",
        ),
        ({"content": "4", "reasoning": ""}, "4"),
        ({"content": "half a \ud800 character"}, "half a ? character"),
    ],
)
def test_messages_become_one_text(message: Any, predicted: str) -> None:
    assert reply(message).predicted == predicted


def test_a_thought_that_was_cut_is_not_closed_for_the_model() -> None:
    cut = {"content": None, "reasoning_content": "two and"}
    assert reply(cut, "length").predicted == "<think>\ntwo and"
    assert reply({**cut, "content": "4"}, "length").predicted == "<think>\ntwo and\n</think>\n\n4"
    assert reply(cut).predicted == "<think>\ntwo and\n</think>\n\n"


def test_calls_are_kept_as_the_message_of_the_protocol() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    found = reply({"content": None, "tool_calls": calls}, "tool_calls")
    assert found.stopped_by == "tool_calls"
    assert json.loads(found.predicted or "") == {"content": "", "tool_calls": calls}
    old = reply({"content": None, "function_call": {"name": "f", "arguments": "{}"}})
    assert json.loads(old.predicted or "")["tool_calls"][0]["function"]["name"] == "f"


def test_why_an_answer_ended_is_in_one_word() -> None:
    said = {"content": "x"}
    ends = ["stop", "length", "tool_calls", None, "eos", "weird"]
    found = [reply(said, one).stopped_by for one in ends]
    assert found == ["end", "length", "tool_calls", "end", "end", "weird"]


def test_names_that_a_server_gives_can_be_shown() -> None:
    found = reply({"content": "x"}, "\x1b[2J" * 50, model="m\n\x1b[31m" * 99)
    assert "\x1b" not in f"{found.model}{found.stopped_by}"
    assert (len(found.model or ""), len(found.stopped_by)) == (200, 40)


def test_what_a_filter_took_away_is_no_answer_and_neither_is_nothing() -> None:
    filtered = reply({"content": "I was go"}, "content_filter")
    assert (filtered.predicted, filtered.raw) == (None, "I was go")
    assert read_reply({"choices": []}, 0).stopped_by == "no_choices"
    gone = read_reply({"choices": [{"finish_reason": "content_filter"}]}, 0)
    assert (gone.predicted, gone.stopped_by) == (None, "content_filter")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": 3}}]},
        {"choices": [{"message": {"content": "", "tool_calls": "x"}}]},
    ],
)
def test_what_is_no_reply_may_be_one_the_next_time(value: Any) -> None:
    with pytest.raises(Ambiguous):
        read_reply(value, 0)


def answered(status: int, value: Any, **headers: str) -> Any:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    response = Response(status, names, content)
    return success_of(response, ENDPOINT, "tok-123", "/chat/completions", ManualClock())


@pytest.mark.parametrize(
    ("status", "error", "word"),
    [
        (400, {"message": "The prompt exceeds the context size"}, "too_long"),
        (400, {"message": "no", "code": "context_length_exceeded"}, "too_long"),
        (413, {"message": "too large"}, "too_long"),
        (400, {"message": "no", "code": "content_filter"}, "content_filter"),
        (422, {"message": "tools: unknown"}, "refused"),
        (200, {"message": "no", "code": 400}, "refused"),
    ],
)
def test_what_is_wrong_with_one_row_gives_up_that_row(status: int, error: Any, word: str) -> None:
    found = answered(status, {"error": error})
    assert isinstance(found, RowRefused)
    assert found.stopped_by == word


@pytest.mark.parametrize(
    ("status", "value", "kind"),
    [
        (401, {"error": {"message": "bad key tok-123"}}, RefusalKind.CREDENTIALS),
        (402, {}, RefusalKind.QUOTA),
        (403, {"detail": "not yours"}, RefusalKind.PERMISSION),
        (404, {"error": "no such model"}, RefusalKind.NOT_FOUND),
        (429, {"error": {"message": "no", "code": "insufficient_quota"}}, RefusalKind.QUOTA),
        (501, {}, RefusalKind.NOT_FOUND),
        (418, b"I am a teapot", RefusalKind.INVALID),
        (200, b"<!doctype html><title>Welcome</title>", RefusalKind.INVALID),
        (302, b"", RefusalKind.INVALID),
    ],
)
def test_what_is_wrong_with_all_rows_stops_with_a_remedy(
    status: int, value: Any, kind: RefusalKind
) -> None:
    with pytest.raises(Refused) as caught:
        answered(status, value, location="https://elsewhere/?t=1")
    assert caught.value.kind == kind
    assert "tok-123" not in str(caught.value)
    assert isinstance(caught.value, NotFound) or caught.value.hint or status in (403, 418)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again_when_the_server_says(status: int) -> None:
    for text, seconds in (("7", 7.0), ("0.5", 0.5), ("soon", None), ("", None)):
        with pytest.raises(Ambiguous) as caught:
            answered(status, b"<html>busy</html>", retry_after=text)
        assert caught.value.retry_after_s == seconds
    date = START.replace(minute=2).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with pytest.raises(Ambiguous) as caught:
        answered(status, {}, retry_after=date)
    assert caught.value.retry_after_s == 120


NAMES = (
    *("choices", "message", "content", "text", "tool_calls", "finish_reason", "error", "code"),
    *("usage", "prompt_tokens", "model", "detail", "type", "reasoning", "role"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.integers(200, 599), st.text(max_size=12))
def test_no_reply_is_a_traceback(value: Any, status: int, header: str) -> None:
    try:
        found = answered(status, value, retry_after=header, location=header)
        if isinstance(found, RowRefused):
            assert found.stopped_by
        else:
            kept = read_reply(found, 0.1)
            assert Reply.from_json(json.loads(as_line(kept.to_json()))) == kept
    except OrchestratorError as error:
        assert error.message  # noqa: PT017 (not the point: nothing else may be raised)


@given(JSON)
def test_a_choice_of_any_form_is_no_traceback(value: Any) -> None:
    try:
        read_reply({"choices": [value]}, 0.1)
        read_reply({"choices": [{"message": value}]}, 0.1)
    except Ambiguous as error:
        assert error.message  # noqa: PT017
