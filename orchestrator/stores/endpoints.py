"""Addresses that are set in place of the real service's, such as a sandbox's."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

from orchestrator.errors import Ambiguous, InputError

_USER_INFO = re.compile(r"(?<=://)[^/?#\s]*@")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONNECT_S = 5.0


def without_user_info(text: str) -> str:
    """The text without what stands before the `@` of its URLs: an address may carry a token."""
    return _USER_INFO.sub("", text)


def check_listening(endpoint: str | None) -> None:
    """Raise `Ambiguous` at once if the endpoint is a port of this machine and nobody listens.

    The client of the service would try for two minutes. Raises `InputError` for an impossible port.
    """
    if endpoint is None:
        return
    address = urlsplit(endpoint)
    # Other hosts may be reached through a proxy only, which the client knows and this does not.
    if address.hostname not in _LOOPBACK:
        return
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError:
        raise InputError(
            f"{without_user_info(endpoint)} has a port that does not exist",
            hint="Ports go from 1 to 65535.",
        ) from None
    try:
        socket.create_connection((address.hostname, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise Ambiguous(
            f"nothing answers at {address.hostname}:{port}: {error.strerror or error}",
            hint="Is the sandbox running? Start it: orchestrator sandbox up. "
            "Or unset the address: it leads away from the real service.",
        ) from error
