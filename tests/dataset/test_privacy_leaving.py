"""What is private in files that are about to leave is found where it stands, and shown masked."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from orchestrator.dataset.privacy.leaving import private_in_files, private_in_text
from orchestrator.errors import InputError

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3f"


def found(folder: Path, *rows: object) -> list[str]:
    file = folder / "rows.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return [str(one) for one in private_in_files({"data/train.jsonl": file})]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "write to jane.doe@acme.io", "completion": "ok"},
        {"messages": [{"role": "user", "content": "jane.doe@acme.io"}]},
        {"tools": [{"function": {"description": "as jane.doe@acme.io asked"}}]},
        {"completion": [{"tool_calls": [{"function": {"arguments": {"jane.doe@acme.io": 1}}}]}]},
        {"completion": '{"to": "jane.doe@acme.io"}'},
    ],
)
def test_it_is_found_in_every_text_of_a_row(tmp_path: Path, row: object) -> None:
    (told,) = found(tmp_path, {"prompt": "p", "completion": "c"}, row)
    assert told.startswith("data/train.jsonl:2: e-mail address j…@…")
    assert "jane" not in told
    assert "acme" not in told


def test_keys_and_numbers_count_and_examples_do_not(tmp_path: Path) -> None:
    told = found(
        tmp_path,
        {"prompt": f"my token is {TOKEN}", "completion": "call +49 30 901820"},
        {"prompt": "someone@example.com", "completion": "[EMAIL] and [SECRET]"},
    )
    assert [one.partition(": ")[0] for one in told] == ["data/train.jsonl:1"] * 2
    assert not any(TOKEN[6:] in one for one in told)


def test_a_long_text_that_comes_again_counts_where_it_is_private(tmp_path: Path) -> None:
    long = "x " * 200
    assert found(tmp_path, *[{"a": long}] * 3) == []
    assert len(found(tmp_path, *[{"a": f"{long} jane.doe@acme.io"}] * 3)) == 3


def test_a_line_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"a": 1}\n\n{"a"\n')
    with pytest.raises(InputError, match=r"data/x\.jsonl:3"):
        list(private_in_files({"data/x.jsonl": tmp_path / "x"}))


def test_other_texts_are_searched_as_a_whole() -> None:
    (told,) = private_in_text("summary.json", '{"tags": [{"name": "jane.doe@acme.io"}]}')
    assert str(told).startswith("summary.json: e-mail address")
    assert list(private_in_text("summary.json", "no")) == []
