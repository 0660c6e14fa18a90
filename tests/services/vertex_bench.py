"""What the tests of Vertex AI tuning share: a stand-in in the test's hand, a face, a service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import orjson
from google.cloud.aiplatform_v1beta1.services.gen_ai_tuning_service import (
    GenAiTuningServiceClient,
    transports,
)

from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.standins.base import (
    StandInOptions,
    TrainingFailed,
    TrainingJob,
    TrainingOutcome,
)
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from orchestrator.sandbox.vertex.rules import ModelRules
from orchestrator.services.base import AttemptKind, Handle, ScriptRequest, TuneRequest
from orchestrator.services.vertex import VertexService

PROJECT, LOCATION, BUCKET = "test-project", "us-central1", "tuning-bucket"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
LLAMA = "meta/llama3_1@llama-3.1-8b-instruct"
QWEN, GEMINI = "qwen/qwen3@qwen3-4b", "google/gemini-2.5-flash"
TRAIN, VALIDATION = f"gs://{BUCKET}/data/train.jsonl", f"gs://{BUCKET}/data/validation.jsonl"
TIMEOUT_S = 20.0
MODELS = {
    rules.service_id: rules
    for rules in (
        ModelRules(
            LLAMA,
            "meta-llama/Llama-3.1-8B-Instruct",
            ("peft", "full"),
            (1, 4, 8, 16, 32),
            8192,
            0.317,
            usd_per_million_tokens=0.67,
        ),
        ModelRules(
            QWEN,
            "Qwen/Qwen3-4B",
            ("full",),
            (),
            max_tokens=8192,
            tokens_per_char=0.246,
        ),
        ModelRules(
            GEMINI,
            "google/none",
            ("peft",),
            (1, 4, 8, 16),
            131_072,
            0.25,
            open=False,
        ),
    )
}
CHECKPOINT = "postprocess/node-0/checkpoints/final/adapter_model.safetensors"
LOG = "executor/node-0/stdout"


class TestClock:
    """Sleeping only moves its hands; what was slept is kept."""

    __test__ = False

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=self._elapsed_s)

    def elapsed_s(self) -> float:
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self._elapsed_s += seconds


@dataclass
class HandStandIn:
    """Trains when `gate` is open, does `act` first, and writes a log and an adapter."""

    name: str = "hand"
    gate: threading.Event = field(default_factory=threading.Event)
    act: Callable[[TrainingJob, Path], None] | None = None
    jobs: list[TrainingJob] = field(default_factory=list)
    rows_seen: list[bytes] = field(default_factory=list)

    def train(
        self,
        job: TrainingJob,
        output: Path,
        *,
        options: StandInOptions,
        cancelled: Callable[[], bool],
    ) -> TrainingOutcome:
        self.jobs.append(job)
        self.rows_seen.append(job.train.read_bytes())
        log = output / LOG
        log.parent.mkdir(parents=True)
        log.write_text("started\n")
        while not self.gate.wait(0.01):
            if cancelled():
                return TrainingOutcome(step_count=0)
        if self.act is not None:
            self.act(job, output)
        adapter = output / CHECKPOINT
        adapter.parent.mkdir(parents=True)
        adapter.write_bytes(b"adapter")
        return TrainingOutcome(step_count=7, differences=("trained by hand",))


def rows(count: int) -> bytes:
    """JSONL of short prompt/completion rows."""
    return b"".join(
        orjson.dumps({"prompt": f"Question {number:04}", "completion": "Answer"}) + b"\n"
        for number in range(count)
    )


def filled_disk(root: Path) -> ObjectDisk:
    """A disk with a training set of 20 rows and a validation set of 4."""
    disk = ObjectDisk(root)
    disk.create_bucket(BUCKET)
    disk.insert(BUCKET, "data/train.jsonl", rows(20))
    disk.insert(BUCKET, "data/validation.jsonl", rows(4))
    return disk


def request(**changes: Any) -> TuneRequest:
    """A request that the face accepts, with changes."""
    accepted = TuneRequest(
        run_id="run-1",
        display_name="router",
        base_model=LLAMA,
        train_uri=f"gs://{BUCKET}/data/train.jsonl",
        validation_uri=f"gs://{BUCKET}/data/validation.jsonl",
        output_uri=f"gs://{BUCKET}/runs/run-1",
        epochs=2,
        learning_rate=2e-4,
        mode="peft",
        adapter_rank=16,
    )
    return replace(accepted, **changes)


@contextmanager
def client_of(endpoint: str) -> Iterator[Any]:
    """The released client, connected to a face without any of our code."""
    with grpc.insecure_channel(endpoint) as channel:
        yield GenAiTuningServiceClient(
            transport=transports.GenAiTuningServiceGrpcTransport(channel=channel)
        )


def job(
    *,
    spec: dict[str, Any] | None = None,
    hyper_parameters: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A tuning job that is accepted, with changes; a field changed to None is left out."""
    parameters = {
        "epoch_count": 2,
        "learning_rate": 2e-4,
        "adapter_size": "ADAPTER_SIZE_SIXTEEN",
        **(hyper_parameters or {}),
    }
    tuning_spec = {
        "training_dataset_uri": TRAIN,
        "validation_dataset_uri": VALIDATION,
        "hyper_parameters": {key: one for key, one in parameters.items() if one is not None},
        "tuning_mode": "TUNING_MODE_PEFT_ADAPTER",
        **(spec or {}),
    }
    message = {
        "base_model": LLAMA,
        "output_uri": f"gs://{BUCKET}/runs/1",
        "supervised_tuning_spec": {key: one for key, one in tuning_spec.items() if one is not None},
        **fields,
    }
    return {key: one for key, one in message.items() if one is not None}


