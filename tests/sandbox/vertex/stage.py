"""What the tests of the Vertex face share: a face on a clock that stands still, over one disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.rules import FaultPlan, RequestRule
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.objects.versions import ObjectMissing, StoredVersion
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from tests.services.vertex_bench import (
    BUCKET,
    LOG,
    MODELS,
    TIMEOUT_S,
    HandStandIn,
    TestClock,
    client_of,
    filled_disk,
)


class WatchedBook(FaultBook):
    """One rule for requests; `recorded` is set once a fault has happened."""

    def __init__(self, **rule: Any) -> None:
        self.recorded = threading.Event()
        super().__init__(FaultPlan(requests=(RequestRule(face="vertex", **rule),)))

    def record(self, *args: Any, **more: Any) -> None:
        super().record(*args, **more)
        self.recorded.set()


class WatchedDisk(ObjectDisk):
    """Lets a test wait for what others store."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._stored = threading.Condition()

    def insert(self, *args: Any, **more: Any) -> StoredVersion:
        version = super().insert(*args, **more)
        with self._stored:
            self._stored.notify_all()
        return version

    def log(self, *, least_lines: int) -> bytes:
        """The log of the job, once it has so many lines."""
        with self._stored:
            assert self._stored.wait_for(lambda: self._log().count(b"\n") >= least_lines, TIMEOUT_S)
        return self._log()

    def _log(self) -> bytes:
        try:
            _, content = self.open(BUCKET, f"runs/1/{LOG}")
        except ObjectMissing:
            return b""
        with content:
            return content.read()

    def outputs(self) -> list[str]:
        return [one.name for one in self.list(BUCKET, "runs/")]


@dataclass
class Stage:
    """A face on a clock that stands still unless it is moved, and its client."""

    root: Path
    disk: WatchedDisk
    stand_in: HandStandIn = field(default_factory=HandStandIn)
    clock: SandboxClock = field(default_factory=lambda: SandboxClock(TestClock()))

    @classmethod
    def at(cls, root: Path) -> Stage:
        """A stage in a new folder, with data to train on."""
        filled_disk(root / "storage")
        return cls(root, WatchedDisk(root / "storage"))

    @contextmanager
    def serving(
        self, conduct: VertexConduct | None = None, **more: Any
    ) -> Iterator[tuple[VertexFace, Any]]:
        """Both, for as long as the process of the face would live."""
        more.setdefault("stand_in", self.stand_in)
        face = VertexFace(
            self.root / "vertex",
            self.disk,
            models=MODELS,
            conduct=conduct or VertexConduct(),
            clock=self.clock,
            **more,
        )
        with face, client_of(face.endpoint) as client:
            yield face, client
