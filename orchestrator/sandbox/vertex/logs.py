"""The log of a training, as its machine uploads it while it runs."""

from __future__ import annotations

import math
from pathlib import Path

from orchestrator.sandbox.standins.layout import STDOUT
from orchestrator.sandbox.vertex.jobs import Disk


class UploadedLog:
    """Copies a growing log into the bucket, whole lines only, until the end is shown.

    Each version of the object begins with the one before it.
    """

    def __init__(self, disk: Disk, bucket: str, prefix: str, output: Path) -> None:
        self._disk = disk
        self._bucket = bucket
        self._name = prefix + STDOUT.as_posix()
        self._file = output / STDOUT
        self._seen: tuple[int, float] | None = None
        self._shown_bytes = -1

    def show(self, share: float) -> None:
        """Show this share of the lines that there are now, never less than before."""
        try:
            size_bytes = self._file.stat().st_size
        except FileNotFoundError:
            return
        if self._seen == (size_bytes, share):
            return
        self._seen = (size_bytes, share)
        lines = self._file.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        self._upload(b"".join(whole[: math.ceil(share * len(whole))]))

    def finish(self) -> None:
        """Show all that there is."""
        if self._file.exists():
            self._upload(self._file.read_bytes())

    def _upload(self, content: bytes) -> None:
        if len(content) > self._shown_bytes:
            self._disk.insert(self._bucket, self._name, content, content_type="text/plain")
            self._shown_bytes = len(content)