def create(client: Any, message: dict[str, Any] | None = None, parent: str = PARENT) -> Any:
    return client.create_tuning_job(
        parent=parent, tuning_job=message or job(), timeout=TIMEOUT_S, retry=None
    )


@dataclass
class VertexBench:
    """A service and the face that it talks to, with what the contract suite needs of both."""

    service: VertexService
    face: VertexFace
    stand_in: HandStandIn
    disk: ObjectDisk
    clock: TestClock

    request = staticmethod(request)

    def refused_request(self) -> TuneRequest:
        return request(base_model="nobody/nothing@none")

    def foreign_request(self) -> ScriptRequest:
        return ScriptRequest(
            run_id="run-1",
            display_name="router",
            kind=AttemptKind.TUNE,
            command=("uv", "run", "job.py"),
            image="uv",
            flavor="a10g-small",
            timeout_s=60,
            output_uri="hf://models/a/b@run-1/1",
        )

    def unknown_handle(self) -> Handle:
        return Handle("vertex", f"{PARENT}/tuningJobs/1234567890123456789")

    def job_count(self) -> int:
        return len(self.face.jobs())

    def launch_calls(self) -> int:
        return self.face.create_calls

    def list_calls(self) -> int:
        return self.face.faults.calls["list"]

    def read_calls(self) -> int:
        return self.face.faults.calls["get"]

    def wait_until_running(self, handle: Handle) -> None:
        self.face.wait_until_running(handle.id)

    def let_train(self, handle: Handle) -> None:
        self.stand_in.gate.set()
        self.face.wait_until_ended(handle.id)

    def wait_until_ended(self, handle: Handle) -> None:
        self.face.wait_until_ended(handle.id)

    def fail_trainings(self, message: str) -> None:
        def fail(job: TrainingJob, output: Path) -> None:
            raise TrainingFailed(message)

        self.stand_in.act = fail

    def lose_next_launch(self, *, after_effect: bool) -> None:
        self.face.faults.fail_next(
            "create", code=grpc.StatusCode.UNAVAILABLE, after_effect=after_effect
        )

    def stall_next_launch(self) -> None:
        self.face.faults.stall_next("create", after_effect=True)

    def break_next_read(self) -> None:
        for method in ("list", "get", "cancel"):
            self.face.faults.fail_next(method, code=grpc.StatusCode.UNAVAILABLE)

    def hide_from_lists(self, handle: Handle) -> None:
        self.face.faults.hide_from_lists(handle.id)

    def report_unheard_of_state(self, handle: Handle) -> str:
        self.face.faults.report_state(handle.id, 99)
        return "JOB_STATE_99"


@contextmanager
def vertex_bench(root: Path) -> Iterator[VertexBench]:
    """A service on a fresh face."""
    clock, stand_in = TestClock(), HandStandIn()
    disk = filled_disk(root / "storage")
    conduct = VertexConduct(running_quota=3)
    with VertexFace(root / "vertex", disk, stand_in, models=MODELS, conduct=conduct) as face:
        service = VertexService(PROJECT, LOCATION, face.endpoint, clock)
        try:
            yield VertexBench(service, face, stand_in, disk, clock)
        finally:
            service.close()
