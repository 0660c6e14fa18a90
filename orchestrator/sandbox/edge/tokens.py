"""The secrets of one sandbox: made at random when its folder is made, and kept in it."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from orchestrator.errors import InputError


@dataclass(frozen=True)
class Tokens:
    """What opens a sandbox: `sandbox` its own faces, the others its Hub, to write or to read."""

    sandbox: str
    hub_write: str
    hub_read: str

    def __post_init__(self) -> None:
        if not all(isinstance(token, str) and token for token in asdict(self).values()):
            raise ValueError("an empty token would let everybody in")

    @classmethod
    def kept(cls, file: Path) -> Tokens:
        """The tokens in `file`, made now if there are none; only the owner can read it."""
        if not file.exists():
            made = cls(
                sandbox=secrets.token_urlsafe(24),
                hub_write=f"hf_{secrets.token_hex(17)}",
                hub_read=f"hf_{secrets.token_hex(17)}",
            )
            write_private(file, orjson.dumps(asdict(made)))
        try:
            return cls(**orjson.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{file} does not hold the tokens of a sandbox",
                hint="Remove it: new tokens are made when the sandbox is served again.",
            ) from error


def write_private(file: Path, content: bytes) -> None:
    """Replace a file in one step; nobody but its owner can ever read it."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    draft.replace(file)
