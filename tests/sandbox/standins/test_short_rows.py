"""Rows of tool calls in the short form that a stand-in without tools is given."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InputError
from orchestrator.sandbox.standins.short_rows import has_calls, read_short_rows, shorten

JOBS = Path(__file__).parents[3] / "jobs" / "functiongemma"
#: What the arguments of the demo's rows may be: a word of its own would be no label to learn.
LABELS = {
    "technical_support_agent": {
        "issue_type": (
            *("crash", "authentication", "performance", "api_error", "integration"),
            *("sync", "display"),
        ),
        "priority": ("low", "medium", "high"),
    },
    "billing_agent": {
        "request_type": (
            *("refund", "invoice", "upgrade", "cancellation", "payment_method", "dispute"),
        ),
        "urgency": ("low", "medium", "high"),
    },
    "product_info_agent": {
        "query_type": ("features", "comparison", "limits", "integrations", "compliance"),
        "category": ("plans", "storage", "mobile", "security", "api", "sharing"),
    },
}


def _row(**changes: Any) -> dict[str, Any]:
    call = {"name": "billing_agent", "arguments": {"request_type": "refund"}}
    return {
        "prompt": [
            {"role": "developer", "content": "You can call functions."},
            {"role": "user", "content": "Geld zurück, bitte."},
        ],
        "completion": [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": call}],
            }
        ],
        "tools": [{"type": "function", "function": {"name": "billing_agent"}}],
        **changes,
    }


def _file(folder: Path, *rows: object) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def test_a_short_row_keeps_question_agent_and_arguments_and_drops_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "short.jsonl"
    assert shorten(_file(tmp_path, _row(), _row()), target, "Route it.") == 2
    short = json.loads(target.read_text(encoding="utf-8").splitlines()[0])
    assert short["prompt"] == [
        {"role": "system", "content": "Route it."},
        {"role": "user", "content": "Geld zurück, bitte."},
    ]
    (answer,) = short["completion"]
    assert json.loads(answer["content"]) == {
        "agent": "billing_agent",
        "arguments": {"request_type": "refund"},
    }
    assert set(short) == {"prompt", "completion"}


def test_arguments_as_text_and_rows_of_messages_are_read_too(tmp_path: Path) -> None:
    row = _row()
    row["completion"][0]["tool_calls"][0]["function"]["arguments"] = '{"request_type": "refund"}'
    messages = {"messages": [*row["prompt"], *row["completion"]]}
    one, other = read_short_rows(_file(tmp_path, row, messages))
    assert one == other
    assert one.arguments == {"request_type": "refund"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "completion": "4"},
        _row(completion=[{"role": "assistant", "content": "no call"}]),
        _row(completion=[{"role": "assistant", "tool_calls": []}]),
        _row(prompt=[{"role": "developer", "content": "nobody asks"}]),
        _row(completion=[{"role": "assistant", "tool_calls": [{"function": "billing"}]}]),
        _row(completion=[{"role": "assistant", "tool_calls": ["billing"]}]),
        ["a list"],
    ],
)
def test_a_row_without_one_call_is_named(tmp_path: Path, row: object) -> None:
    file = _file(tmp_path, _row(), row)
    with pytest.raises(InputError, match=r"rows\.jsonl:2: is not a question"):
        read_short_rows(file)
    assert not has_calls(_file(tmp_path, row))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = _file(tmp_path, _row())
    file.write_text(file.read_text(encoding="utf-8") + "\n{oops\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"rows\.jsonl:3: is not JSON"):
        read_short_rows(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_short_rows(tmp_path / "none.jsonl")


def _demo_rows() -> list[dict[str, Any]]:
    lines = (JOBS / "support-router.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_demos_rows_are_many_and_balanced() -> None:
    rows = _demo_rows()
    counts = Counter(row["agent_name"] for row in rows)
    assert len(rows) >= 300  # a fifth of them is held out: at least 60
    assert len({row["user_content"].casefold() for row in rows}) == len(rows)
    assert max(counts.values()) < 0.4 * len(rows)


def test_the_demos_rows_use_the_labels_that_its_tools_name() -> None:
    for row in _demo_rows():
        labels, given = LABELS[row["agent_name"]], json.loads(row["agent_arguments"])
        assert given.keys() == labels.keys(), row
        assert all(value in labels[name] for name, value in given.items()), row
    tools = json.loads((JOBS / "support-router.tools.json").read_text(encoding="utf-8"))
    for tool in tools:
        function = tool["function"]
        for name, values in LABELS[function["name"]].items():
            told = function["parameters"]["properties"][name]["description"]
            assert all(value in told for value in values), (name, told)
