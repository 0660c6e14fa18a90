"""Endpoints and how they are asked: addresses, tokens and fields that must not be used."""

from __future__ import annotations

import pytest

from orchestrator.answering.endpoint import Asking, Endpoint, token_of
from orchestrator.answering.questions import Question, protocol_turns
from orchestrator.answering.served import same_model
from orchestrator.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "https://host/v1",
        "https://host:8443/v1/projects/p/locations/l/endpoints/e",
        "http://127.0.0.1:8000/v1",
        "http://localhost/v1",
        "http://[::1]:9/v1",
    ],
)
def test_an_address_of_https_or_of_this_machine_is_taken(address: str) -> None:
    assert Endpoint(f"{address}/", "m").base_url == address


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("http://host/v1", "is not encrypted"),
        ("http://127.0.0.1.evil.example/v1", "is not encrypted"),
        ("ftp://host/v1", "no address of http"),
        ("host/v1", "no address of http"),
        ("https://", "no address of http"),
        ("https://host:99999/v1", "no address"),
        ("https://host/v1 ", "no address of http"),
        ("https://host/v1?key=1", "ends in a query"),
        ("https://host/v1#part", "ends in a query"),
        ("https://host/v1/chat/completions", "leads to one of the endpoint's paths"),
        ("https://secret@host/v1", "before its @"),
    ],
)
def test_any_other_address_is_refused_with_what_is_wrong(address: str, wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint(address, "m")
    assert wrong.replace("no address", "not an address") in caught.value.message
    assert caught.value.hint
    assert "secret" not in str(caught.value)
    assert "key=1" not in str(caught.value)


def test_an_endpoint_needs_a_model_and_sensible_numbers() -> None:
    with pytest.raises(InputError, match="no model is named"):
        Endpoint("https://host/v1", " ")
    for wrong in (0, 65, True):
        with pytest.raises(InputError, match="concurrency"):
            Endpoint("https://host/v1", "m", concurrency=wrong)
    with pytest.raises(InputError, match="timeout_s"):
        Endpoint("https://host/v1", "m", timeout_s=float("nan"))


def test_a_token_is_given_by_the_name_of_its_variable_and_shown_nowhere() -> None:
    endpoint = Endpoint("https://host/v1", "m", token_variable="MY_TOKEN")
    assert token_of(endpoint, {"MY_TOKEN": " abc123\n"}) == "abc123"
    assert token_of(Endpoint("https://host/v1", "m"), {}) is None
    with pytest.raises(InputError) as missing:
        token_of(endpoint, {"MY_TOKEN": ""})
    assert "MY_TOKEN" in missing.value.hint
    with pytest.raises(InputError) as broken:
        token_of(endpoint, {"MY_TOKEN": "abc\ndef"})
    assert "abc" not in str(broken.value)
    with pytest.raises(InputError) as itself:
        Endpoint("https://host/v1", "m", token_variable="sk-secret")
    assert "sk-secret" not in str(itself.value)


def test_further_fields_add_to_a_request_replace_and_leave_out() -> None:
    asking = Asking(
        stop=("\n",), extra={"max_tokens": None, "max_completion_tokens": 9, "top_k": 1}
    )
    assert asking.fields() == {
        "temperature": 0.0,
        "seed": 0,
        "stop": ["\n"],
        "max_completion_tokens": 9,
        "top_k": 1,
    }
    with pytest.raises(InputError, match="messages, model"):
        Asking(extra={"model": "other", "messages": []})
    with pytest.raises(InputError, match="stop"):
        Asking(stop=("",))


def test_calls_of_rows_become_calls_of_the_protocol_with_ids_that_tie_replies() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "ü": "x"}}}
    other = {"type": "function", "function": {"name": "sub", "arguments": '{"a":2}'}}
    turns = protocol_turns(
        [
            {"role": "developer", "content": "d"},
            {"role": "model", "content": None, "tool_calls": [call, other], "thinking": "hm"},
            {"role": "tool", "name": "sub", "content": "2"},
            {"role": "tool", "name": "add", "content": "1"},
            {"role": "assistant", "content": None},
        ]
    )
    calls = turns[1]["tool_calls"]
    assert [one["id"] for one in calls] == ["call_0", "call_1"]
    assert calls[0]["function"] == {"name": "add", "arguments": '{"a": 1, "ü": "x"}'}
    assert calls[1]["function"]["arguments"] == '{"a":2}'
    assert [turn["role"] for turn in turns] == [
        "developer",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert [turn.get("tool_call_id") for turn in turns[2:4]] == ["call_1", "call_0"]
    assert turns[4]["content"] == ""
    assert "thinking" not in turns[1]


def test_the_digest_of_a_request_tells_apart_what_may_be_answered_differently() -> None:
    here = Endpoint("https://host/v1", "m", concurrency=2)
    turns = [{"role": "user", "content": "hi"}]
    tool = {"name": "add", "parameters": {}}
    requests = [
        Question(turns).request(here, Asking()),
        Question("hi").request(here, Asking()),
        Question("hi").request(here, Asking(max_tokens=9)),
        Question("hi").request(here, Asking(extra={"top_k": 1})),
        Question(turns, (tool,)).request(here, Asking()),
        Question(turns).request(Endpoint("https://host/v2", "m"), Asking()),
        Question(turns).request(Endpoint("https://host/v1", "n"), Asking()),
    ]
    assert len({one.key for one in requests}) == len(requests)
    patient = Endpoint("https://host/v1/", "m", concurrency=9, timeout_s=3, token_variable="T")
    assert Question(turns).request(patient, Asking()).key == requests[0].key
    assert requests[4].body["tools"] == [{"type": "function", "function": tool}]
    # A text as a chat is the same request as the chat.
    assert Question("hi").request(here, Asking(texts="chat")).key == requests[0].key


@pytest.mark.parametrize(
    ("asked", "named", "same"),
    [
        ("m", "m", True),
        ("Org/Model", "org/model", True),
        ("gemini-9", "models/gemini-9", True),
        ("org/model", "model", True),
        ("gpt-x", "gpt-x-2026-01-31", True),
        ("gpt-x-latest", "gpt-x-2601", True),
        ("gemini", "gemini@001", True),
        ("org/model", "org/model@main", True),
        ("org/model:cerebras", "org/model", True),
        ("org/model:1b", "org/model:1b", True),
        ("gpt-x-2601", "gpt-x-2507", False),
        ("gpt-x-2601", "gpt-x", False),
        ("a/model", "b/model", False),
        ("gemma-1b", "gemma-1b-it", False),
        ("base", "tuned", False),
        ("del", "model", False),
    ],
)
def test_which_names_are_the_same_model(asked: str, named: str, same: bool) -> None:
    assert same_model(asked, named) is same
