"""The token of a sandbox: in the endpoint's address, sent with every call, never shown."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import grpc
import pytest
from google.cloud.aiplatform_v1beta1.services.gen_ai_tuning_service import (
    GenAiTuningServiceClient,
    transports,
)

from orchestrator.errors import Ambiguous, InputError, RefusalKind, Refused
from orchestrator.sandbox.vertex.face import VertexFace
from orchestrator.services.vertex import VertexService
from orchestrator.services.vertex_client import Endpoint
from tests.services.vertex_bench import (
    LOCATION,
    MODELS,
    PARENT,
    PROJECT,
    HandStandIn,
    TestClock,
    filled_disk,
    request,
)

#: With what an address must quote.
TOKEN = "p@ss:w/o rd+%7"


@pytest.fixture
def face(tmp_path: Path) -> Iterator[VertexFace]:
    disk = filled_disk(tmp_path / "storage")
    face = VertexFace(tmp_path / "vertex", disk, HandStandIn(), models=MODELS, token=TOKEN)
    with face:
        yield face


@contextmanager
def service_at(endpoint: str) -> Iterator[VertexService]:
    service = VertexService(PROJECT, LOCATION, endpoint, TestClock())
    try:
        yield service
    finally:
        service.close()


def test_a_service_at_an_address_with_the_token_does_all_its_work(face: VertexFace) -> None:
    with service_at(face.url) as service:
        handle = service.launch(request(), "token-1", may_send=lambda: 20.0)
        assert service.find("token-1") == handle
        assert set(service.inspect([handle])) == {handle}
        assert service.outputs(handle)
        service.cancel(handle)
        assert face.wait_until_ended(handle.id).state.name == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize("user_info", ["", "sandbox:wrong@", "sandbox@"])
def test_without_the_token_everything_is_refused_and_nothing_happens(
    face: VertexFace, user_info: str
) -> None:
    with service_at(f"http://{user_info}{face.endpoint}") as service:
        with pytest.raises(Refused) as launched:
            service.launch(request(), "token-1", may_send=lambda: 20.0)
        with pytest.raises(Refused) as found:
            service.find("token-1")
    for refused in (launched, found):
        assert refused.value.kind is RefusalKind.CREDENTIALS
        assert "wrong" not in str(refused.value)
    assert face.jobs() == []
    assert face.create_calls == 0


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([], "CREDENTIALS_MISSING"),
        ([("authorization", "Bearer wrong")], "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ([("authorization", f"Bearer {TOKEN}")], None),
        ([("x-goog-api-key", TOKEN)], None),
        (
            [("authorization", "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode())],
            None,
        ),
    ],
)
def test_the_face_takes_the_token_in_any_of_the_usual_forms(
    face: VertexFace, metadata: list[tuple[str, str]], reason: str | None
) -> None:
    with grpc.insecure_channel(face.endpoint) as channel:
        client: Any = GenAiTuningServiceClient(
            transport=transports.GenAiTuningServiceGrpcTransport(channel=channel)
        )
        if reason is None:
            client.list_tuning_jobs(parent=PARENT, metadata=metadata)
            return
        with pytest.raises(api.Unauthenticated) as refused:
            client.list_tuning_jobs(parent=PARENT, metadata=metadata)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("text", "target", "token"),
    [
        ("127.0.0.1:1234", "127.0.0.1:1234", None),
        ("http://localhost:1234/", "localhost:1234", None),
        ("http://sandbox:T@127.0.0.1:1234", "127.0.0.1:1234", "T"),
        ("sandbox:T@127.0.0.1:1234", "127.0.0.1:1234", "T"),
        ("http://sandbox:a%40b%3A%2f@127.0.0.1:1234", "127.0.0.1:1234", "a@b:/"),
    ],
)
def test_an_endpoint_is_a_port_and_perhaps_a_token(
    text: str, target: str, token: str | None
) -> None:
    endpoint = Endpoint.of(text)
    assert (endpoint.target, endpoint.token) == (target, token)
    assert repr(endpoint) == f"Endpoint(target={target!r})"


@pytest.mark.parametrize(
    "text",
    [
        "http://sandbox:secret@aiplatform.example.com:443",
        "http://sandbox:secret@127.0.0.1",
        "http://sandbox:secret",
        "sandbox:secret@",
        "https://sandbox:secret@127.0.0.1:1",
        "http://secret@127.0.0.1:port",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_the_token(text: str) -> None:
    with pytest.raises(InputError, match="not a port of this machine") as refused:
        VertexService(PROJECT, LOCATION, text)
    assert "secret" not in str(refused.value)


def test_a_face_that_is_gone_is_reported_without_the_token(face: VertexFace) -> None:
    face.stop()
    with service_at(face.url) as service, pytest.raises(Ambiguous) as raised:
        service.launch(request(), "token-1", may_send=lambda: 1.0)
    assert TOKEN not in repr(raised.value)
    assert "p%40ss" not in repr(raised.value)
