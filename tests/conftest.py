"""What every test shares: nothing leaves loopback, nothing touches the home folder.

Fails every test in which the Hub face answered otherwise than its description says.
"""

from __future__ import annotations

import inspect
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from orchestrator import hub_client
from tests.sandbox.hub.openapi_judge import RECORD, description

# A shell starts background jobs with SIGINT ignored, and processes that tests start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# google-auth reads this when it is first imported: nobody here runs on a machine of Google's.
os.environ["NO_GCE_CHECK"] = "true"
# huggingface_hub reads where its cache is when it is first imported, before any test has a home.
_HUB_HOME = tempfile.TemporaryDirectory(prefix="orchestrator-tests-")
os.environ["HF_HOME"] = _HUB_HOME.name
from huggingface_hub import set_client_factory  # noqa: E402
from huggingface_hub.utils._http import default_client_factory  # noqa: E402

# How fast the machine is, or how busy, is no property of the code.
hypothesis_settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("project")

# Five seconds, the clients' own limit, is short where two tests run at once on a busy machine.
for _client in (httpx.Client, httpx2.Client):
    _limit = inspect.signature(_client).parameters["timeout"].default
    _limit.connect = _limit.read = _limit.write = _limit.pool = 60.0

_OUTSIDE = [
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT",
    "GOOGLE_BASE_URL",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_VERTEX_BASE_URL",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HUGGINGFACE_HUB_CACHE",
    "STORAGE_EMULATOR_HOST",
    "ORCHESTRATOR_BUCKET",
    "ORCHESTRATOR_CALL_TIMEOUT_S",
    "ORCHESTRATOR_LEDGER",
    "ORCHESTRATOR_VERTEX_ENDPOINT",
    "ORCHESTRATOR_VISIBILITY_WINDOW_S",
]


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a home of its own, and no settings of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in _OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home / "orchestrator"))
    # Nobody asks the real Hub for tokenizers; tests that fetch say where from, and unset it.
    monkeypatch.setenv("ORCHESTRATOR_OFFLINE", "1")
    return home


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any connection that would leave the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            self.close()
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_hub_client() -> Iterator[None]:
    """Give the Hub's client of this process its own limits back after a test that changed them."""
    yield
    if hub_client._timeout_s is not None:
        set_client_factory(default_client_factory)
        hub_client._timeout_s = None


@pytest.fixture(autouse=True)
def _as_described() -> Iterator[None]:
    RECORD.departures.clear()
    yield
    found = sorted(set(RECORD.departures))
    RECORD.departures.clear()
    if found:
        pytest.fail("replies depart from the Hub's description:\n" + "\n".join(found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not RECORD.replies:
        return
    source = "public and other" if description() else "other (ORCHESTRATOR_DATA is not set)"
    terminalreporter.write_line(
        f"Hub replies judged: {RECORD.replies}, of {len(RECORD.judged)} operations, "
        f"by their {source} descriptions"
    )
    if RECORD.served:
        terminalreporter.write_line(f"Of the Hub's public description: {RECORD.served}")
