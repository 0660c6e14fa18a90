"""The REST side of the Vertex face, as google-genai and the REST transport of gapic see it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import httpx
import pytest
from google import genai
from google.cloud.aiplatform_v1beta1.services.gen_ai_tuning_service import (
    GenAiTuningServiceClient,
    transports,
)
from google.cloud.aiplatform_v1beta1.types import JobState
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials

from orchestrator.errors import InputError
from orchestrator.sandbox.edge.rules import Effect
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from tests.sandbox.vertex.stage import Stage, WatchedBook
from tests.services.vertex_bench import (
    BUCKET,
    GEMINI,
    LLAMA,
    LOCATION,
    PARENT,
    PROJECT,
    TRAIN,
    VALIDATION,
    job,
)

TOKEN = "a token/+ of the sandbox"
BODY = {
    "baseModel": LLAMA,
    "supervisedTuningSpec": {
        "trainingDatasetUri": TRAIN,
        "hyperParameters": {"epochCount": 20, "learningRate": 0.00025},
    },
    "outputUri": f"gs://{BUCKET}/runs/1",
}


@dataclass
class Rest:
    """A face and its REST address."""

    face: VertexFace
    stage: Stage
    token: str | None = None

    @property
    def url(self) -> str:
        """Without the token."""
        assert self.face.rest_url is not None
        scheme, _, rest = self.face.rest_url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def send(self, method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else body and json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        with httpx.Client(trust_env=False, headers=headers, timeout=20) as client:
            return client.request(method, f"{self.url}{path}", content=content, params=query)

    def genai(self, token: str = TOKEN, url: str | None = None) -> genai.Client:
        return genai.Client(
            vertexai=True,
            project=PROJECT,
            location=LOCATION,
            credentials=Credentials(token=token),
            http_options=genai_types.HttpOptions(base_url=url or self.url, timeout=20_000),
        )


@contextmanager
def serving(
    stage: Stage, conduct: VertexConduct | None = None, token: str | None = None, **more: Any
) -> Iterator[Rest]:
    with stage.serving(conduct, rest_port=0, token=token, **more) as (face, _):
        yield Rest(face, stage, token)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage.at(tmp_path)


@pytest.fixture
def rest(stage: Stage) -> Iterator[Rest]:
    with serving(stage) as opened:
        yield opened


def details(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """The details of an error by the last part of their type."""
    found = answer.json()["error"]["details"]
    return {one["@type"].rpartition(".")[2]: one for one in found}


# google-genai


@pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental")
def test_google_genai_tunes_reads_lists_and_cancels(stage: Stage) -> None:
    config = genai_types.CreateTuningJobConfig(
        epoch_count=2,
        learning_rate=2e-4,
        adapter_size=genai_types.AdapterSize.ADAPTER_SIZE_SIXTEEN,
        tuning_mode=genai_types.TuningMode.TUNING_MODE_PEFT_ADAPTER,
        output_uri=f"gs://{BUCKET}/runs/1",
        tuned_model_display_name="router",
        labels={"team": "router"},
        validation_dataset=genai_types.TuningValidationDataset(gcs_uri=VALIDATION),
    )
    data = genai_types.TuningDataset(gcs_uri=TRAIN)
    with serving(stage, token=TOKEN) as rest, rest.genai() as client:
        first, second = (
            client.tunings.tune(base_model=LLAMA, training_dataset=data, config=config)
            for _ in range(2)
        )
        assert first.name is not None
        assert second.name is not None
        rest.face.wait_until_running(first.name)
        client.tunings.cancel(name=second.name)
        cancelled = client.tunings.get(name=second.name)
        stage.stand_in.gate.set()
        rest.face.wait_until_ended(first.name)
        ended = client.tunings.get(name=first.name)
        listed = [
            one.name
            for one in client.tunings.list(
                config={"page_size": 1, "filter": 'labels.team="router"'}
            )
        ]

    assert first.state is genai_types.JobState.JOB_STATE_PENDING
    assert cancelled.state is genai_types.JobState.JOB_STATE_CANCELLED
    assert cancelled.error is not None
    assert cancelled.error.code == 1
    assert ended.state is genai_types.JobState.JOB_STATE_SUCCEEDED
    assert ended.has_ended
    assert ended.end_time is not None
    assert ended.tuned_model is not None
    assert str(ended.tuned_model.model).startswith(f"{PARENT}/models/")
    assert ended.tuning_data_stats is not None
    stats = ended.tuning_data_stats.supervised_tuning_data_stats
    assert stats is not None
    assert stats.tuning_dataset_example_count == 20
    assert listed == [second.name, first.name]
    assert stage.stand_in.jobs[0].adapter_rank == 16


@pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental")
def test_google_genai_tunes_a_model_of_googles_own_with_a_multiplier(stage: Stage) -> None:
    stage.stand_in.gate.set()
    with serving(stage, token=TOKEN) as rest, rest.genai() as client:
        made = client.tunings.tune(
            base_model=GEMINI,
            training_dataset={"gcs_uri": TRAIN},
            config={"learning_rate_multiplier": 0.5, "adapter_size": "ADAPTER_SIZE_FOUR"},
        )
        assert made.name is not None
        ended = rest.face.wait_until_ended(made.name)
    assert ended.state is JobState.JOB_STATE_SUCCEEDED
    assert stage.stand_in.jobs[0].learning_rate == pytest.approx(1e-4)


@pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental")
def test_google_genai_reads_refusals(stage: Stage) -> None:
    with serving(stage, token=TOKEN) as rest, rest.genai() as client:
        with pytest.raises(genai_errors.ClientError) as refused:
            client.tunings.tune(base_model=LLAMA, training_dataset={"gcs_uri": TRAIN})
        with pytest.raises(genai_errors.ClientError) as missing:
            client.tunings.get(name=f"{PARENT}/tuningJobs/7")

    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert "output URI" in str(refused.value.message)
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


def test_google_genai_needs_the_token_in_its_credentials_or_in_the_address(stage: Stage) -> None:
    with serving(stage, token=TOKEN) as rest:
        with rest.genai(token="another") as client, pytest.raises(genai_errors.ClientError) as no:
            client.tunings.list()
        with rest.genai(token="another", url=rest.face.rest_url) as client:
            listed = list(client.tunings.list())
    assert no.value.code == 401
    assert listed == []


# The REST transport of the released client


def test_the_rest_transport_of_the_released_client_does_the_same(stage: Stage) -> None:
    with serving(stage, token="plain-token") as rest:
        client = GenAiTuningServiceClient(
            transport=transports.GenAiTuningServiceRestTransport(
                host=rest.url, url_scheme="http", credentials=Credentials(token="plain-token")
            )
        )
        made = client.create_tuning_job(parent=PARENT, tuning_job=job(labels={"a": "b"}))
        rest.face.wait_until_running(made.name)
        client.cancel_tuning_job(name=made.name)
        rest.face.wait_until_ended(made.name)
        read = client.get_tuning_job(name=made.name)
        request = {"parent": PARENT, "filter": "labels.a:*", "page_size": 1}
        listed = list(client.list_tuning_jobs(request=request))
        with pytest.raises(api.BadRequest) as refused:
            client.create_tuning_job(parent=PARENT, tuning_job=job(output_uri=None))
        with pytest.raises(api.NotFound):
            client.get_tuning_job(name=f"{PARENT}/tuningJobs/7")
        client.transport.close()

    assert made.state is JobState.JOB_STATE_PENDING
    assert read.state is JobState.JOB_STATE_CANCELLED
    assert dict(read.labels) == {"a": "b"}
    assert read.create_time <= read.end_time
    assert listed == [read]
    assert refused.value.reason == "INVALID_ARGUMENT"


# The wire


def test_the_body_that_the_service_receives_for_weights_of_ones_own_is_accepted(
    rest: Rest,
) -> None:
    weights = "runs/0/postprocess/node-0/checkpoints/final"
    rest.stage.disk.insert(BUCKET, f"{weights}/model.safetensors", b"weights")
    body = {
        **BODY,
        "customBaseModel": f"gs://{BUCKET}/{weights}",
        "supervisedTuningSpec": {
            **BODY["supervisedTuningSpec"],  # type: ignore[dict-item]  # a dict of mixed values
            "validationDatasetUri": VALIDATION,
            "tuningMode": "TUNING_MODE_FULL",
        },
    }
    answer = rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", body)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    made = answer.json()
    assert made["customBaseModel"] == body["customBaseModel"]
    assert made["state"] == "JOB_STATE_PENDING"
    # Numbers of 64 bits are texts in the JSON of protobuf.
    assert made["supervisedTuningSpec"]["hyperParameters"]["epochCount"] == "20"
    assert made["createTime"].endswith("Z")


def test_a_refusal_has_googles_form_and_names_the_field(rest: Rest) -> None:
    body = {key: value for key, value in BODY.items() if key != "outputUri"}
    answer = rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", body)
    error = answer.json()["error"]

    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    violations = details(answer)["BadRequest"]["fieldViolations"]
    assert [one["field"] for one in violations] == ["tuning_job.output_uri"]


def test_the_quota_is_refused_with_429_and_says_when_to_come_back(stage: Stage) -> None:
    with serving(stage, VertexConduct(quota_mode="refuse")) as rest:
        assert rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", BODY).status_code == 200
        answer = rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", BODY)

    assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert details(answer)["RetryInfo"]["retryDelay"] == "60s"
    assert "limited to 1" in details(answer)["QuotaFailure"]["violations"][0]["description"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Invalid JSON payload"),
        (b"[]", "not an object"),
        ({**BODY, "baseModle": "x"}, "baseModle"),
        ({**BODY, "labels": {"a": 1}}, "Invalid JSON payload"),
        ({**BODY, "supervisedTuningSpec": {"tuningMode": "QUICKLY"}}, "QUICKLY"),
        ({**BODY, "supervisedTuningSpec": {"hyperParameters": {"epochCount": "many"}}}, "many"),
    ],
)
def test_a_body_that_is_no_tuning_job_is_refused(rest: Rest, body: Any, said: str) -> None:
    answer = rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert said in answer.json()["error"]["message"]
    assert rest.face.jobs() == []


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/v2/projects/p/locations/global/tuningJobs", {}, 404),
        ("PUT", f"/v1beta1/{PARENT}/tuningJobs", {}, 404),
        ("DELETE", f"/v1beta1/{PARENT}/tuningJobs/1", {}, 404),
        ("GET", f"/v1beta1/{PARENT}/tuningJobs/1:cancel", {}, 404),
        ("GET", f"/v1beta1/{PARENT}/tuningJobs/1", {}, 404),
        ("POST", f"/v1beta1/{PARENT}/tuningJobs/1:cancel", {}, 404),
        ("POST", f"/v1beta1/{PARENT}/tuningJobs:rebaseTunedModel", {}, 501),
        ("GET", f"/v1beta1/{PARENT}/tuningJobs", {"pageSize": "many"}, 400),
        ("GET", f"/v1beta1/{PARENT}/tuningJobs", {"pageSize": "-1"}, 400),
        ("GET", f"/v1beta1/{PARENT}/tuningJobs", {"pageSise": "1"}, 400),
        ("GET", "/v1beta1/projects/p/locations/mars/tuningJobs", {}, 400),
    ],
)
def test_what_is_not_served_is_an_error_in_googles_form(
    rest: Rest, method: str, path: str, query: dict[str, str], status: int
) -> None:
    answer = rest.send(method, path, **query)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


def test_an_empty_list_is_an_empty_object_and_pages_have_tokens(rest: Rest) -> None:
    path = f"/v1beta1/{PARENT}/tuningJobs"
    empty = rest.send("GET", path).json()
    names = [rest.send("POST", path, BODY).json()["name"] for _ in range(3)]
    first = rest.send("GET", path, pageSize="2").json()
    second = rest.send("GET", path, pageSize="2", pageToken=first["nextPageToken"]).json()

    assert empty == {}
    shown = [one["name"] for one in (*first["tuningJobs"], *second["tuningJobs"])]
    assert shown == names[::-1]
    assert "nextPageToken" not in second


def test_version_1_knows_fewer_fields(rest: Rest) -> None:
    path = f"{PARENT}/tuningJobs"
    made = rest.send("POST", f"/v1beta1/{path}", BODY).json()
    refused = rest.send("POST", f"/v1/{path}", BODY)
    gemini = {"baseModel": GEMINI, "supervisedTuningSpec": {"trainingDatasetUri": TRAIN}}
    accepted = rest.send("POST", f"/v1/{path}", gemini).json()
    read = rest.send("GET", f"/v1/{made['name']}").json()
    listed = rest.send("GET", f"/v1/{path}").json()["tuningJobs"]
    cancelled = rest.send("POST", f"/v1/{made['name']}:cancel")

    assert refused.status_code == 400
    assert "outputUri" in refused.json()["error"]["message"] or "learningRate" in refused.text
    assert accepted["baseModel"] == GEMINI
    assert "outputUri" not in read
    assert read["name"] == made["name"]
    assert [one["name"] for one in listed] == [accepted["name"], made["name"]]
    assert (cancelled.status_code, cancelled.json()) == (200, {})


# The token


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"x-goog-api-key": TOKEN}, 200),
    ],
)
def test_the_token_is_asked_for(stage: Stage, headers: dict[str, str], status: int) -> None:
    with serving(stage, token=TOKEN) as rest, httpx.Client(trust_env=False) as client:
        answer = client.get(f"{rest.url}/v1beta1/{PARENT}/tuningJobs", headers=headers)
    assert answer.status_code == status


def test_another_host_name_is_refused(rest: Rest) -> None:
    with httpx.Client(trust_env=False) as client:
        path = f"{rest.url}/v1beta1/{PARENT}/tuningJobs"
        answer = client.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 403


def test_without_a_rest_port_there_is_no_rest_address(stage: Stage) -> None:
    with stage.serving() as (face, _):
        assert face.rest_url is None


def test_a_rest_port_in_use_is_an_input_error_and_leaves_no_port_open(
    stage: Stage, rest: Rest
) -> None:
    port = int(rest.url.rpartition(":")[2])
    with pytest.raises(InputError, match=str(port)), stage.serving(rest_port=port):
        pass


# Faults


def test_an_error_by_rule_has_its_status_and_its_delay(stage: Stage) -> None:
    rules = WatchedBook(operation="list", status=418, message="tea", retry_after_s=3)
    with serving(stage, book=rules) as rest:
        answer = rest.send("GET", f"/v1beta1/{PARENT}/tuningJobs")
        again = rest.send("GET", f"/v1beta1/{PARENT}/tuningJobs")

    assert (answer.status_code, answer.json()["error"]["message"]) == (418, "tea")
    assert details(answer)["RetryInfo"]["retryDelay"] == "3s"
    assert again.status_code == 200
    assert [one.fault for one in rules.injected] == ["error 418"]


@pytest.mark.parametrize("after", [False, True])
def test_a_dropped_request_loses_its_connection(stage: Stage, after: bool) -> None:
    rules = WatchedBook(operation="create", effect=Effect.DROP, after=after)
    with serving(stage, book=rules) as rest:
        with pytest.raises(httpx.RemoteProtocolError):
            rest.send("POST", f"/v1beta1/{PARENT}/tuningJobs", BODY)
        assert len(rest.face.jobs()) == after


def test_an_answer_is_cut_after_the_bytes_that_the_rule_keeps(stage: Stage) -> None:
    rules = WatchedBook(operation="create", effect=Effect.CUT, keep_bytes=9)
    with serving(stage, book=rules) as rest:
        with httpx.Client(trust_env=False) as client:
            path = f"{rest.url}/v1beta1/{PARENT}/tuningJobs"
            with client.stream("POST", path, json=BODY) as answer:
                kept: list[bytes] = []
                with pytest.raises(httpx.RemoteProtocolError):
                    kept.extend(answer.iter_bytes(1))
        assert len(rest.face.jobs()) == 1
    assert int(answer.headers["content-length"]) > 9
    assert len(b"".join(kept)) == 9


def test_a_byte_of_an_answer_is_changed(stage: Stage) -> None:
    rules = WatchedBook(operation="list", effect=Effect.CORRUPT, keep_bytes=0)
    with serving(stage, book=rules) as rest:
        answer = rest.send("GET", f"/v1beta1/{PARENT}/tuningJobs")
    assert answer.content[:1] == bytes([ord("{") ^ 1])


@pytest.mark.parametrize(
    ("rule", "answers"),
    [({"effect": Effect.STALL}, ["lost"]), ({"effect": Effect.DELAY, "delay_s": 1e6}, [200])],
)
def test_a_request_that_waits_ends_with_the_face(
    stage: Stage, rule: dict[str, Any], answers: list[Any]
) -> None:
    rules = WatchedBook(operation="list", **rule)
    seen: list[Any] = []

    def ask(rest: Rest) -> None:
        try:
            seen.append(rest.send("GET", f"/v1beta1/{PARENT}/tuningJobs").status_code)
        except httpx.RemoteProtocolError:
            seen.append("lost")

    with serving(stage, book=rules) as rest:
        asking = threading.Thread(target=ask, args=(rest,))
        asking.start()
        assert rules.recorded.wait(20)
    asking.join(20)
    assert seen == answers
