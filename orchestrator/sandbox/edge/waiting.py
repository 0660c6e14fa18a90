"""How requests wait: for the sandbox's clock, for their client to go, or for the server's end."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive

from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.waking import Wakers


class Waiting:
    """Waits of requests in any event loop, which the clock's thread can end."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._wakers = Wakers()
        self._closed = False
        clock.on_advance(self._wakers.wake)

    def close(self) -> None:
        """End all waits, those still to come too."""
        self._closed = True
        self._wakers.wake()

    async def pass_s(self, seconds: float) -> None:
        """Until the clock shows `seconds` more, by itself or because it was moved."""
        until_s = self._clock.elapsed_s() + seconds
        with self._wakers.woken() as woken:
            while not self._closed and (left_s := until_s - self._clock.elapsed_s()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), left_s)
                woken.clear()

    async def until_gone(self, receive: Receive) -> None:
        """Until the client hangs up."""
        with self._wakers.woken() as woken:
            gone = asyncio.ensure_future(_disconnected(receive))
            while not (self._closed or gone.done()):
                turn = asyncio.ensure_future(woken.wait())
                await asyncio.wait({gone, turn}, return_when=asyncio.FIRST_COMPLETED)
                turn.cancel()
                woken.clear()
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
