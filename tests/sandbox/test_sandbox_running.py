"""A whole sandbox, as a test of somebody's pipeline uses it: in process, through real clients."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from orchestrator.errors import InputError, RefusalKind, Refused
from orchestrator.sandbox.config import SandboxConfig, StorageConduct
from orchestrator.sandbox.edge.presence import Serving
from orchestrator.sandbox.edge.remote import RemoteSandbox
from orchestrator.sandbox.edge.rules import Effect, FaultPlan, RequestRule
from orchestrator.sandbox.running import BUCKET, Ports, Sandbox, SandboxOptions, load_options
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.settings import Settings
from orchestrator.stores.gcs import GcsStore
from tests.manual_clock import ManualClock
from tests.sandbox.storage.stage import retry_at_once

REPLAY = SandboxOptions(stand_in="replay")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for the tests that leave no rules behind; its base clock stands still."""
    folder = tmp_path_factory.mktemp("sandbox")
    with Sandbox(folder / "made", REPLAY, clock=ManualClock()) as sandbox:
        yield sandbox


@pytest.fixture
def led(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, with the environment that leads programs to it."""
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return sandbox


@pytest.fixture
def storage(led: Sandbox) -> Iterator[Any]:
    """Google's storage client, made from the environment alone."""
    from google.cloud import storage

    client = storage.Client()
    yield client
    client.close()


def hub(sandbox: Sandbox, token: str | bool | None = None) -> HfApi:
    """The Hub's client; it read the environment when it was imported, so it is told."""
    return HfApi(
        endpoint=sandbox.hub_url, token=sandbox.tokens.hub_write if token is None else token
    )


def test_the_environment_says_what_the_settings_say(led: Sandbox, tmp_path: Path) -> None:
    from_env = Settings.from_env()
    # What this machine has fetched before, and whether it may fetch, is no matter of the sandbox.
    told = replace(from_env, home=tmp_path, ledger_url="", hub_cache=None, offline=False)
    assert told == replace(led.settings(tmp_path), ledger_url="")


def test_a_fault_in_the_book_meets_googles_client_and_is_recorded(
    led: Sandbox, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_at_once(monkeypatch)
    led.faults.add(RequestRule(face="storage", operation="POST", effect=Effect.DROP, after=True))
    before = len(led.faults.injected)
    storage.bucket("sandbox-bucket").blob("once").upload_from_string("content")
    assert storage.bucket("sandbox-bucket").blob("once").download_as_bytes() == b"content"
    (injection,) = led.faults.injected[before:]
    assert (injection.face, injection.hidden_status) == ("storage", 200)
    logged = (led.folder / "faults.jsonl").read_bytes().splitlines()
    assert orjson.loads(logged[-1])["fault"] == "drop after the effect"
    led.faults.clear()


def test_a_fault_in_the_book_meets_the_hubs_client(led: Sandbox) -> None:
    led.faults.add(RequestRule(face="hub", operation="POST", status=403, message="not today"))
    with pytest.raises(HfHubHTTPError, match="not today"):
        hub(led).create_repo("sandbox-user/model")
    hub(led).create_repo("sandbox-user/model")


def test_every_face_lives_on_the_clock_of_the_sandbox(led: Sandbox, storage: Any) -> None:
    blob = storage.bucket("sandbox-bucket").blob("clock")
    blob.upload_from_string("1")
    first = blob.time_created
    led.clock.advance(3600)
    blob.upload_from_string("2")
    assert (blob.time_created - first).total_seconds() == 3600
    api = hub(led)
    api.create_repo("sandbox-user/clock")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="sandbox-user/clock")
    (commit, *_) = api.list_repo_commits("sandbox-user/clock")
    assert (commit.created_at - first).total_seconds() == pytest.approx(3600, abs=1)


def test_clients_of_object_store_are_led_here_by_the_environment(led: Sandbox) -> None:
    import obstore
    from obstore.store import GCSStore

    store = GCSStore("sandbox-bucket", client_options={"allow_http": True})
    obstore.put(store, "from/obstore", b"rows")
    assert led.disk.need("sandbox-bucket", "from/obstore", None).size_bytes == 4


def test_gcsfs_is_led_here_by_the_environment(led: Sandbox) -> None:
    """In a process of its own: it reads some of its environment only when it is first imported."""
    code = """
import gcsfs

files = gcsfs.GCSFileSystem(project="sandbox", token="anon")
files.pipe_file("sandbox-bucket/from/gcsfs", b"rows")
assert files.cat_file("sandbox-bucket/from/gcsfs") == b"rows"
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **led.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert led.disk.need("sandbox-bucket", "from/gcsfs", None).size_bytes == 4


def test_the_tokens_of_the_hub_differ_in_what_they_may(led: Sandbox) -> None:
    assert hub(led, led.tokens.hub_read).whoami()["name"] == "sandbox-user"
    with pytest.raises(HfHubHTTPError):
        hub(led, led.tokens.hub_read).create_repo("sandbox-user/read-only")
    api = hub(led)
    api.create_repo("sandbox-user/open", private=False)
    api.create_repo("sandbox-user/shut", private=True)
    assert hub(led, False).model_info("sandbox-user/open").id == "sandbox-user/open"
    with pytest.raises(RepositoryNotFoundError):
        hub(led, False).model_info("sandbox-user/shut")


def test_without_the_token_storage_and_vertex_say_nothing(sandbox: Sandbox) -> None:
    storage_url = sandbox.storage_url.replace(f"sandbox:{sandbox.tokens.sandbox}@", "")
    assert storage_url != sandbox.storage_url
    assert requests.get(f"{storage_url}/storage/v1/b", timeout=10).status_code == 401
    rest_url = sandbox.environment()["GOOGLE_VERTEX_BASE_URL"]
    jobs = "/v1beta1/projects/sandbox/locations/us-central1/tuningJobs"
    assert requests.get(rest_url + jobs, timeout=10).status_code == 200
    bare = rest_url.replace(f"sandbox:{sandbox.tokens.sandbox}@", "")
    assert requests.get(bare + jobs, timeout=10).status_code == 401


def test_the_hub_too_is_served_under_names_of_this_machine_only(sandbox: Sandbox) -> None:
    url = f"{sandbox.hub_url}/api/models"
    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(url, headers={"host": "evil.example"}, timeout=10).status_code == 403


def test_other_processes_find_it_while_it_is_served_and_only_then(tmp_path: Path) -> None:
    with Sandbox(tmp_path, REPLAY) as sandbox:
        remote = RemoteSandbox(tmp_path)
        assert remote.serving.environment == sandbox.environment()
        status = remote.call("GET", "/status")
        assert status["stand_in"] == "replay"
        assert sandbox.tokens.sandbox not in str(status)
        assert remote.call("GET", "/vertex/jobs") == []
        assert stat.S_IMODE((tmp_path / "serving.json").stat().st_mode) == 0o600
    assert Serving.read(tmp_path) is None


def test_a_folder_is_served_by_one_sandbox_at_a_time(tmp_path: Path) -> None:
    with Sandbox(tmp_path, REPLAY):
        with pytest.raises(InputError, match="served already, by this process"):
            Sandbox(tmp_path)
        assert Serving.read(tmp_path) is not None
    with Sandbox(tmp_path):
        pass


def test_a_port_that_is_taken_leaves_the_folder_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for ports in (Ports(storage=port), Ports(control=port), Ports(vertex=port)):
            with pytest.raises(InputError, match=str(port)):
                Sandbox(tmp_path, REPLAY, ports=ports)
    with Sandbox(tmp_path) as sandbox:
        assert sandbox.options.stand_in == "replay"


def test_a_face_that_does_not_start_takes_the_others_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox(tmp_path, REPLAY)

    def fail() -> None:
        raise InputError("no room")

    monkeypatch.setattr(sandbox.vertex, "start", fail)
    with pytest.raises(InputError, match="no room"):
        sandbox.start()
    assert Serving.read(tmp_path) is None
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.hub_url, timeout=10)
    with Sandbox(tmp_path):
        pass


def test_tokens_config_and_objects_outlive_a_restart(tmp_path: Path) -> None:
    rule = RequestRule(face="storage", operation="GET", target="/o/x", times=None)
    config = SandboxConfig(
        faults=FaultPlan(seed=5, requests=(rule,)), vertex=VertexConduct(running_s=60)
    )
    options = SandboxOptions(stand_in="replay", namespaces=("acme",), config=config)
    with Sandbox(tmp_path, options) as first:
        first.disk.insert("sandbox-bucket", "x", b"content")
    assert load_options(tmp_path) == options
    with Sandbox(tmp_path) as second:
        assert second.tokens == first.tokens
        url = f"{second.storage_url}/storage/v1/b/sandbox-bucket/o/x"
        assert requests.get(url, timeout=10).status_code == 503
        second.faults.clear()
        assert requests.get(f"{url}?alt=media", timeout=10).content == b"content"


def test_what_callers_may_do_in_storage_can_be_limited(tmp_path: Path) -> None:
    allowed = frozenset({"storage.objects.get", "storage.objects.create"})
    config = SandboxConfig(storage=StorageConduct(permissions=allowed))
    with Sandbox(tmp_path, SandboxOptions(stand_in="replay", config=config)) as sandbox:
        store = GcsStore("sandbox", sandbox.storage_url)
        with pytest.raises(Refused, match=r"storage\.objects\.list not granted"):
            store.check_writable("gs://sandbox-bucket")
        with pytest.raises(Refused) as listed:
            store.list("gs://sandbox-bucket/")
        store.close()
    assert listed.value.kind is RefusalKind.PERMISSION


def test_without_need_of_a_token_addresses_carry_none(tmp_path: Path) -> None:
    with Sandbox(tmp_path, REPLAY, need_token=False) as sandbox:
        environment = sandbox.environment()
        addresses = [value for value in environment.values() if "127.0.0.1" in value]
        assert not any("@" in address for address in addresses)
        answer = requests.get(f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b", timeout=10)
        assert answer.status_code == 200
        # The control face still needs it: it is for who can read the folder.
        control_url = RemoteSandbox(tmp_path).serving.control_url
        assert requests.get(f"{control_url}/status", timeout=10).status_code == 401


def test_the_program_may_change_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Sandbox(Path("made"), REPLAY) as sandbox:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        url = f"{sandbox.storage_url}/upload/storage/v1/b/sandbox-bucket/o"
        answer = requests.post(f"{url}?uploadType=media&name=x", b"content", timeout=10)
        assert answer.status_code == 200
        hub(sandbox).create_repo("sandbox-user/moved")
        sandbox.faults.record("hub", "GET", "/", "drop")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_sandbox_leads_to_a_ledger_of_its_own_and_not_to_that_of_real_runs(
    tmp_path: Path,
) -> None:
    with Sandbox(tmp_path, REPLAY) as sandbox:
        assert sandbox.environment()["ORCHESTRATOR_HOME"] == str(tmp_path / "home")


def test_a_sandbox_of_an_earlier_version_is_served(tmp_path: Path) -> None:
    training = dict.fromkeys(("learning_rate", "epochs", "max_length", "batch_size"))
    old = {"stand_in": "replay", "training": training | {"seed": 1}, "namespaces": ["acme"]}
    (tmp_path / "sandbox.json").write_bytes(orjson.dumps(old))
    options = load_options(tmp_path)
    assert options.config == SandboxConfig()
    assert (options.training.seed, options.namespaces) == (1, ("acme",))
    (tmp_path / "sandbox.json").write_bytes(orjson.dumps(old | {"config": {"faults": 3}}))
    with pytest.raises(InputError, match="not the description of a sandbox"):
        load_options(tmp_path)


def test_the_clock_goes_on_where_it_was_and_times_of_jobs_never_go_back(tmp_path: Path) -> None:
    conduct = VertexConduct(queued_s=60, running_s=7200)
    options = SandboxOptions(stand_in="replay", config=SandboxConfig(vertex=conduct))
    base = ManualClock()
    with Sandbox(tmp_path, options, clock=base) as first:
        first.disk.insert(BUCKET, "train.jsonl", b'{"prompt": "a", "completion": "b"}\n')
        create(first, "one")
        first.clock.advance(3600)
        before = first.clock.now()
    base.advance(10)
    with Sandbox(tmp_path, clock=base) as again:
        assert (again.clock.now() - before).total_seconds() == 10
        second = create(again, "two")
        for _ in range(2):
            again.clock.advance(7200)
            again.vertex.wait_until_ended(again.vertex.jobs()[-1].name)
        ended = again.vertex.wait_until_ended(second)
        jobs = again.vertex.jobs()
    assert [job.create_time for job in jobs] == sorted(
        (one.create_time for one in jobs), reverse=True
    )
    for job in jobs:
        assert job.create_time <= job.start_time <= job.end_time == job.update_time
    # One at a time: the second began when the first was done.
    assert jobs[1].end_time <= ended.start_time


def test_two_faces_cannot_have_one_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for ports in (
        Ports(storage=port, hub=port),
        Ports(hub=port, control=port),
        Ports(storage=port, vertex=port),
        Ports(vertex=port, vertex_rest=port),
    ):
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            Sandbox(tmp_path, REPLAY, ports=ports)


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "deep" / "made", REPLAY) as sandbox:
        assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/sandbox cannot be made: Not a directory") as caught:
        Sandbox(tmp_path / "file" / "sandbox", REPLAY)
    assert "--dir" in caught.value.hint


def test_the_record_of_a_job_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with Sandbox(tmp_path, REPLAY):
        pass
    for content in ("{", "{}", '{"sequence": 1, "differences": [], "tuning_job": {"state": "?"}}'):
        (tmp_path / "vertex" / "jobs" / "broken.json").write_text(content)
        with pytest.raises(InputError, match=r"broken\.json is not the record of a tuning job"):
            Sandbox(tmp_path)


def create(sandbox: Sandbox, name: str) -> str:
    """A tuning job on the training file; gives its name."""
    message: dict[str, Any] = {
        "base_model": "meta/llama3_1@llama-3.1-8b-instruct",
        "tuned_model_display_name": name,
        "output_uri": f"gs://{BUCKET}/{name}",
        "supervised_tuning_spec": {"training_dataset_uri": f"gs://{BUCKET}/train.jsonl"},
    }
    answer = requests.post(
        f"{sandbox.vertex.rest_url}/v1beta1/projects/sandbox/locations/us-central1/tuningJobs",
        json=message,
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["name"])
