"""Settings come from the environment alone; a bad value names its variable and what to write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.settings import HUB, Settings

ROOT = Path(__file__).parent.parent


def settings(folder: Path, **env: str) -> Settings:
    """Settings of an environment that holds only `env` and a home and Hub folder below `folder`."""
    base = {"ORCHESTRATOR_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")}
    return Settings.from_env({**base, **env})


def test_defaults_are_the_real_services_and_nothing_is_guessed(tmp_path: Path) -> None:
    assert settings(tmp_path) == Settings(
        home=tmp_path / "home",
        ledger_url=f"sqlite:///{tmp_path / 'home' / 'ledger.db'}",
        project=None,
        bucket=None,
        vertex_endpoint=None,
        storage_endpoint=None,
        hub_endpoint=HUB,
        hub_token=None,
        visibility_window_s=600.0,
        call_timeout_s=60.0,
        hub_cache=tmp_path / "hf" / "hub",
        offline=False,
    )
    assert settings(tmp_path).cache_dir == tmp_path / "home" / "cache"
    assert settings(tmp_path).runs_dir == tmp_path / "home" / "runs"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "value", "field", "meant"),
    [
        ("ORCHESTRATOR_LEDGER", "postgresql://db/x", "ledger_url", "postgresql://db/x"),
        ("GOOGLE_CLOUD_PROJECT", "my-project", "project", "my-project"),
        ("ORCHESTRATOR_BUCKET", "gs://bucket", "bucket", "gs://bucket"),
        ("ORCHESTRATOR_BUCKET", "gs://bucket/a/b/", "bucket", "gs://bucket/a/b"),
        ("ORCHESTRATOR_VERTEX_ENDPOINT", "127.0.0.1:5", "vertex_endpoint", "127.0.0.1:5"),
        ("STORAGE_EMULATOR_HOST", "http://localhost:5", "storage_endpoint", "http://localhost:5"),
        ("HF_ENDPOINT", "http://127.0.0.1:9/", "hub_endpoint", "http://127.0.0.1:9"),
        ("HF_TOKEN", " hf_abc\n", "hub_token", "hf_abc"),
        ("ORCHESTRATOR_VISIBILITY_WINDOW_S", "0", "visibility_window_s", 0.0),
        ("ORCHESTRATOR_VISIBILITY_WINDOW_S", "1.5", "visibility_window_s", 1.5),
        ("ORCHESTRATOR_CALL_TIMEOUT_S", "120", "call_timeout_s", 120.0),
    ],
)
def test_each_variable_sets_its_field(
    tmp_path: Path, name: str, value: str, field: str, meant: object
) -> None:
    assert getattr(settings(tmp_path, **{name: value}), field) == meant


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("ORCHESTRATOR_LEDGER", "ledger_url"),
        ("GOOGLE_CLOUD_PROJECT", "project"),
        ("ORCHESTRATOR_BUCKET", "bucket"),
        ("ORCHESTRATOR_VERTEX_ENDPOINT", "vertex_endpoint"),
        ("STORAGE_EMULATOR_HOST", "storage_endpoint"),
        ("HF_ENDPOINT", "hub_endpoint"),
        ("HF_TOKEN", "hub_token"),
        ("ORCHESTRATOR_VISIBILITY_WINDOW_S", "visibility_window_s"),
        ("ORCHESTRATOR_CALL_TIMEOUT_S", "call_timeout_s"),
    ],
)
def test_an_empty_variable_is_as_good_as_none(tmp_path: Path, name: str, field: str) -> None:
    assert getattr(settings(tmp_path, **{name: ""}), field) == getattr(settings(tmp_path), field)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("ORCHESTRATOR_BUCKET", value)
            for value in ("bucket", "s3://b", "gs://", "gs:///folder")
        ],
        *[("ORCHESTRATOR_VISIBILITY_WINDOW_S", v) for v in ("ten", "-1", "nan", "inf", "1e9")],
        *[("ORCHESTRATOR_CALL_TIMEOUT_S", value) for value in ("1m", "-1", "0")],
        *[("HF_ENDPOINT", value) for value in ("huggingface.co", "ftp://x")],
        ("STORAGE_EMULATOR_HOST", "localhost:9000"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_to_write(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(InputError) as caught:
        settings(tmp_path, **{name: value})
    assert name in caught.value.message
    assert repr(value) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_missing_project_and_bucket_say_how_to_set_them(tmp_path: Path) -> None:
    with pytest.raises(InputError) as project:
        settings(tmp_path).need_project()
    with pytest.raises(InputError) as bucket:
        settings(tmp_path).need_bucket()
    assert "export GOOGLE_CLOUD_PROJECT=" in project.value.hint
    assert "export ORCHESTRATOR_BUCKET=gs://" in bucket.value.hint
    both = settings(tmp_path, GOOGLE_CLOUD_PROJECT="p", ORCHESTRATOR_BUCKET="gs://bu")
    assert (both.need_project(), both.need_bucket()) == ("p", "gs://bu")


def test_a_project_that_is_none_is_named_before_it_is_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the id of a project"):
        settings(tmp_path, GOOGLE_CLOUD_PROJECT="a b/c").need_project()


def test_a_token_that_cannot_travel_is_refused_and_never_shown(tmp_path: Path) -> None:
    for token in ("hf_sec\nret", "hf_sécret"):
        with pytest.raises(InputError, match="HF_TOKEN") as caught:
            settings(tmp_path, HF_TOKEN=token)
        assert "ret" not in str(caught.value).replace("Copy it", "")
        assert "hf auth login" in caught.value.hint


def test_a_home_below_the_users_own_is_expanded(tmp_path: Path) -> None:
    home = Path(os.environ["HOME"])
    assert settings(tmp_path, ORCHESTRATOR_HOME="~/tuning").home == home.resolve() / "tuning"


def test_without_a_home_the_users_data_folder_is_used() -> None:
    home = Settings.from_env({}).home
    assert home.name == "orchestrator"
    assert home.is_relative_to(os.environ["HOME"])


@pytest.mark.parametrize("variables", [[], ["HF_HOME"], ["XDG_CACHE_HOME"], ["HF_TOKEN_PATH"]])
def test_the_token_that_the_hub_client_saves_at_login_is_found(
    tmp_path: Path, variables: list[str]
) -> None:
    """The client itself says where it keeps the token, and writes it there."""
    values = {name: str(tmp_path / name.lower()) for name in variables}
    env = {"HOME": str(tmp_path), **values}
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from huggingface_hub import constants\n"
        "from huggingface_hub.utils._auth import _write_secret\n"
        "_write_secret(Path(constants.HF_TOKEN_PATH), 'hf_saved')\n"
        "from orchestrator.settings import Settings\n"
        "print(Settings.from_env().hub_token)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**env, "PATH": os.environ["PATH"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "hf_saved\n"


def test_the_variable_wins_over_the_saved_token(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_saved\n", encoding="utf-8")
    assert settings(tmp_path).hub_token == "hf_saved"
    assert settings(tmp_path, HF_TOKEN="hf_given").hub_token == "hf_given"
    assert settings(tmp_path, HF_TOKEN="  ").hub_token == "hf_saved"


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_token_file_holds_no_token(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_bytes(content)
    assert settings(tmp_path).hub_token is None


def test_a_token_file_that_is_a_folder_holds_no_token(tmp_path: Path) -> None:
    (tmp_path / "hf" / "token").mkdir(parents=True)
    assert settings(tmp_path).hub_token is None


def test_a_token_file_that_is_no_text_ends_in_a_message(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not text") as caught:
        settings(tmp_path)
    assert "hf auth login" in caught.value.hint


def test_operations_names_every_variable() -> None:
    source = (ROOT / "orchestrator" / "settings.py").read_text(encoding="utf-8")
    documented = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r'"((?:ORCHESTRATOR|GOOGLE|STORAGE)_[A-Z_]+|HF_TOKEN|HF_ENDPOINT)"', source)
    )
    assert len(named) == 11
    assert {name for name in named if name not in documented} == set()


@pytest.mark.parametrize(
    ("variables", "cache"),
    [
        ({"HF_HUB_CACHE": "/there/hub"}, "/there/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/old/hub"}, "/old/hub"),
        ({"HF_HOME": "/there"}, "/there/hub"),
        ({"HF_HOME": "", "XDG_CACHE_HOME": "/cache"}, "/cache/huggingface/hub"),
    ],
)
def test_the_cache_of_the_hubs_own_tools_is_found_as_they_find_it(
    tmp_path: Path, variables: dict[str, str], cache: str
) -> None:
    assert settings(tmp_path, **variables).hub_cache == Path(cache)


@pytest.mark.parametrize("name", ["ORCHESTRATOR_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_is_said_with_a_yes(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, **{name: "1"}).offline
    assert settings(tmp_path, **{name: "True"}).offline
    assert not settings(tmp_path, **{name: "0"}).offline
    assert not settings(tmp_path, **{name: ""}).offline
