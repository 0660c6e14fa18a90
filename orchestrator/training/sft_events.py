"""What the training script tells: events on standard output, and why it cannot go on.

Standard library only; the other scripts beside it may use it too.
"""

from __future__ import annotations

import json
import math
from typing import Any, TextIO


class BadInput(Exception):
    """The arguments, the rows or the base model are wrong: exit code 2."""


class TrainingStopped(Exception):
    """The training cannot go on: exit code 1."""


class Metrics:
    """Writes events as JSON lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event; NaN and infinity become strings, which JSON has no numbers for."""
        finite = {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }
        line = json.dumps({"event": event, **finite}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()
