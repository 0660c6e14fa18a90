"""Whatever stands in a file of rows: findings or one message, never a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataset.fuzzing import (
    FORMATS,
    PACKED,
    ROWS,
    VALUES,
    Job,
    behaved,
    changed,
    damaged,
    jsonl,
    with_tools,
)

#: More examples for a run by hand: ORCHESTRATOR_FUZZ=100 multiplies their numbers.
MORE = int(os.environ.get("ORCHESTRATOR_FUZZ", "1"))
SUFFIXES = [".jsonl", ".json", ".csv", ".tsv", ".parquet"]


def table(rows: list[Any], delimiter: str) -> bytes:
    """Rows as a table; what is not a text is JSON in its cell."""
    out = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        cells = row.values() if isinstance(row, dict) else [row]
        writer.writerow(c if isinstance(c, str) else json.dumps(c) for c in cells)
    return out.getvalue().encode("utf-8", "surrogatepass")


def file_of(rows: list[Any], suffix: str) -> bytes:
    if suffix == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False).encode()
    if suffix in {".csv", ".tsv"}:
        return table(rows, "," if suffix == ".csv" else "\t")
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(
            pa.Table.from_pylist([{k: json.dumps(v) for k, v in r.items()} for r in rows]), out
        )
        return out.getvalue()
    return jsonl(rows)


@pytest.mark.parametrize("form", FORMATS)
def test_the_rows_that_are_changed_here_are_sound(form: str) -> None:
    rows = ROWS[form] if form != "router-trace" else ROWS[form][:1]
    found = behaved(with_tools(form, jsonl(rows)))
    assert found.code == 0, found.out


@settings(max_examples=40 * MORE)
@given(
    form=st.sampled_from(FORMATS),
    content=st.binary(max_size=200),
    suffix=st.sampled_from([s + p for s in SUFFIXES for p in ("", ".gz", ".zst")]),
)
def test_arbitrary_bytes(form: str, content: bytes, suffix: str) -> None:
    behaved(with_tools(form, content, suffix))


@settings(max_examples=80 * MORE)
@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    suffix = data.draw(st.sampled_from(SUFFIXES))
    packed = data.draw(st.sampled_from(list(PACKED)))
    before = file_of(ROWS[form], suffix)
    inside = data.draw(st.booleans())
    content = data.draw(damaged(before)) if inside else before
    content = PACKED[packed](content)
    content = content if inside else data.draw(damaged(content))
    behaved(with_tools(form, content, suffix + packed))


@settings(max_examples=120 * MORE)
@given(st.data())
def test_rows_of_other_shapes(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    rows = [data.draw(changed(row)) for row in ROWS[form]]
    answer = data.draw(st.sampled_from(["text", "route-plan"]))
    behaved(with_tools(form, jsonl(rows), answer=answer))


@settings(max_examples=30 * MORE)
@given(
    form=st.sampled_from(FORMATS),
    rows=st.lists(VALUES, max_size=4),
    suffix=st.sampled_from([".jsonl", ".json"]),
)
def test_json_of_any_shape(form: str, rows: list[Any], suffix: str) -> None:
    behaved(Job(form, file_of(rows, suffix), suffix))


@settings(max_examples=40 * MORE)
@given(st.data())
def test_prepared_rows_of_other_shapes(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMATS))
    rows = ROWS[form] + [data.draw(changed(row)) for row in ROWS[form]]
    behaved(with_tools(form, jsonl(rows)), "prepare")
