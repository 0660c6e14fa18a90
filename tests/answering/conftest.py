"""A fake server for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.answering.server import FakeServer, serving


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as one:
        yield one
