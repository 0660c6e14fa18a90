"""The control face from outside: how one process steers the sandbox that another one serves."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from orchestrator.errors import InputError, OrchestratorError
from orchestrator.sandbox.edge.presence import Serving

_TIMEOUT_S = 30.0


class RemoteSandbox:
    """A sandbox that is being served from `folder`, by any process of this user."""

    def __init__(self, folder: Path) -> None:
        """Find it. Raises `InputError` if nothing is being served there."""
        serving = Serving.read(folder)
        if serving is None:
            raise _nothing_served(folder)
        self.folder = folder
        self.serving = serving
        self.call("GET", "/status")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the control face; its answer."""
        request = urllib.request.Request(  # noqa: S310 (the address is the sandbox's own)
            self.serving.control_url + path,
            method=method,
            data=None if body is None else orjson.dumps(body),
            headers={"authorization": f"Bearer {self.serving.token}"},
        )
        # No proxy: it could not reach this machine's own addresses.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, ValueError) as error:
            # What a killed process left behind, or another program that got the port since.
            raise _nothing_served(self.folder) from error

    def _refusal(self, error: urllib.error.HTTPError) -> OrchestratorError:
        text = error.read()
        if error.code == 400:
            return InputError(str(orjson.loads(text)["error"]))
        return _nothing_served(self.folder)


def _nothing_served(folder: Path) -> InputError:
    return InputError(
        f"no sandbox is being served from {folder}",
        hint=f"Serve it in another terminal: orchestrator sandbox up --dir {folder}",
    )
