"""Filters of job lists, in the part of AIP-160 that Vertex AI documents for its jobs.

Fields: labels, state, create_time, tuned_model_display_name. OR binds tighter than AND.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NoReturn

from google.cloud.aiplatform_v1beta1.types import JobState

from orchestrator.sandbox.vertex.jobs import instant
from orchestrator.sandbox.vertex.refusals import invalid

#: Whether a job (its plain message) is wanted.
JobTest = Callable[[Any], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign><=|>=|!=|[=<>:().])
      | (?P<word>[^\s"'()<>=!:.]+)
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_DEEPEST = 50


def job_test(text: str) -> JobTest:
    """The test that a filter describes; refuses what is not documented."""
    if not text.strip():
        return lambda _job: True
    parser = _Parser(text)
    test = parser.conjunction(0)
    if parser.ahead is not None:
        parser.fail()
    return test


class _Parser:
    """Reads a filter from left to right; `ahead` is the next token, with its quotes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0

    @property
    def ahead(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def fail(self) -> NoReturn:
        where = self.ahead or "its end"
        raise invalid("filter", f"Cannot parse the filter {self._text!r} at {where}.")

    def conjunction(self, depth: int) -> JobTest:
        """Terms joined by AND, or by nothing at all."""
        if depth > _DEEPEST:
            self.fail()
        tests = [self._disjunction(depth)]
        while self.ahead not in (None, ")"):
            self._skip("AND")
            tests.append(self._disjunction(depth))
        return lambda job: all(test(job) for test in tests)

    def _disjunction(self, depth: int) -> JobTest:
        tests = [self._term(depth)]
        while self._skip("OR"):
            tests.append(self._term(depth))
        return lambda job: any(test(job) for test in tests)

    def _term(self, depth: int) -> JobTest:
        if self._skip("NOT"):
            test = self._simple(depth)
            return lambda job: not test(job)
        return self._simple(depth)

    def _simple(self, depth: int) -> JobTest:
        if self._skip("("):
            test = self.conjunction(depth + 1)
            if not self._skip(")"):
                self.fail()
            return test
        field = self._take()
        if field == "labels":
            return self._label()
        comparison = self._take()
        value = self._value()
        if field == "state":
            return _state(comparison, value) or self.fail()
        if field in ("create_time", "createTime"):
            return _created(comparison, value) or self.fail()
        if field in ("tuned_model_display_name", "tunedModelDisplayName"):
            return _display_name(comparison, value) or self.fail()
        raise invalid("filter", f"Jobs are not filtered by {field}.")

    def _label(self) -> JobTest:
        """labels.KEY=VALUE, labels.KEY:*, labels:KEY."""
        if self._skip(":"):
            present = self._value()
            return lambda job: present in job.labels
        if not self._skip("."):
            self.fail()
        key, comparison, value = self._value(), self._take(), self._value()
        # Labels have no other comparisons; `:` asks for presence, or for the value.
        if comparison not in ("=", ":"):
            self.fail()
        if comparison == ":" and value == "*":
            return lambda job: key in job.labels
        return lambda job: key in job.labels and job.labels[key] == value

    def _skip(self, token: str) -> bool:
        if self.ahead != token:
            return False
        self._place += 1
        return True

    def _take(self) -> str:
        if self.ahead is None:
            self.fail()
        token = self.ahead
        self._place += 1
        return token

    def _value(self) -> str:
        """A word, or a text without its quotes."""
        token = self.ahead
        if token is None or _TOKEN.fullmatch(token)["sign"]:  # type: ignore[index]  # it is a token
            self.fail()
        self._place += 1
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise invalid("filter", f"Cannot parse the filter at {text[place:].strip()!r}.")
        found.append(match[0].strip())
        place = match.end()
    return found


def _state(comparison: str, value: str) -> JobTest | None:
    if comparison not in ("=", "!=") or value not in JobState.__members__:
        return None
    compare, number = _COMPARISONS[comparison], int(JobState[value])
    return lambda job: compare(job.state, number)


def _created(comparison: str, value: str) -> JobTest | None:
    try:
        wanted = datetime.fromisoformat(value)
    except ValueError:
        return None
    if comparison not in _COMPARISONS or wanted.tzinfo is None:
        return None
    compare = _COMPARISONS[comparison]
    return lambda job: compare(instant(job.create_time), wanted)


def _display_name(comparison: str, value: str) -> JobTest | None:
    if comparison == ":":
        # Only the asterisk is a wildcard.
        pattern = value.replace("[", "[[]").replace("?", "[?]")
        return lambda job: fnmatchcase(job.tuned_model_display_name, pattern)
    if comparison not in ("=", "!="):
        return None
    compare = _COMPARISONS[comparison]
    return lambda job: compare(job.tuned_model_display_name, value)
