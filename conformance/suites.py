"""The suites: where they come from, what they need, how they are led to a face.

To add one: a `Suite` in `SUITES`, and `rules/NAME.toml` for the cases that are left out or that
are known to fail, each with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_PYTEST = ("pytest==9.2.0", "pytest-timeout==2.4.0", "pytest-asyncio==1.5.0", "psutil==7.2.2")


@dataclass(frozen=True)
class Suite:
    """One suite against one face.

    `source` is the pinned source distribution that holds the tests; `requirements` go into
    `environment`, which suites may share; `variables` are made from the address of the face.
    With `alone` each case gets a process and an empty face of its own.
    """

    name: str
    face: str
    source: str
    environment: str
    requirements: tuple[str, ...]
    tests: tuple[str, ...]
    variables: Callable[[str], dict[str, str]]
    alone: bool = False
    timeout_s: float = 1800.0
    case_timeout_s: int = 120


def _google(address: str) -> dict[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": address,
        "GOOGLE_CLOUD_PROJECT": "sandbox",
        "GOOGLE_CLOUD_TESTS_USER_PROJECT": "sandbox",
    }


def _gcsfs(address: str) -> dict[str, str]:
    # The other file system asks Google's gRPC service for the kind of every bucket.
    return _google(address) | {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


_GOOGLE_STORAGE = (
    "google-cloud-storage[grpc,tracing]==3.17.1",
    "google-cloud-testutils==1.10.1",
    "google-cloud-iam==2.26.0",
    "google-cloud-kms==3.18.0",
    "opentelemetry-sdk==1.45.2",
    "brotli==1.2.1",
    "mock==5.2.0",
    *_PYTEST,
)

SUITES = (
    Suite(
        name="google-cloud-storage-conformance",
        face="storage",
        source="google-cloud-storage==3.17.1",
        environment="google-cloud-storage",
        requirements=_GOOGLE_STORAGE,
        tests=("tests/conformance",),
        variables=_google,
    ),
    Suite(
        name="google-cloud-storage-system",
        face="storage",
        source="google-cloud-storage==3.17.1",
        environment="google-cloud-storage",
        requirements=_GOOGLE_STORAGE,
        tests=("tests/system",),
        variables=_google,
    ),
    Suite(
        name="gcsfs",
        face="storage",
        source="gcsfs==2026.2.0",
        environment="gcsfs",
        requirements=("gcsfs==2026.2.0", *_PYTEST),
        tests=("gcsfs/tests",),
        variables=_gcsfs,
    ),
    Suite(
        name="gcsfs-versioned",
        face="storage",
        source="gcsfs==2026.2.0",
        environment="gcsfs",
        requirements=("gcsfs==2026.2.0", *_PYTEST),
        tests=("gcsfs/tests/test_core_versioned.py",),
        variables=_gcsfs,
        alone=True,
    ),
)
