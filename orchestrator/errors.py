"""Errors that users may see. Everything below the command line raises one of these.

OrchestratorError           message, where it is (file:line, field), what to do
├── InputError              spec, data, usage or a setting is wrong (exit 2)
├── CheckFailed             a check, an attempt or a gate did not pass (exit 1)
├── LedgerError             the ledger cannot be read, or was changed by another pass (exit 1)
└── RemoteError             a service or a store did not do what was asked
    ├── Refused             an unambiguous no: nothing happened on the other side (exit 2)
    │   ├── NotFound        the thing does not exist, or is hidden from us
    │   └── Conflict        a precondition failed: the thing is there, or has changed
    ├── Ambiguous           no trustworthy answer: the effect may or may not exist (exit 1)
    └── Corrupt             bytes arrived that are not the bytes that were promised (exit 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Place:
    """A position in a file that the user wrote. Lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


class OrchestratorError(Exception):
    """What is wrong, where it is, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, where: Place | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class InputError(OrchestratorError):
    """The spec, the data, the command line or a setting is wrong."""

    exit_code = 2


class CheckFailed(OrchestratorError):
    """A check, an attempt or a gate did not pass."""


class LedgerError(OrchestratorError):
    """The ledger cannot be used, or another pass changed the run meanwhile."""


class RemoteError(OrchestratorError):
    """A service or a store did not do what it was asked."""


class RefusalKind(StrEnum):
    """Why a service or store said no. Only `QUOTA` may succeed later without a change."""

    QUOTA = "quota"
    INVALID = "invalid"
    PERMISSION = "permission"
    CREDENTIALS = "credentials"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"


class Refused(RemoteError):
    """An unambiguous no: the request had no effect on the other side."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        kind: RefusalKind,
        where: Place | None = None,
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.kind = kind
        self.retry_after_s = retry_after_s


class NotFound(Refused):
    """The thing does not exist, or is hidden from these credentials."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, kind=RefusalKind.NOT_FOUND, hint=hint)


class Conflict(Refused):
    """A precondition failed: the thing exists already, or has changed since it was read."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, kind=RefusalKind.CONFLICT, hint=hint)


class Ambiguous(RemoteError):
    """No trustworthy answer came: the request may or may not have had its effect."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Corrupt(RemoteError):
    """Bytes arrived whose checksum is not the promised one."""
