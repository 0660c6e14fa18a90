"""Answers that were paid for: kept line by line as they come, found by the request's digest."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from orchestrator.answering.replies import Reply, as_line
from orchestrator.errors import InputError


class AnswerCache:
    """A JSONL file {"key", "reply"}; None as the file keeps answers only while it lives.

    Each answer is on the disk before the next question of the same thread is asked. A line that
    was cut by a crash, or that somebody broke, is passed over: its question is asked again.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._replies: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self.broken_lines = 0
        if file is not None and file.exists():
            self._read(file)

    def _read(self, file: Path) -> None:
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        for line in filter(None, lines):
            try:
                kept = json.loads(line)
                self._replies[str(kept["key"])] = Reply.from_json(kept["reply"])
            except (ValueError, TypeError, KeyError, RecursionError):
                self.broken_lines += 1

    def get(self, key: str) -> Reply | None:
        """The answer to a request, if it was answered before."""
        return self._replies.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Keep an answer; it is on the disk when this returns. Threads may call it at once."""
        with self._lock:
            self._replies[key] = reply
            self._append(as_line({"key": key, "reply": reply.to_json()}).encode())

    def check_writable(self) -> None:
        """Raise `InputError` if answers could not be kept, before any is paid for."""
        with self._lock:
            self._append(b"")

    def _append(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            _append(self._file, line)
        except OSError as error:
            raise InputError(
                f"{self._file}: cannot be written: {error.strerror}",
                hint="Answers are paid for, so none is asked for that cannot be kept.",
            ) from error


def _append(file: Path, line: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Rows of somebody may be in it: for nobody else's eyes.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        if line and stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line)
        os.fsync(stream.fileno())
