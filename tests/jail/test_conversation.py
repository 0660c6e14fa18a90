"""What is believed of a program's words, and when."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jail.conversation import Conversation
from orchestrator.jail.verdicts import Verdict


def conversation(*said: bytes, tests: str = "import math\nassert f()") -> Conversation:
    talk = Conversation("def f(): ...", tests, {"cpu_s": 5})
    for one in said:
        talk.hear(one)
    return talk


def word_of(sent: bytes) -> bytes:
    return sent[8:40]


def test_the_tests_and_the_word_are_sent_when_the_program_has_run() -> None:
    talk = conversation()
    job = talk.hear(b"ready\n")
    assert int.from_bytes(job[:8], "big") == len(job) - 8
    assert json.loads(job[8:]) == {
        "program": "def f(): ...",
        "scripted": False,
        "imports": ["math"],
        "limits": {"cpu_s": 5},
    }
    assert talk.hear(b"compiled\n") == b""
    sent = talk.hear(b"defined\n")
    assert sent[40:] == b"import math\nassert f()"
    assert word_of(sent) not in job
    assert talk.verdict is None
    talk.hear(b"passed " + word_of(sent) + b"\n")
    assert talk.verdict is Verdict.PASSED


def test_every_conversation_has_a_word_of_its_own() -> None:
    words = set()
    for _ in range(20):
        talk = conversation(b"ready\n", b"compiled\n")
        words.add(word_of(talk.hear(b"defined\n")))
    assert len(words) == 20
    assert {len(word) for word in words} == {32}


@pytest.mark.parametrize(
    "said",
    [
        [b"passed\n"],
        [b"ready\n", b"passed " + b"0" * 32 + b"\n"],
        [b"ready\n", b"compiled\n", b"passed " + b"0" * 32 + b"\n"],
        [b"ready\n", b"compiled\n", b"defined\n", b"passed\n"],
        [b"ready\n", b"compiled\n", b"defined\n", b"passed " + b"0" * 32 + b"\n"],
        [b"ready\n", b"compiled\n", b"defined\n", b"defined\n"],
        [b"ready\n", b"defined\n"],
        [b"ready\n", b"compiled\n", b"exit\n"],
        [b"ready\n", b"compiled\n", b"x" * 5000],
    ],
)
def test_what_is_out_of_turn_ends_it(said: list[bytes]) -> None:
    assert conversation(*said).verdict is Verdict.ENDED_EARLY


@given(st.binary(max_size=200))
def test_no_noise_is_a_pass(noise: bytes) -> None:
    for said in ([], [b"ready\n"], [b"ready\n", b"compiled\n"]):
        talk = conversation(*said, noise, b"\n")
        assert talk.verdict is not Verdict.PASSED
    talk = conversation(b"ready\n", b"compiled\n", b"defined\n", noise, b"\n")
    assert talk.verdict is not Verdict.PASSED


@pytest.mark.parametrize(
    ("name", "verdict", "exception"),
    [
        (b"AssertionError", Verdict.ASSERTION, ""),
        (b"KeyError", Verdict.RAISED, "KeyError"),
        (b"a customer's name", Verdict.RAISED, ""),
        (b"print", Verdict.RAISED, ""),
        (b"\xff", Verdict.RAISED, ""),
    ],
)
def test_only_pythons_own_names_of_exceptions_are_passed_on(
    name: bytes, verdict: Verdict, exception: str
) -> None:
    talk = conversation(b"ready\n", b"compiled\n", b"raised " + name + b"\n")
    assert (talk.verdict, talk.exception) == (verdict, exception)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, Verdict.ENDED_EARLY),
        (1, Verdict.ENDED_EARLY),
        (128 + signal.SIGKILL, Verdict.KILLED),
        (128 + signal.SIGSEGV, Verdict.KILLED),
        (-signal.SIGKILL, Verdict.KILLED),
        (128 + signal.SIGXCPU, Verdict.TIMEOUT),
    ],
)
def test_an_end_without_a_word_is_told_by_the_exit_code(code: int, verdict: Verdict) -> None:
    talk = conversation(b"ready\n", b"compiled\n")
    talk.ended(code)
    assert talk.verdict is verdict


def test_a_program_is_readable_when_it_was_said_so_in_its_turn() -> None:
    assert not conversation().begun
    assert conversation(b"ready\n").begun
    assert not conversation(b"ready\n").compiled
    assert conversation(b"ready\n", b"compiled\n").compiled
    assert not conversation(b"ready\n", b"unreadable\n").compiled


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("import math, os.path as p\nassert 1", ["math", "os.path"]),
        ("from unittest import mock\n  import re", ["unittest", "re"]),
        ("from . import x\nimportant = 1\nimport\n", []),
        ("assert 'import math'", []),
    ],
)
def test_the_modules_that_tests_import_are_named(tests: str, names: list[str]) -> None:
    job = conversation(tests=tests).hear(b"ready\n")
    assert json.loads(job[8:])["imports"] == names
