"""Runs an ASGI app on a loopback port, in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.sandbox.edge.dates import Dated

LOOPBACK = "127.0.0.1"
#: How long open requests may take to finish when the server ends.
_FINISH_S = 2.0
_LOOK_S = 0.005


class Served(ABC):
    """Something that listens between `start` and `stop`; a context manager."""

    @abstractmethod
    def start(self) -> None:
        """Accept connections."""

    @abstractmethod
    def stop(self) -> None:
        """Close the port."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """Says when it is ready, and ends at once where nothing is left to finish.

    uvicorn's own server looks only every tenth of a second whether it shall end, and then waits
    another one: that would be most of the time of a short test.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    def end(self) -> None:
        """Accept nothing more; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            # A loop that is closed has ended already.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._finished(), _FINISH_S)
        for task in list(state.tasks):
            task.cancel()

    async def _finished(self) -> None:
        never = asyncio.Event()
        while self.server_state.connections or self.server_state.tasks:
            # uvicorn does not say when they are gone.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), _LOOK_S)

    def install_signal_handlers(self) -> None:
        """Signals belong to the program, not to a server in one of its threads."""


class AppServer(Served):
    """An ASGI app served on 127.0.0.1; port 0 picks a free one. `clock` dates the answers."""

    def __init__(self, app: ASGIApp, port: int = 0, clock: Clock = SYSTEM_CLOCK) -> None:
        # The protocol is named, or asyncio leaves Nagle on: 44 ms a request instead of 2.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((LOOPBACK, port))
            # Now, not in the thread: until somebody listens, two servers can have one port.
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise InputError(
                f"cannot listen on {LOOPBACK}:{port}: {error.strerror}",
                hint="Another program uses the port: choose another one, or 0 for any free port.",
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config: Any = uvicorn.Config(
            Dated(app, clock),
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Serve; returns once connections are accepted."""
        self._thread.start()
        if not self._server.ready.wait(timeout=30):
            raise InputError(f"the local server on port {self.port} did not start in 30 s")

    def begin_stop(self) -> None:
        """Accept nothing more, without waiting: several servers can end at the same time."""
        self._server.end()

    def stop(self) -> None:
        """Finish open requests (2 s at most) and close the port."""
        self.begin_stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        self._socket.close()
