"""The Vertex face: tuning jobs over gRPC and REST, as the real service offers them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import grpc
from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.gate import USER_NAME, Gate
from orchestrator.sandbox.edge.serving import AppServer, Served
from orchestrator.sandbox.standins.base import StandIn, StandInOptions
from orchestrator.sandbox.vertex.bill import BillLine, bill_line
from orchestrator.sandbox.vertex.calls import Calls
from orchestrator.sandbox.vertex.conduct import Method, VertexConduct
from orchestrator.sandbox.vertex.faults import VertexFaults
from orchestrator.sandbox.vertex.jobs import ENDED, Disk, JobStore
from orchestrator.sandbox.vertex.methods import TuningMethods
from orchestrator.sandbox.vertex.queue import JobQueue
from orchestrator.sandbox.vertex.rest import RestApp
from orchestrator.sandbox.vertex.rules import ModelRules
from orchestrator.sandbox.vertex.training import Trainer
from orchestrator.sandbox.vertex.wire import TuningServer


class VertexFace(Served):
    """Vertex AI tuning on loopback ports, over the sandbox's storage. A context manager.

    gRPC is served at `port`, and REST at `rest_port` unless that is None. With a `token` only who
    sends it is answered. Jobs are kept under `root`; one whose training was interrupted when the
    process died is trained again from the beginning. `book` says what goes wrong on purpose.
    """

    def __init__(
        self,
        root: Path,
        disk: Disk,
        stand_in: StandIn,
        *,
        models: Mapping[str, ModelRules],
        options: StandInOptions = StandInOptions(),  # noqa: B008 (frozen)
        conduct: VertexConduct = VertexConduct(),  # noqa: B008 (frozen)
        book: FaultBook | None = None,
        port: int = 0,
        rest_port: int | None = None,
        token: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        own_clock = clock if isinstance(clock, SandboxClock) else SandboxClock(clock)
        book = book or FaultBook(clock=own_clock)
        self.faults = VertexFaults(book)
        self._models = models
        self._token = token
        trainer = Trainer(
            root / "work", disk, stand_in, options, models, book, layout=conduct.layout
        )
        self._queue = JobQueue(JobStore(root / "jobs"), trainer, conduct, own_clock)
        methods = TuningMethods(self._queue, self.faults, book, disk, models, conduct)
        self._calls = Calls(methods, self.faults, book, own_clock)
        self._rest_app = RestApp(self._calls, own_clock)
        self._rest: AppServer | None = None
        if rest_port is not None:
            self._rest = AppServer(Gate(self._rest_app, token), rest_port, own_clock)
        try:
            self._server = TuningServer(self._calls, port, token)
        except BaseException:
            if self._rest is not None:
                self._rest.stop()
            raise
        self.port = self._server.port

    @property
    def endpoint(self) -> str:
        """The address for a gRPC client: `127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The gRPC address with the token in it, as ORCHESTRATOR_VERTEX_ENDPOINT takes it."""
        return f"http://{self._user_info}{self.endpoint}"

    @property
    def rest_url(self) -> str | None:
        """The address of the REST API with the token in it; None if it is not served."""
        if self._rest is None:
            return None
        return self._rest.url.replace("://", f"://{self._user_info}", 1)

    @property
    def _user_info(self) -> str:
        return "" if self._token is None else f"{USER_NAME}:{quote(self._token, safe='')}@"

    @property
    def create_calls(self) -> int:
        """How many create requests reached the face, whatever became of them."""
        return self.faults.calls["create"]

    def fail_next(
        self, method: Method, *, code: grpc.StatusCode, after_effect: bool = False
    ) -> None:
        """Answer the next create, get, list or cancel with an error; `faults` can do more."""
        self.faults.fail_next(method, code=code, after_effect=after_effect)

    def start(self) -> None:
        """Take up unfinished jobs, and serve."""
        self._queue.start()
        self._server.start()
        if self._rest is not None:
            self._rest.start()

    def stop(self) -> None:
        """Close the ports and interrupt the trainings; the next start begins them again."""
        self._calls.close()
        self._rest_app.close()
        self._server.stop()
        if self._rest is not None:
            self._rest.stop()
        self._queue.stop()

    def jobs(self) -> list[TuningJob]:
        """All jobs, newest first."""
        return [TuningJob.wrap(record.job) for record in self._queue.records()]

    def bill(self) -> tuple[BillLine, ...]:
        """What each job would have cost, newest first."""
        return tuple(bill_line(record, self._models) for record in self._queue.records())

    def all_ended(self) -> bool:
        """Whether no job is waiting or training any more."""
        return all(record.ended for record in self._queue.records())

    def differences(self, job_name: str) -> tuple[str, ...]:
        """Where the training departed from the job, a line each; raises KeyError."""
        record = self._queue.get(job_name)
        if record is None:
            raise KeyError(job_name)
        return record.differences

    def wait_until_ended(self, job_name: str, *, timeout_s: float = 30.0) -> TuningJob:
        """The job once its state is final; raises TimeoutError."""
        return TuningJob.wrap(self._queue.wait_for(job_name, ENDED, timeout_s))

    def wait_until_running(self, job_name: str, *, timeout_s: float = 30.0) -> TuningJob:
        """The job once it is training; raises TimeoutError."""
        running = frozenset({int(JobState.JOB_STATE_RUNNING)})
        return TuningJob.wrap(self._queue.wait_for(job_name, running, timeout_s))
