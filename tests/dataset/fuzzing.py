"""Runs the commands on whatever bytes come, and says whether they behaved."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from hypothesis import strategies as st

from orchestrator.cli import run

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"hour": {"type": "integer"}, "label": {"type": "string"}},
                "required": ["hour"],
            },
        },
    }
    for name in ("set_alarm", "stop_alarm")
]
CALL = {"name": "set_alarm", "arguments": {"hour": 6}}
PLAN: dict[str, Any] = {
    "route_plan": ["/math(add)"],
    "route_rationale": "It is a sum.",
    "expected_artifacts": ["a number"],
    "thinking_outline": ["add"],
    "handoff_plan": "none",
    "todo_list": ["add"],
    "difficulty": "introductory",
    "tags": ["sums"],
    "acceptance_criteria": ["it is right"],
    "metrics": {"primary": ["accuracy"], "secondary": []},
}
#: Sound rows of every format.
ROWS: dict[str, list[dict[str, Any]]] = {
    "prompt-completion": [
        {"prompt": "What is the capital of Peru?", "completion": "Lima"},
        {"prompt": "Plan it", "completion": json.dumps(PLAN), "tags": ["a"], "n": 1.5},
    ],
    "chat": [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Wake me at six"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "set_alarm", "arguments": '{"hour": 6}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "done"},
                {"role": "assistant", "content": "It is set.", "reasoning_content": "Done?"},
            ],
            "tools": TOOLS,
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
                {"role": "assistant", "content": "Good morning"},
            ]
        },
    ],
    "instruction": [
        {
            "instruction": "Write a sum.",
            "output": "def add(a, b): return a + b",
            "code": "def add(a, b): return a + b",
            "entry_point": "add",
            "testcase": ["assert add(1, 2) == 3"],
        },
        {"instruction": "Sort it.", "input": "3 1 2", "output": "1 2 3"},
    ],
    "math": [
        {"problem": "1+1?", "generated_solution": "It is 2.", "expected_answer": "2"},
        {"question": "2+2?", "answer": 4},
        {"body": {"messages": [{"role": "user", "content": "3+3?"}]}, "answer": "6"},
    ],
    "tool-calls": [
        {"user_message": "Wake me at six", "tool_calls": [CALL]},
        {"user_message": "Stop it", "tool_calls": '[{"name": "stop_alarm", "args": {"hour": 1}}]'},
    ],
    "routing": [
        {"user_content": "Wake me", "agent_name": "set_alarm", "agent_arguments": '{"hour": 6}'},
        {"user_content": "Stop", "agent_name": "stop_alarm", "agent_arguments": {"hour": 7}},
    ],
    "router-trace": [
        {"user_query": "Add 1 and 2.", **PLAN},
        {"user_query": "Add 3 and 4.", **PLAN, "tags": '["sums"]', "metrics": "{}"},
    ],
}
FORMATS = tuple(ROWS)
#: What rows are packed in: the file's ending, and how its bytes are made of the content.
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": lambda content: zstandard.compress(content),
}


@dataclass(frozen=True)
class Job:
    """Files that a command is run on."""

    format: str = "prompt-completion"
    rows: bytes = b""
    suffix: str = ".jsonl"
    answer: str = "text"
    #: More of the spec's data block.
    more: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    model: str = "meta/llama3_1@llama-3.1-8b-instruct"
    tuning: Mapping[str, Any] = field(default_factory=dict)

    def spec(self) -> bytes:
        """The spec, as JSON, which is YAML too."""
        data = {
            "path": f"rows{self.suffix}",
            "format": self.format,
            "answer": self.answer,
            **self.more,
        }
        spec: dict[str, Any] = {"version": 1, "name": "fuzzed", "base_model": self.model}
        if self.tuning:
            spec["tuning"] = dict(self.tuning)
        return json.dumps({**spec, "data": data}).encode()


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str


def behaved(job: Job, command: str = "check") -> Outcome:
    """Run a command twice on the files; fail unless it ends as it promises, the same both times."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-fuzz-") as name:
        folder = Path(name)
        (folder / f"rows{job.suffix}").write_bytes(job.rows)
        (folder / "spec.yaml").write_bytes(job.spec())
        for file, content in job.files.items():
            (folder / file).write_bytes(content)
        more = ["--offline"] if command == "check" else ["--out", str(folder / "out")]
        arguments = [command, str(folder / "spec.yaml"), "--json", *more]
        first = _outcome(arguments)
        files = _written(folder / "out")
        shutil.rmtree(folder / "out", ignore_errors=True)
        assert _outcome(arguments) == first
        assert _written(folder / "out") == files
    return first


