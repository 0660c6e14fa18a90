"""`orchestrator rehearse`, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.digests import sha256_file
from orchestrator.ledger import Ledger
from orchestrator.ledger.facts import Metric
from orchestrator.sandbox.rehearsal import _Training
from orchestrator.sandbox.running import Sandbox
from tests.manual_clock import ManualClock
from tests.plans import ROUTER


def run(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process and a home of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**os.environ, "ORCHESTRATOR_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


class TestReplay:
    """The canned stand-in: all of the plumbing, no training."""

    def test_it_prints_one_document_with_everything(self, tmp_path: Path) -> None:
        result = document(
            run(["rehearse", str(ROUTER), "--stand-in", "replay", "--json"], tmp_path)
        )
        assert result["state"] == "PUBLISHED"
        assert len(result["service_jobs"]) == 2  # the training, and the answers
        assert result["stand_in"] == "replay"
        assert result["hub_repo"] == "sandbox-user/router-llama-3.1-8b-adapter"
        assert len(result["hub_revision"]) == 40
        assert len(result["plan_digest"]) == 64
        assert Path(result["adapter_path"], "adapter_model.safetensors").is_file()
        config = json.loads(Path(result["adapter_path"], "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "meta-llama/Llama-3.1-8B-Instruct"
        assert config["stand_in"]["name"] == "replay"
        assert "nothing was trained" in Path(result["adapter_path"], "README.md").read_text()

    def test_the_plan_is_the_one_that_plan_shows(self, tmp_path: Path) -> None:
        rehearsed = run(
            ["rehearse", str(ROUTER), "--limit", "20", "--stand-in", "replay", "--json"], tmp_path
        )
        planned = run(["plan", str(ROUTER), "--limit", "20", "--json"], tmp_path)
        assert document(rehearsed)["plan_digest"] == document(planned)["digest"]

    def test_for_people_it_says_what_happened_and_where_to_look(self, tmp_path: Path) -> None:
        done = run(["rehearse", str(ROUTER), "--stand-in", "replay"], tmp_path)
        assert done.returncode == 0, done.stderr
        assert "PUBLISHED" in done.stdout
        assert "2 jobs at the service" in done.stdout
        assert "gate passed: json_validity 1.000" in done.stdout
        assert "orchestrator sandbox up --dir" in done.stdout
        assert "unlike the real plan: canned, nothing was trained" in done.stderr

    def test_a_kept_rehearsal_is_served_again(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        arguments = ["rehearse", str(ROUTER), "--stand-in", "replay", "--keep", str(kept), "--json"]
        result = document(run(arguments, tmp_path))
        from orchestrator.stores.hub import HubStore

        with Sandbox(kept) as sandbox:
            trained, _answered = result["service_jobs"]
            assert [job.name for job in sandbox.vertex.jobs()] == [trained]
            settings = sandbox.settings(kept / "home")
            hub = HubStore(settings.hub_endpoint, settings.hub_token)
            assert hub.head(result["hub_repo"]) == result["hub_revision"]
        assert sandbox.options.stand_in == "replay"

    def test_a_folder_that_is_not_empty_is_left_alone(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "mine.txt").write_text("precious")
        done = run(
            ["rehearse", str(ROUTER), "--stand-in", "replay", "--keep", str(kept)],
            tmp_path / "h",
        )
        assert done.returncode == 2
        assert "not an empty folder" in done.stderr
        assert [path.name for path in kept.iterdir()] == ["mine.txt"]

    def test_bad_rows_leave_no_folder_behind(self, tmp_path: Path) -> None:
        bad = tmp_path / "bad.jsonl"
        bad.write_text('{"prompt": "x", "completion": "not json"}\n')
        kept, home = tmp_path / "kept", tmp_path / "home"
        done = run(["rehearse", str(ROUTER), "--data", str(bad), "--keep", str(kept)], home)
        assert done.returncode == 1
        assert f"{bad}:1" in done.stderr
        assert "Traceback" not in done.stderr
        assert not kept.exists()
        assert not home.exists()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One rehearsal that really trains, kept."""
    folder = tmp_path_factory.mktemp("tiny")
    kept = folder / "kept"
    done = run(
        ["rehearse", str(ROUTER), "--limit", "24", "--keep", str(kept), "--json"], folder / "home"
    )
    return document(done), kept


