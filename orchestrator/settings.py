"""Where things are on this machine and at the services: read from the environment, never guessed.

Nothing here says what is trained: that is the spec's and the catalog's, and in the plan's digest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import InputError

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Settings:
    """The settings of one invocation.

    Endpoints are None for the real services. `bucket` is `gs://bucket` with an optional folder.
    `visibility_window_s` is how long a created job may be absent from the service's list.
    `hub_cache` is where the Hub's own tools keep what they fetched; it is only read. With `offline`
    no rows and no tokenizers are asked for on the network.
    """

    home: Path
    ledger_url: str
    project: str | None = None
    bucket: str | None = None
    vertex_endpoint: str | None = None
    storage_endpoint: str | None = None
    hub_endpoint: str = HUB
    hub_token: str | None = None
    visibility_window_s: float = 600.0
    call_timeout_s: float = 60.0
    hub_cache: Path | None = None
    offline: bool = False
    #: The environment: a job gets those of its variables that the spec names as secrets.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def runs_dir(self) -> Path:
        """A folder for each run: what was collected, and what is published."""
        return self.home / "runs"

    @property
    def cache_dir(self) -> Path:
        """What was fetched from the network, and can be fetched again."""
        return self.home / "cache"

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; names and defaults are in docs/operations.md."""
        home = _home(env)
        return cls(
            home=home,
            ledger_url=env.get("ORCHESTRATOR_LEDGER") or f"sqlite:///{home / 'ledger.db'}",
            project=env.get("GOOGLE_CLOUD_PROJECT") or None,
            bucket=_bucket(env.get("ORCHESTRATOR_BUCKET")),
            vertex_endpoint=env.get("ORCHESTRATOR_VERTEX_ENDPOINT") or None,
            storage_endpoint=_url(env, "STORAGE_EMULATOR_HOST"),
            hub_endpoint=_url(env, "HF_ENDPOINT") or HUB,
            hub_token=_hub_token(env),
            visibility_window_s=_seconds(env, "ORCHESTRATOR_VISIBILITY_WINDOW_S", 600.0),
            call_timeout_s=_seconds(
                env, "ORCHESTRATOR_CALL_TIMEOUT_S", 60.0, least_s=1.0, most_s=240.0
            ),
            hub_cache=_hub_cache(env),
            secrets=env,
            offline=any(_yes(env, name) for name in ("ORCHESTRATOR_OFFLINE", "HF_HUB_OFFLINE")),
        )

    def need_project(self) -> str:
        """The Google Cloud project, or an error that says how to set it."""
        if self.project is None:
            raise InputError(
                "no Google Cloud project is set",
                hint="Set it: export GOOGLE_CLOUD_PROJECT=your-project",
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9.:-]*", self.project):
            raise InputError(
                f"GOOGLE_CLOUD_PROJECT is {self.project!r}, which is not the id of a project",
                hint="Look for it: gcloud projects list",
            )
        return self.project

    def need_bucket(self) -> str:
        """The staging bucket, or an error that says how to set it."""
        if self.bucket is None:
            raise InputError(
                "no staging bucket is set",
                hint="Set one that you own: export ORCHESTRATOR_BUCKET=gs://your-bucket",
            )
        return self.bucket


def _home(env: Mapping[str, str]) -> Path:
    if env.get("ORCHESTRATOR_HOME"):
        try:
            return Path(env["ORCHESTRATOR_HOME"]).expanduser().resolve()
        except RuntimeError:  # there is no such user
            raise InputError(
                f"ORCHESTRATOR_HOME is {env['ORCHESTRATOR_HOME']!r}, and there is no such home",
                hint="Write the whole path.",
            ) from None
    import platformdirs

    return Path(platformdirs.user_data_dir("orchestrator"))


def _bucket(value: str | None) -> str | None:
    if not value:
        return None
    if not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]*[a-z0-9](/.*)?", value):
        raise InputError(
            f"ORCHESTRATOR_BUCKET is {value!r}, which is not a Cloud Storage location",
            hint="Write it as gs://your-bucket or gs://your-bucket/folder",
        )
    return value.rstrip("/")


def _hub_token(env: Mapping[str, str]) -> str | None:
    """HF_TOKEN, or the token that `hf auth login` left."""
    if env.get("HF_TOKEN", "").strip():
        return _plain(env["HF_TOKEN"].strip(), "HF_TOKEN")
    try:
        file = Path(env.get("HF_TOKEN_PATH") or _hf_home(env) / "token").expanduser()
    except RuntimeError:  # a user without a home, as in many containers
        return None
    try:
        return _plain(file.read_text(encoding="utf-8").strip(), str(file)) or None
    except OSError:
        return None
    except UnicodeDecodeError:
        raise InputError(
            f"the Hub token in {file} is not text",
            hint="Write it again: hf auth login. Or export HF_TOKEN=...",
        ) from None


def _hf_home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))


def _hub_cache(env: Mapping[str, str]) -> Path | None:
    """Where huggingface_hub keeps what it fetched, found as it finds it."""
    named = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    try:
        return Path(named or _hf_home(env) / "hub").expanduser()
    except RuntimeError:  # a user without a home
        return None


def _yes(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() in {"1", "on", "yes", "true"}


def _url(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if not value:
        return None
    if not value.startswith(("http://", "https://")):
        raise InputError(
            # What stands before the host may be a token.
            f"{name} is {value.rpartition('@')[2]!r}, which is not a URL",
            hint="Write it with its scheme, as https://host or http://127.0.0.1:8000",
        )
    return value.rstrip("/")


def _plain(token: str, source: str) -> str:
    """A token as it can travel in a header; the message must never show it."""
    if re.fullmatch(r"[!-~]*", token):
        return token
    raise InputError(
        f"the Hub token in {source} holds characters that no token has",
        hint="Copy it again, or: hf auth login",
    )


def _seconds(
    env: Mapping[str, str],
    name: str,
    default: float,
    *,
    least_s: float = 0.0,
    most_s: float = 1e9,
) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (least_s <= value <= most_s and value < 1e9):
        least = f" of at least {least_s:g}" if least_s else ""
        most = f" and at most {most_s:g}" if most_s < 1e9 else ""
        raise InputError(
            f"{name} is {text!r}, which is not a number of seconds{least}{most}",
            hint=f"Write a number, or unset it for the default of {default:g}.",
        )
    return value