def _written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*")}


def _outcome(arguments: Sequence[str]) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    found = Outcome(code, out.getvalue(), err.getvalue())
    assert code in {0, 1, 2}, f"exit {code}: {_bug(found.err)}"
    assert "Traceback" not in found.out + found.err
    if code == 2 or not found.out:
        assert not found.out
        assert "error: " in found.err
        assert code
    else:
        document = json.loads(found.out)
        errors = [f for f in document.get("findings", []) if f["level"] == "error"]
        assert code == bool(errors)
        for one in errors:
            assert all(example["message"] for example in one["examples"])
    return found


def _bug(said: str) -> str:
    """The log that a message about a bug names, where it can be read."""
    for word in said.split():
        path = Path(word.strip(".,:;'\""))
        if path.suffix in {".log", ".txt"} and path.is_file():
            return path.read_text(errors="replace")[-3000:]
    return said


# ---------------------------------------------------------------------------------- strategies

_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "\u00a0",
            "\ufeff",
            "\x00",
            "\x7f",
            "\ufffd",
            "\u2028",
            "{",
            "{}",
            "[]",
            "[1",
            "null",
            "NaN",
            "set_alarm",
            "<think>",
            "</think>",
            "<think>a</think>{}",
            "user",
            "assistant",
            "system",
            "tool",
            "developer",
            "text",
            "a" * 400,
            '{"a":1,"a":2}',
            '{"hour": 1e999}',
            '[{"name": "set_alarm", "arguments": "{\\"hour\\": 6}"}]',
            '[{"type":"function","function":{"name":"f","parameters":{"type":"objekt"}}}]',
            "[" * 300 + "]" * 300,
            json.dumps(PLAN),
            "me@example.com, +44 20 7946 0018",
            "{{ messages }}{% if %}",
        ]
    ),
)
_NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40]),
    st.floats(allow_nan=False, allow_infinity=False),
)
_KEYS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        [
            *("role", "content", "tool_calls", "function", "name", "arguments", "args", "type"),
            *("text", "tools", "messages", "parameters", "properties", "required", "items"),
            *("$ref", "enum", "id", "tool_call_id", "thinking", "tags", "difficulty", "answer"),
        ]
    ),
)
#: JSON of any shape.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, value: Any, times: int = 2) -> Any:
    """The value with something in it taken away, put in another's place, or added."""
    for _ in range(draw(st.integers(1, times))):
        box = [copy.deepcopy(value)]
        at: Any = box
        key: Any = 0
        while isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 4)):
            at = at[key]
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        doing = draw(st.sampled_from(["put", "take", "add", "double"]))
        if doing == "take" and at is not box:
            del at[key]
        elif doing == "add" and isinstance(at[key], dict):
            at[key][draw(_KEYS)] = draw(VALUES)
        elif doing == "add" and isinstance(at[key], list):
            at[key].append(draw(VALUES))
        elif doing == "double" and isinstance(at[key], list) and at[key]:
            at[key].append(at[key][0])
        else:
            at[key] = draw(VALUES)
        value = box[0]
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with some of them flipped, cut out, written twice, or others put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(found)))
        end = min(len(found), at + draw(st.integers(0, 40)))
        doing = draw(st.sampled_from(["flip", "cut", "twice", "insert", "end"]))
        if doing == "flip" and at < len(found):
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif doing == "cut":
            del found[at:end]
        elif doing == "twice":
            found[at:at] = found[at:end]
        elif doing == "insert":
            found[at:at] = draw(_PIECES)
        else:
            del found[end:]
    return bytes(found)


_PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [
            *(b"\n", b"\r\n", b"\r", b'"', b"\\", b"\\u0000", b"\\ud83d", b"\xef\xbb\xbf", b"\x00"),
            *(b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 30, b"{}", b"[", b"]", b",", b":"),
            *(b"\xff\xfe", b"\xed\xa0\x80", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"PAR1"),
            *(b"[" * 200, b'{"a":' * 200, b"\xe2\x80\xa8", b"true", b"null", b"//", b"#", b";"),
        ]
    ),
)


def with_tools(form: str, rows: bytes, suffix: str = ".jsonl", answer: str = "text") -> Job:
    """Rows of a format whose spec names a sound file of tools."""
    more, files = {"tools": "tools.json"}, {"tools.json": json.dumps(TOOLS).encode()}
    return Job(form, rows, suffix, answer, more, files)


def jsonl(rows: Sequence[Any]) -> bytes:
    """Rows as lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
