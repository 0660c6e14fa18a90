"""Taking multipart bodies apart."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandbox.storage.multipart import (
    FileBody,
    MultipartError,
    Part,
    boundary_of,
    split_related,
)


def _body(
    metadata: bytes, content: bytes, boundary: bytes, line_end: bytes, preamble: bytes = b""
) -> bytes:
    return preamble + line_end.join(
        [
            b"--" + boundary,
            b"Content-Type: application/json; charset=UTF-8",
            b"",
            metadata,
            b"--" + boundary,
            b"content-type: text/plain",
            b"",
            content,
            b"--" + boundary + b"--",
            b"",
        ]
    )


def _cut(body: bytes, part: Part) -> bytes:
    return body[part.start : part.end]


# An alphabet in which line ends and pieces of the boundary are frequent.
_pieces = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"--b", b"\r\n--b", b"\n--bound", b"a", b"\0"]),
    max_size=12,
).map(b"".join)


@given(
    content=_pieces,
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    preamble=st.sampled_from([b"", b"\r\n", b"ignored\n"]),
)
def test_content_comes_out_as_it_went_in(content: bytes, line_end: bytes, preamble: bytes) -> None:
    body = _body(b'{"name": "x"}', content, b"boundary", line_end, preamble)
    about, data = split_related(body, b"boundary")
    assert _cut(body, about) == b'{"name": "x"}'
    assert _cut(body, data) == content
    assert data.content_type == "text/plain"


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) - 60, 1 << 20, (2 << 20) + 7])
@pytest.mark.parametrize("shift", range(3))
def test_a_file_is_split_like_bytes_wherever_its_windows_end(size_bytes: int, shift: int) -> None:
    content = b"\r\n--bound" * (size_bytes // 9) + b"x" * (size_bytes % 9 + shift)
    body = _body(b"{}", content, b"boundary", b"\r\n")
    expected = split_related(body, b"boundary")
    assert _cut(body, expected[1]) == content
    assert split_related(FileBody(io.BytesIO(body), len(body)), b"boundary") == expected


def test_a_delimiter_is_found_across_the_end_of_a_window() -> None:
    for at in range((1 << 20) - 12, (1 << 20) + 12):
        body = bytes(at) + b"delimiter" + bytes(100)
        assert FileBody(io.BytesIO(body), len(body)).find(b"delimiter", 0) == at
        assert FileBody(io.BytesIO(body), len(body)).find(b"delimiter", at + 1) == -1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b\r\n\r\n{}\r\n--b--\r\n",
        b"--b\r\n\r\n{}\r\n--b\r\n\r\ncontent without an end",
        b"--b\r\n\r\n{}\r\n--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--",
        b"--b\r\nheader: without an empty line\r\n--b\r\n\r\nx\r\n--b--",
    ],
)
def test_a_malformed_body_is_refused(body: bytes) -> None:
    with pytest.raises(MultipartError):
        split_related(body, b"b")


def test_the_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/related; boundary="==12=="') == b"==12=="
    assert boundary_of("multipart/related; boundary=ab") == b"ab"
    with pytest.raises(MultipartError):
        boundary_of("multipart/form-data; boundary=ab")
