"""Rows of a suite from a dataset on the Hub: the real client, the sandbox's Hub, Parquet files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.suites.catalog import suite_named
from orchestrator.suites.reading import read_suite
from tests.fetching_bench import add_dataset, fetcher_for, hub_bench, settings_for
from tests.suites import samples

pyarrow = pytest.importorskip("pyarrow")


def parquet(*rows: dict[str, Any]) -> bytes:
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), stream)
    return stream.getvalue()


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def test_rows_are_fetched_by_commit_and_kept_for_offline_use(tmp_path: Path) -> None:
    other = {**samples.MATH, "type": "Geometry"}
    files = {
        "algebra/test-00000-of-00001.parquet": parquet(samples.MATH),
        "geometry/test-00000-of-00001.parquet": parquet(other),
        "algebra/train-00000-of-00001.parquet": parquet(samples.MATH, samples.MATH),
        "aqua.parquet": parquet(samples.AQUA),
        "bfcl/simple.json": jsonl(samples.BFCL),
        "bfcl/possible_answer/simple.json": jsonl(samples.BFCL_ANSWER),
    }
    with hub_bench() as bench:
        bench.open(tmp_path / "hub")
        commit = add_dataset(bench.api(), files)
        settings = settings_for(tmp_path / "home", hub_endpoint=bench.url, hub_token="hf_alice")
        fetcher, base = fetcher_for(settings), f"hf://datasets/alice/rows@{commit}"
        pattern = suite_named("math").address
        assert pattern is not None
        source = f"{base}/{pattern.partition('@')[2].partition('/')[2]}"
        found = read_suite(suite_named("math"), source, fetcher)
        assert [row.slices["subject"] for row in found.rows] == ["Prealgebra", "Geometry"]
        assert [row.id for row in found.rows] == ["math-0", "math-1"]
        (aqua,) = read_suite(suite_named("aqua"), f"{base}/aqua.parquet", fetcher).rows
        assert aqua.expected == "A"
        # Without a commit the newest is taken, and named.
        called = read_suite(
            suite_named("bfcl"), "hf://datasets/alice/rows/bfcl/simple.json", fetcher
        )
        assert called.files == (f"hf://datasets/alice/rows@{commit[:7]}/bfcl/simple.json",)
        bench.requests.clear()
        assert read_suite(suite_named("math"), source, fetcher) == found
        assert bench.requests == []
