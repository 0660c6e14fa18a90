"""How large files travel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Transfers:
    """When LFS files travel in parts (from `multipart_from_bytes`), and how large the parts are.

    The real service's figures are not published; these are ours.
    """

    multipart_from_bytes: int = 100_000_000
    part_bytes: int = 16_000_000