@pytest.mark.training
class TestTiny:
    """The stand-in that trains."""

    def test_there_was_exactly_one_job_says_the_face(
        self, tiny: tuple[dict[str, Any], Path]
    ) -> None:
        result, kept = tiny
        with Sandbox(kept) as sandbox:
            trained, answered = result["service_jobs"]
            assert [job.name for job in sandbox.vertex.jobs()] == [trained]
            assert [job.id for job in sandbox.jobs.jobs()] == [answered]

    def test_the_loss_falls(self, tiny: tuple[dict[str, Any], Path]) -> None:
        result, _ = tiny
        state = json.loads(
            Path(result["adapter_path"]).parent.joinpath("collected/trainer_state.json").read_text()
        )
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        assert losses[-1] < 0.95 * losses[0]
        assert result["metrics"]["loss"]["last"] == pytest.approx(losses[-1])

    def test_the_hub_holds_the_bytes_of_the_run_folder(
        self, tiny: tuple[dict[str, Any], Path], tmp_path: Path
    ) -> None:
        result, kept = tiny
        from huggingface_hub import snapshot_download

        with Sandbox(kept) as sandbox:
            settings = sandbox.settings(kept / "home")
            snapshot = snapshot_download(
                result["hub_repo"],
                revision=result["hub_revision"],
                endpoint=settings.hub_endpoint,
                token=settings.hub_token,
                local_dir=tmp_path / "snapshot",
            )

        def digests(folder: Path) -> dict[str, str]:
            return {
                path.relative_to(folder).as_posix(): sha256_file(path)
                for path in folder.rglob("*")
                if path.is_file() and ".cache" not in path.parts
            }

        theirs = digests(Path(snapshot))
        del theirs[".gitattributes"]
        assert theirs == digests(Path(result["adapter_path"]))
        assert "plots/conditions.png" in theirs

    def test_peft_loads_it_and_its_logits_differ_from_the_base(
        self, tiny: tuple[dict[str, Any], Path]
    ) -> None:
        result, _ = tiny
        code = """
            import sys, warnings, torch
            warnings.simplefilter("ignore")
            from peft import PeftModel
            from transformers import AutoModelForCausalLM
            base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
            ids = torch.arange(4, 40).unsqueeze(0)
            before = base(ids).logits
            tuned = PeftModel.from_pretrained(base, sys.argv[2])
            print(float((tuned(ids).logits - before).abs().max()))
        """
        import textwrap

        done = subprocess.run(
            [
                sys.executable,
                "-c",
                textwrap.dedent(code),
                result["stand_in_path"],
                result["adapter_path"],
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) > 0.01

    def test_every_difference_from_the_plan_is_named(
        self, tiny: tuple[dict[str, Any], Path]
    ) -> None:
        text = "\n".join(tiny[0]["differences"])
        assert "base model" in text
        assert "0.005 instead of 0.00014" in text
        assert "max length" in text

    @pytest.mark.slow
    def test_another_seed_gives_other_weights_and_the_same_seed_the_same(
        self, tiny: tuple[dict[str, Any], Path], tmp_path: Path
    ) -> None:
        text = ROUTER.read_text(encoding="utf-8")
        weights = {}
        for name, seed in (("same", 42), ("other", 43)):
            spec = tmp_path / f"{name}.yaml"
            spec.write_text(text.replace("seed: 42", f"seed: {seed}"), encoding="utf-8")
            data = str(ROUTER.parent / "sample.jsonl")
            arguments = ["rehearse", str(spec), "--data", data, "--limit", "24", "--json"]
            result = document(run(arguments, tmp_path / name))
            weights[name] = sha256_file(Path(result["adapter_path"], "adapter_model.safetensors"))
        first = sha256_file(Path(tiny[0]["adapter_path"], "adapter_model.safetensors"))
        assert weights["same"] == first
        assert weights["other"] != first


def test_the_sandbox_is_served_until_it_is_told_to_stop(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "sandbox", "up", "--dir", str(folder)],
        env={**os.environ, "ORCHESTRATOR_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.strip() == "ready":
            break
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines[:-1])
    for name in ("STORAGE_EMULATOR_HOST", "ORCHESTRATOR_VERTEX_ENDPOINT"):
        assert re.fullmatch(r"http://sandbox:[\w-]{32,}@127\.0\.0\.1:\d+", exported[name])
    from orchestrator.stores.hub import HubStore

    hub = HubStore(exported["HF_ENDPOINT"], exported["HF_TOKEN"])
    assert hub.check_write("adapter") == "sandbox-user/adapter"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_a_folder_of_something_else_is_not_made_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    done = run(["sandbox", "up", "--dir", str(tmp_path)], tmp_path / "home")
    assert done.returncode == 2
    assert "is not a sandbox" in done.stderr


def test_a_spec_that_names_a_namespace_publishes_there(tmp_path: Path) -> None:
    spec = tmp_path / "router.yaml"
    text = ROUTER.read_text(encoding="utf-8").replace("repo: router", "repo: acme/router")
    spec.write_text(text, encoding="utf-8")
    data = str(ROUTER.parent / "sample.jsonl")
    arguments = ["rehearse", str(spec), "--data", data, "--stand-in", "replay", "--json"]
    assert document(run(arguments, tmp_path))["hub_repo"] == "acme/router-llama-3.1-8b-adapter"


def test_an_interrupted_rehearsal_says_so_and_stops_everything(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "rehearse", str(ROUTER), "--limit", "24"],
        env={**os.environ, "ORCHESTRATOR_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "JOB_STATE_RUNNING" in line:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    assert "interrupted" in errors
    assert "the same command; it begins anew" in errors
    assert "Traceback" not in errors


def test_the_newest_loss_is_told_now_and_then_and_each_once() -> None:
    clock, told = ManualClock(), list[str]()
    points: list[Metric] = []
    ledger = SimpleNamespace(metrics=lambda _run: points)
    training = _Training(cast("Ledger", ledger), "r-1", told.append, clock)
    training.tell()
    for step in range(1, 9):
        points += [Metric("loss", step, 1 / step), Metric("eval_loss", step, 9.0)]
        clock.sleep(2)
        training.tell()
    clock.sleep(60)
    training.tell()
    training.tell()
    assert told == [f"r-1: step {n}, loss {1 / n:.3g}" for n in (1, 4, 7, 8)]
