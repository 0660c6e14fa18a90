"""Addresses in place of the real service's: a dead one is named at once, a token never."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.endpoints import check_listening, without_user_info
from orchestrator.errors import Ambiguous, InputError
from orchestrator.hub_client import hub_error
from orchestrator.settings import Settings
from orchestrator.stores.gcs import GcsStore, remote_error


@pytest.fixture
def dead_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest.mark.parametrize("user", ["", "sandbox:secret@"])
def test_a_dead_endpoint_is_named_at_once_with_the_remedy(
    dead_port: int, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the client was asked, which tries for two minutes")

    monkeypatch.setattr("google.cloud.storage.Client", never)
    store = GcsStore("project", f"http://{user}127.0.0.1:{dead_port}")
    with pytest.raises(Ambiguous, match=f"127.0.0.1:{dead_port}") as caught:
        store.check_writable("gs://bucket")
    assert "orchestrator sandbox up" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_an_endpoint_that_listens_is_left_to_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_listening(f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("endpoint", [None, "https://storage.example.com", "http://proxied:1"])
def test_the_real_service_and_other_hosts_are_not_tried(
    endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", never)
    check_listening(endpoint)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://sandbox:s3cret@127.0.0.1:80/x: no", "GET http://127.0.0.1:80/x: no"),
        ("https://user@host/a@b", "https://host/a@b"),
        ("http://host/a@b", "http://host/a@b"),
        ("gs://bucket/a@b and me@example.com", "gs://bucket/a@b and me@example.com"),
        ("two: http://a:b@c http://d:e@f", "two: http://c http://f"),
    ],
)
def test_what_stands_before_the_host_is_not_shown(text: str, shown: str) -> None:
    assert without_user_info(text) == shown


def test_a_port_that_cannot_be_is_a_mistake_of_the_setting() -> None:
    with pytest.raises(InputError, match="port") as caught:
        check_listening("http://sandbox:s3cret@127.0.0.1:70000")
    assert "s3cret" not in str(caught.value)


def test_errors_of_the_hub_do_not_show_a_token_in_its_address() -> None:
    import httpx2

    ours = hub_error(httpx2.ConnectError("refused"), "cannot ask at http://me:s3cret@127.0.0.1:9")
    assert ours is not None
    assert "127.0.0.1:9" in str(ours)
    assert "s3cret" not in str(ours)


def test_errors_of_the_store_do_not_show_the_token() -> None:
    ours = remote_error(ConnectionError("http://sandbox:s3cret@127.0.0.1/x"), "storing")
    assert "s3cret" not in str(ours)
    assert "127.0.0.1" in str(ours)


def test_the_log_of_a_bug_does_not_hold_the_token() -> None:
    from orchestrator.cli.bugs import report_bug

    said = report_bug(ValueError("no route to http://sandbox:s3cret@127.0.0.1:80/x"))
    log = Path(said.rpartition("Details: ")[2]).read_text(encoding="utf-8")
    assert "http://127.0.0.1:80/x" in log
    assert "s3cret" not in said + log


def test_an_address_without_its_scheme_is_named_without_its_token() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:80") as caught:
        Settings.from_env({"STORAGE_EMULATOR_HOST": "sandbox:s3cret@127.0.0.1:80"})
    assert "s3cret" not in str(caught.value)
