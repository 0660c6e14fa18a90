"""Pipes to and from one process, by name, none of which can make us wait."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator

_CHUNK = 65536


class Pipes:
    """Our ends and, until they are handed over, theirs."""

    def __init__(self) -> None:
        self._ours: dict[str, int] = {}
        self._theirs: list[int] = []
        self._waiting: dict[str, bytes] = {}
        self._finished: set[str] = set()
        self._selector = selectors.DefaultSelector()

    def to_read(self, name: str) -> int:
        """A pipe that we read; returns their end."""
        ours, theirs = os.pipe()
        self._keep(name, ours, theirs)
        self._selector.register(ours, selectors.EVENT_READ, name)
        return theirs

    def to_write(self, name: str) -> int:
        """A pipe that we write; returns their end."""
        theirs, ours = os.pipe()
        self._keep(name, ours, theirs)
        self._waiting[name] = b""
        return theirs

    def filled(self, data: bytes) -> int:
        """Their end of a pipe that holds some bytes, fewer than a pipe takes, and then ends."""
        theirs, ours = os.pipe()
        self._theirs.append(theirs)
        try:
            os.set_blocking(ours, False)
            if os.write(ours, data) != len(data):
                raise ValueError("too much for a pipe")
        finally:
            os.close(ours)
        return theirs

    def close_theirs(self) -> None:
        """Close the ends that the process has by now."""
        while self._theirs:
            os.close(self._theirs.pop())

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        for name in [*self._ours]:
            self._shut(name)
        self._selector.close()

    def send(self, name: str, data: bytes) -> None:
        """Write some bytes when the other side takes them; nobody to take them is no error."""
        if name in self._ours and data:
            if not self._waiting[name]:
                self._selector.register(self._ours[name], selectors.EVENT_WRITE, name)
            self._waiting[name] += data

    def finish(self, name: str) -> None:
        """Close a pipe that we write when all has been taken."""
        self._finished.add(name)
        if name in self._ours and not self._waiting[name]:
            self._shut(name)

    def hold_back(self, name: str) -> None:
        """Read nothing from a pipe until it is let in."""
        self._selector.unregister(self._ours[name])

    def let_in(self, name: str) -> None:
        """Read from a pipe again."""
        self._selector.register(self._ours[name], selectors.EVENT_READ, name)

    def turn(self, wait_s: float) -> Iterator[tuple[str, bytes]]:
        """Wait for a pipe that is ready; what was read by name."""
        for key, _ in self._selector.select(wait_s):
            name = str(key.data)
            if name in self._waiting:
                self._write(name)
            elif data := self._read(name):
                yield name, data

    def _keep(self, name: str, ours: int, theirs: int) -> None:
        os.set_blocking(ours, False)
        self._ours[name] = ours
        self._theirs.append(theirs)

    def _read(self, name: str) -> bytes:
        try:
            data = os.read(self._ours[name], _CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            self._shut(name)
        return data

    def _write(self, name: str) -> None:
        try:
            taken = os.write(self._ours[name], self._waiting[name])
        except BlockingIOError:
            return
        except OSError:  # the other side has ended, or closed it
            self._shut(name)
            return
        self._waiting[name] = self._waiting[name][taken:]
        if not self._waiting[name]:
            self._selector.unregister(self._ours[name])
            if name in self._finished:
                self._shut(name)

    def _shut(self, name: str) -> None:
        pipe = self._ours.pop(name)
        if pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        os.close(pipe)
