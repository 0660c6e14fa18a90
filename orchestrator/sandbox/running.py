"""A whole sandbox in one folder: storage, Vertex tuning, the Hub and Jobs, on loopback ports."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp

from orchestrator.catalog import load_catalog
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.sandbox.description import SandboxOptions, is_sandbox, load_options
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.control import Controls, JobReport, control_app
from orchestrator.sandbox.edge.faults import HttpFaults
from orchestrator.sandbox.edge.gate import USER_NAME, Gate
from orchestrator.sandbox.edge.presence import FolderLock, Serving
from orchestrator.sandbox.edge.rules import Face
from orchestrator.sandbox.edge.serving import AppServer, Served
from orchestrator.sandbox.edge.tokens import Tokens
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.app import Account, hub_app
from orchestrator.sandbox.jobs.base_models import seed_base_models
from orchestrator.sandbox.jobs.face import JobsFace
from orchestrator.sandbox.jobs.routes import job_routes
from orchestrator.sandbox.jobs.stand_ins import job_stand_in
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.standins.base import StandIn
from orchestrator.sandbox.standins.replay import ReplayStandIn
from orchestrator.sandbox.standins.tiny import TinyStandIn
from orchestrator.sandbox.storage.app import storage_app
from orchestrator.sandbox.vertex.face import VertexFace
from orchestrator.sandbox.vertex.rules import ModelRules
from orchestrator.settings import Settings

__all__ = [
    "BUCKET",
    "PROJECT",
    "STAND_INS",
    "USER",
    "Ports",
    "Sandbox",
    "SandboxOptions",
    "is_sandbox",
    "load_options",
]

PROJECT = "sandbox"
BUCKET = "sandbox-bucket"
USER = "sandbox-user"
STAND_INS = ("tiny", "smollm2", "replay")


@dataclass(frozen=True)
class Ports:
    """Where the faces listen on 127.0.0.1; 0 is any free port."""

    storage: int = 0
    vertex: int = 0
    vertex_rest: int = 0
    hub: int = 0
    control: int = 0


class Sandbox(Served):
    """Local servers over the state in `folder`; a context manager. For tests of any pipeline:

        with Sandbox(tmp_path / "sandbox", SandboxOptions(stand_in="replay")) as sandbox:
            for name, value in sandbox.environment().items():
                monkeypatch.setenv(name, value)
            sandbox.faults.add(RequestRule(face="storage", operation="PUT", effect="drop"))
            ...                             # the program under test, with its own clients
            sandbox.clock.advance(4 * 3600)  # a training that takes hours ends now

    `faults` is what goes wrong and what went wrong, `clock` the time of all faces, which runs with
    the machine's; `disk` holds the objects, `vertex` the tuning jobs, `jobs` those of the Hub. The
    folder is made if need be and can be served again. With `need_token` False any program of this
    machine is let in.
    One process serves a folder at a time; raises `InputError` for a second one.
    """

    def __init__(
        self,
        folder: Path,
        options: SandboxOptions | None = None,
        *,
        ports: Ports = Ports(),
        clock: Clock = SYSTEM_CLOCK,
        need_token: bool = True,
    ) -> None:
        # Absolute: the program under test may change its folder.
        folder = self.folder = folder.absolute()
        with contextlib.ExitStack() as undo:
            lock = FolderLock(_made(folder))
            undo.callback(lock.release)
            self.options = load_options(folder) if options is None else options
            # Described first: a folder that a later error leaves behind can still be served.
            self.options.save(folder)
            self.tokens = Tokens.kept(folder / "tokens.json")
            self._token = self.tokens.sandbox if need_token else None
            self.clock = SandboxClock(clock, folder / "clock.json")
            self.faults = FaultBook(
                self.options.config.faults, log=folder / "faults.jsonl", clock=self.clock
            )
            self.disk = ObjectDisk(folder / "storage", self.clock)
            self.disk.create_bucket(BUCKET)
            self.storage_app = storage_app(
                self.disk, permissions=self.options.config.storage.permissions
            )
            self.hub_app = hub_app(
                folder / "hub", self._accounts(), self.clock, more=self._with_jobs
            )
            self._edges: list[HttpFaults] = []
            self._storage = self._served(self.storage_app, "storage", self._token, ports.storage)
            undo.callback(self._storage.stop)
            # The Hub's own tokens tell its users apart, and strangers may read what is public.
            self._hub = self._served(self.hub_app, "hub", None, ports.hub)
            undo.callback(self._hub.stop)
            undo.callback(self.jobs.stop)
            controls = Controls(
                self.faults, self.clock, self._job_reports, self._about, self._hub_job_reports
            )
            self._control = AppServer(
                Gate(control_app(controls), self.tokens.sandbox), ports.control, self.clock
            )
            undo.callback(self._control.stop)
            self.stand_in = _stand_in(self.options.stand_in, folder / "stand-ins")
            self.vertex = self._vertex_face(ports)
            undo.callback(self.vertex.stop)
            self._undo = undo.pop_all()

    @property
    def storage_url(self) -> str:
        """The address of the storage face, with the token in it."""
        return self._with_token(self._storage.url)

    @property
    def hub_url(self) -> str:
        """The address of the Hub; it knows its users by `tokens`."""
        return self._hub.url

    def settings(self, home: Path) -> Settings:
        """Settings that lead every client to this sandbox."""
        return Settings(
            home=home,
            ledger_url=f"sqlite:///{home / 'ledger.db'}",
            project=PROJECT,
            bucket=f"gs://{BUCKET}",
            vertex_endpoint=self.vertex.url,
            storage_endpoint=self.storage_url,
            hub_endpoint=self.hub_url,
            hub_token=self.tokens.hub_write,
        )

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for this and for other programs."""
        return {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "ORCHESTRATOR_BUCKET": f"gs://{BUCKET}",
            "ORCHESTRATOR_VERTEX_ENDPOINT": self.vertex.url,
            "GOOGLE_VERTEX_BASE_URL": self.vertex.rest_url or "",
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "HF_ENDPOINT": self.hub_url,
            "HF_TOKEN": self.tokens.hub_write,
            "HF_HUB_DISABLE_XET": "1",
            # For clients built on object_store, such as obstore; they want `allow_http` too.
            "GOOGLE_BASE_URL": self._storage.url,
            "GOOGLE_BEARER_TOKEN": self.tokens.sandbox,
            # gcsfs would ask Google itself, over gRPC, what kind of bucket it has before it.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            # A ledger of its own, where a kept rehearsal has it too: in that of real runs, a plan
            # that was tried here would count as submitted.
            "ORCHESTRATOR_HOME": str(self.folder / "home"),
        }

    def start(self) -> None:
        """Serve all faces, and say so in the folder (`serving.json`)."""
        try:
            for face in (self._storage, self._hub, self.vertex, self._control):
                face.start()
            # Last: what waits begins now, and asks the others.
            self.jobs.start()
            Serving(
                folder=str(self.folder),
                pid=os.getpid(),
                control_url=self._control.url,
                token=self.tokens.sandbox,
                environment=self.environment(),
            ).write()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all ports; the state stays in the folder."""
        for edge in self._edges:
            edge.close()
        for server in (self._storage, self._hub, self._control):
            server.begin_stop()
        self._undo.close()

    def _served(self, app: ASGIApp, face: Face, token: str | None, port: int) -> AppServer:
        edge = HttpFaults(app, face, self.faults, self.clock)
        self._edges.append(edge)
        # The gate is outside: what it refuses is no request of the face, and counts for no rule.
        return AppServer(Gate(edge, token), port, self.clock)

    def _vertex_face(self, ports: Ports) -> VertexFace:
        return VertexFace(
            self.folder / "vertex",
            self.disk,
            self.stand_in,
            models=_models(),
            options=self.options.training,
            conduct=self.options.config.vertex,
            book=self.faults,
            port=ports.vertex,
            rest_port=ports.vertex_rest,
            token=self._token,
            clock=self.clock,
        )

    def _with_jobs(self, hub: HubFace) -> list[Route]:
        """The Jobs face, at the Hub's address and over its repositories."""
        config, stand_ins = self.options.config, self.folder / "stand-ins"
        hub.can_pay = config.jobs.can_pay
        seed_base_models(hub, load_catalog().models.values(), USER)
        self.jobs = JobsFace(
            self.folder / "jobs",
            hub,
            endpoint=lambda: self.hub_url,
            clock=self.clock,
            book=self.faults,
            conduct=config.jobs,
            stand_in=job_stand_in(self.options.stand_in, stand_ins, self.options.training),
        )
        return job_routes(self.jobs)

    def _accounts(self) -> dict[str, Account]:
        orgs = {name: "write" for name in self.options.namespaces if name != USER}
        return {
            self.tokens.hub_write: Account(name=USER, role="write", orgs=orgs),
            self.tokens.hub_read: Account(name=USER, role="read", orgs=orgs),
        }

    def _with_token(self, url: str) -> str:
        return url if self._token is None else url.replace("://", f"://{USER_NAME}:{self._token}@")

    def _job_reports(self) -> list[JobReport]:
        names = {job.name: job.tuned_model_display_name for job in self.vertex.jobs()}
        return [
            JobReport(line.job_name, names.get(line.job_name, ""), line.state, line.cost_usd)
            for line in self.vertex.bill()
        ]

    def _hub_job_reports(self) -> list[JobReport]:
        return [
            JobReport(line.job_id, line.name, line.stage, line.cost_usd)
            for line in self.jobs.bill()
        ]

    def _about(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "pid": os.getpid(),
            "stand_in": self.options.stand_in,
            "token_needed": self._token is not None,
            "faces": {
                "storage": self._storage.url,
                "vertex": self.vertex.endpoint,
                "vertex rest": _without_token(self.vertex.rest_url or ""),
                "hub": self._hub.url,
                "jobs": f"{self._hub.url}/api/jobs",
                "control": self._control.url,
            },
        }


def _made(folder: Path) -> Path:
    """The folder, made if need be: private repositories and keys of uploads will be in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made: {error.strerror}",
            hint="Name one that you may write: --dir.",
        ) from error
    return folder


def _without_token(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _models() -> dict[str, ModelRules]:
    return {
        model.id: ModelRules(
            service_id=model.id,
            hub_id=model.hub_id,
            modes=model.modes,
            ranks=model.ranks,
            max_tokens=model.max_row_tokens,
            tokens_per_char=model.tokens_per_character,
            usd_per_million_tokens=model.usd_per_million_tokens,
        )
        for model in load_catalog().models.values()
    }


def _stand_in(name: str, folder: Path) -> StandIn:
    if name == "replay":
        return ReplayStandIn()
    if name in ("tiny", "smollm2"):
        # SmolLM2 stands in for jobs of the Hub alone; what Vertex trains is tiny, and says so.
        return TinyStandIn(folder)
    raise InputError(f"there is no stand-in {name}", hint=f"Stand-ins: {', '.join(STAND_INS)}.")
