"""What a sandbox is made with, and how its folder keeps it so that it can be served again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import InputError
from orchestrator.sandbox.config import SandboxConfig
from orchestrator.sandbox.objects.draft import write_json
from orchestrator.sandbox.standins.base import StandInOptions

_DESCRIPTION = "sandbox.json"


@dataclass(frozen=True)
class SandboxOptions:
    """What a sandbox is made with.

    `namespaces` are organisations on the Hub in which the write token may write. `config` is what
    shall go wrong from the start, and how the Vertex face behaves.
    """

    stand_in: str = "tiny"
    training: StandInOptions = field(default_factory=StandInOptions)
    namespaces: tuple[str, ...] = ()
    config: SandboxConfig = field(default_factory=SandboxConfig)

    def save(self, folder: Path) -> None:
        """Keep the options in the sandbox's folder."""
        value = {
            "stand_in": self.stand_in,
            "training": dataclasses.asdict(self.training),
            "namespaces": self.namespaces,
            "config": self.config.model_dump(mode="json", exclude_defaults=True),
        }
        write_json(folder / _DESCRIPTION, value)


def is_sandbox(folder: Path) -> bool:
    """Whether a sandbox lived in this folder."""
    return (folder / _DESCRIPTION).is_file()


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
            # Sandboxes that an earlier version made have none.
            config=SandboxConfig.model_validate(value.get("config", {})),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not the description of a sandbox", hint="Choose another folder."
        ) from error
