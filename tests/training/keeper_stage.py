"""The Hub face with faults on order, and `job.py` as a job runs it: staged beside its script."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.clock import SandboxClock
from orchestrator.sandbox.edge.faults import HttpFaults
from orchestrator.sandbox.edge.rules import FaultPlan, RequestRule
from orchestrator.sandbox.edge.serving import AppServer
from orchestrator.training import job
from tests.sandbox.hub.stage import Stage

TOKEN = "hf_alice"
CANDIDATE = "alice/router-candidates"
RUN = "run-1"
GIVE_UP_S = 60.0
#: The state of an optimizer, and all files of a checkpoint that `save` makes.
STATE = {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
WHOLE = {"adapter_model.safetensors", "trainer_state.json"} | STATE

#: What a fake script has at hand: events, checkpoints, and a gate at which it waits for the test.
BEGIN = """
import json, os, pathlib, signal, sys
out = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
out.mkdir(parents=True, exist_ok=True)
def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)
def save(step, text="weights"):
    folder = out / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(f"{text} {step}")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_text(f"{name} {step}")
    say("checkpoint", step=step, folder=folder.name)
def finish():
    (out / "final").mkdir()
    (out / "final" / "adapter_model.safetensors").write_text("the adapter")
def gate():
    open(os.environ["GATE"]).read()
"""


class JobHub:
    """A Hub for each test, behind rules of faults."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.book = FaultBook(FaultPlan())
        self.clock = SandboxClock()
        self.url = ""
        self._before = 0

    def open(self, root: Path) -> None:
        """Begin with an empty Hub on which nothing goes wrong."""
        self.stage.open(root)
        self.book.clear()
        self._before = len(self.book.injected)

    @property
    def met(self) -> int:
        """How many requests went wrong since it was opened."""
        return len(self.book.injected) - self._before

    def wait_for_fault(self) -> None:
        """Wait until a request has gone wrong."""
        tick = threading.Event()
        for _ in range(int(GIVE_UP_S / 0.01)):
            if self.met:
                return
            tick.wait(0.01)
        raise AssertionError("nothing went wrong")

    @property
    def api(self) -> HfApi:
        """The client of the owner."""
        return HfApi(endpoint=self.url, token=TOKEN)

    def fault(self, **rule: Any) -> None:
        """Let a request go wrong."""
        self.book.add(RequestRule(face="hub", **rule))

    def files(self, prefix: str = "") -> set[str]:
        """What is on the branch, below a prefix; its paths from there."""
        paths = self.api.list_repo_files(CANDIDATE, revision=RUN)
        start = f"{prefix}/" if prefix else ""
        return {path.removeprefix(start) for path in paths if path.startswith(start)}

    def titles(self) -> list[str]:
        """The titles of the branch's commits, oldest first; but for the repo's own first one."""
        commits = self.api.list_repo_commits(CANDIDATE, revision=RUN)
        return [one.title for one in reversed(commits)][1:]

    def content(self, path: str, home: Path) -> bytes:
        """The bytes of a file of the branch."""
        file = self.api.hf_hub_download(CANDIDATE, path, revision=RUN, cache_dir=home)
        return Path(str(file)).read_bytes()


@contextmanager
def served() -> Iterator[JobHub]:
    """A Hub on a free port, empty until something is opened on its stage."""
    hub = JobHub()
    faults = HttpFaults(hub.stage, "hub", hub.book, hub.clock)
    with AppServer(faults) as server:
        hub.url = hub.stage.url = server.url
        try:
            yield hub
        finally:
            faults.close()


class Running:
    """A job under way; its lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[str] = []

    @property
    def output(self) -> Path:
        """What the script calls its output."""
        return self.folder / "output"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events among the lines that were read."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Read lines until such an event; fails if there is none."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                if told["event"] == event and fields.items() <= told.items():
                    return told
        raise AssertionError(f"no {event} {fields} in {self.lines}, {self.process.communicate()}")

    def open_gate(self) -> None:
        """Let the script go on that waits at its gate."""
        (self.folder / "gate").write_text("go")

    def end(self) -> int:
        """Read the rest; the exit code."""
        out, self.errors = self.process.communicate(timeout=GIVE_UP_S)
        self.lines += out.splitlines()
        return self.process.returncode


class Place:
    """A job's folder: staged scripts, a `uv` that runs them with this interpreter, an output."""

    def __init__(self, folder: Path, hub: JobHub) -> None:
        self.folder = folder
        self.hub = hub
        self._started: list[subprocess.Popen[str]] = []
        code, tools = folder / "code", folder / "tools"
        code.mkdir(parents=True)
        tools.mkdir()
        for script in Path(job.__file__).parent.glob("job*.py"):
            shutil.copy(script, code)
        uv = tools / "uv"
        uv.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" "$@"\n')
        uv.chmod(0o755)

    def start(
        self,
        script: str,
        *arguments: str,
        prefix: str = "attempt-1",
        name: str = "sft.py",
        options: tuple[str, ...] = (),
        **environment: str,
    ) -> Running:
        """Start a job; `script` is what the fake script does after `BEGIN`."""
        folder = self.folder / f"{prefix}-{len(self._started)}"
        folder.mkdir()
        os.mkfifo(folder / "gate")
        (self.folder / "code" / name).write_text(BEGIN + script)
        command = [sys.executable, "-I", str(self.folder / "code" / "job.py")]
        command += ["--candidate", CANDIDATE, "--branch", RUN, "--prefix", prefix]
        command += ["--first-wait-s", "0.05", *options]
        command += ["--", name, *arguments, "--output", str(folder / "output")]
        process = subprocess.Popen(
            command,
            env={
                "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}",
                "HOME": str(folder),
                "HF_HOME": str(folder / "hf"),
                "HF_ENDPOINT": self.hub.url,
                "HF_TOKEN": TOKEN,
                "GATE": str(folder / "gate"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return Running(process, folder)

    def close(self) -> None:
        """Leave no process behind."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
