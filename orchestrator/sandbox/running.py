"""A whole sandbox in one folder: storage, Vertex tuning and the Hub, on loopback ports."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.catalog import load_catalog
from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import InputError
from orchestrator.sandbox.edge.serving import AppServer, Served
from orchestrator.sandbox.hub.app import Account, hub_app
from orchestrator.sandbox.objects.disk import ObjectDisk
from orchestrator.sandbox.objects.draft import write_json
from orchestrator.sandbox.standins.base import StandIn, StandInOptions
from orchestrator.sandbox.standins.replay import ReplayStandIn
from orchestrator.sandbox.standins.tiny import TinyStandIn
from orchestrator.sandbox.storage.app import storage_app
from orchestrator.sandbox.vertex.face import VertexFace
from orchestrator.sandbox.vertex.rules import ModelRules
from orchestrator.settings import Settings

PROJECT = "sandbox"
BUCKET = "sandbox-bucket"
USER = "sandbox-user"
WRITE_TOKEN = "hf_sandbox_write"  # noqa: S105 (opens nothing but a server on loopback)
READ_TOKEN = "hf_sandbox_read"  # noqa: S105
STAND_INS = ("tiny", "replay")

_DESCRIPTION = "sandbox.json"


@dataclass(frozen=True)
class SandboxOptions:
    """What a sandbox is made with; kept in its folder, so that it can be served again.

    `namespaces` are organisations on the Hub in which the write token may write.
    """

    stand_in: str = "tiny"
    training: StandInOptions = field(default_factory=StandInOptions)
    namespaces: tuple[str, ...] = ()


class Sandbox(Served):
    """Local servers over the state in `folder`. A context manager; ports of 0 are free ones."""

    def __init__(
        self,
        folder: Path,
        options: SandboxOptions | None = None,
        *,
        storage_port: int = 0,
        vertex_port: int = 0,
        hub_port: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.folder = folder
        self.options = load_options(folder) if options is None else options
        # Described first: a folder that a later error leaves behind can still be served.
        _save(folder, self.options)
        self.stand_in = _stand_in(self.options.stand_in, folder / "stand-ins")
        self.disk = ObjectDisk(folder / "storage", clock)
        self.disk.create_bucket(BUCKET)
        self.storage_app = storage_app(self.disk)
        self.hub_app = hub_app(folder / "hub", _accounts(self.options.namespaces), clock)
        self.vertex = VertexFace(
            folder / "vertex",
            self.disk,
            self.stand_in,
            models=_models(),
            options=self.options.training,
            port=vertex_port,
            clock=clock,
        )
        self._storage = AppServer(self.storage_app, storage_port)
        self._hub = AppServer(self.hub_app, hub_port)

    def settings(self, home: Path) -> Settings:
        """Settings that lead every client to this sandbox."""
        return Settings(
            home=home,
            ledger_url=f"sqlite:///{home / 'ledger.db'}",
            project=PROJECT,
            bucket=f"gs://{BUCKET}",
            vertex_endpoint=self.vertex.endpoint,
            storage_endpoint=self._storage.url,
            hub_endpoint=self._hub.url,
            hub_token=WRITE_TOKEN,
        )

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for this and for other programs."""
        return {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "ORCHESTRATOR_BUCKET": f"gs://{BUCKET}",
            "ORCHESTRATOR_VERTEX_ENDPOINT": self.vertex.endpoint,
            "STORAGE_EMULATOR_HOST": self._storage.url,
            "HF_ENDPOINT": self._hub.url,
            "HF_TOKEN": WRITE_TOKEN,
            "HF_HUB_DISABLE_XET": "1",
        }

    def start(self) -> None:
        """Serve all faces."""
        self._storage.start()
        self._hub.start()
        self.vertex.start()

    def stop(self) -> None:
        """Close all ports; the state stays in the folder."""
        self.vertex.stop()
        self._hub.stop()
        self._storage.stop()


def is_sandbox(folder: Path) -> bool:
    """Whether a sandbox lived in this folder."""
    return (folder / _DESCRIPTION).is_file()


def _accounts(namespaces: tuple[str, ...]) -> dict[str, Account]:
    orgs = {name: "write" for name in namespaces if name != USER}
    return {
        WRITE_TOKEN: Account(name=USER, role="write", orgs=orgs),
        READ_TOKEN: Account(name=USER, role="read", orgs=orgs),
    }


def _models() -> dict[str, ModelRules]:
    return {
        model.id: ModelRules(
            service_id=model.id,
            hub_id=model.hub_id,
            modes=model.modes,
            ranks=model.ranks,
            max_tokens=model.max_row_tokens,
            tokens_per_char=model.tokens_per_character,
        )
        for model in load_catalog().models.values()
    }


def _stand_in(name: str, folder: Path) -> StandIn:
    if name == "replay":
        return ReplayStandIn()
    if name == "tiny":
        return TinyStandIn(folder)
    raise InputError(f"there is no stand-in {name}", hint=f"Stand-ins: {', '.join(STAND_INS)}.")


def load_options(folder: Path) -> SandboxOptions:
    """The options that the folder's sandbox was made with, or the defaults for a new one."""
    file = folder / _DESCRIPTION
    if not file.exists():
        return SandboxOptions()
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return SandboxOptions(
            stand_in=value["stand_in"],
            training=StandInOptions(**value["training"]),
            namespaces=tuple(value["namespaces"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not the description of a sandbox", hint="Choose another folder."
        ) from error


def _save(folder: Path, options: SandboxOptions) -> None:
    write_json(folder / _DESCRIPTION, asdict(options))
