"""Addresses that are set in place of the real service's, such as a sandbox's."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
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


def answers_within(endpoint: str, timeout_s: float) -> bool:
    """Whether a connection to the endpoint's host can be made in this time.

    The look-up of a name has no timeout of its own, and can take far longer than a connection.
    True without a look where a proxy is set: only the client knows how to go through it.
    """
    from urllib.request import getproxies, proxy_bypass

    address = urlsplit(endpoint)
    host = address.hostname or ""
    if getproxies().get(address.scheme) and not proxy_bypass(host):
        return True
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError:
        return True  # the client words it
    made = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=timeout_s).close()
            made.set()
        ended.set()

    ended = threading.Event()
    threading.Thread(target=connect, name="reach-endpoint", daemon=True).start()
    ended.wait(timeout_s)
    return made.is_set()
