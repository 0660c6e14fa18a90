"""Ctrl-C, sent to real processes at the worst moments: the job goes on, nothing is half done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.processes import Command, environment
from tests.pipeline.slow_training import train_until_released
from tests.pipeline.test_killed import commits
from tests.plans import ROUTER

#: Says where it is and stays there, until the signal breaks the wait.
STAY = """
import sys, threading
def stay(where):
    print(f"now {where}", file=sys.stderr, flush=True)
    threading.Event().wait(60)
    raise AssertionError("nobody interrupted")
"""
IN_UPLOAD = f"""{STAY}
from orchestrator.stores.checked import CountedFile
CountedFile.read = lambda self, size=-1, /: stay("sending")
"""
IN_DOWNLOAD = f"""{STAY}
from orchestrator.stores.checked import CheckedSink
write = CheckedSink.write
def some(self, data):
    write(self, data[:10])
    stay("receiving")
CheckedSink.write = some
"""
#: The client sends several files from threads of its own, where no signal arrives: there the
#: callback has to end the upload. So the one large file is sent from such a thread here.
IN_PUBLISHING = """
import concurrent.futures, sys, threading
import huggingface_hub._commit_api as client
from orchestrator.stores.checked import CountedFile
read = CountedFile.read
def slow(self, size=-1, /):
    if self.progress is not None and threading.current_thread() is not threading.main_thread():
        print("now publishing", file=sys.stderr, flush=True)
        for _ in range(6000):
            self.progress(1)
            threading.Event().wait(0.01)
    return read(self, size)
CountedFile.read = slow
upload = client.lfs_upload
def in_a_thread(**arguments):
    with concurrent.futures.ThreadPoolExecutor() as executor:
        return executor.submit(upload, **arguments).result()
client.lfs_upload = in_a_thread
"""
IN_LAUNCH = """
import sys, threading
from orchestrator.services.vertex import VertexService
launch = VertexService.launch
told = threading.Event()
def slow(self, *args, **kwargs):
    print("now launching", file=sys.stderr, flush=True)
    told.wait(3)
    return launch(self, *args, **kwargs)
VertexService.launch = slow
import orchestrator.cli.interrupts as interrupts
take = interrupts.Interrupts._take
def tell(self, *args):
    try:
        take(self, *args)
    finally:
        told.set()
interrupts.Interrupts._take = tell
"""


@pytest.fixture
def released(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    made = train_until_released(monkeypatch)
    yield made
    made.set()


def job_states(bench: Bench) -> list[str]:
    return [job.state.name for job in bench.sandbox.vertex.jobs()]


def leftovers(bench: Bench) -> list[str]:
    """Files and folders in the home folder that something half done would leave."""
    marks = (".part", ".partial", ".hub-")
    return [
        str(path) for path in bench.settings.home.rglob("*") if any(m in path.name for m in marks)
    ]


def assert_says_how_to_go_on(command: Command, run: str) -> None:
    assert f"orchestrator poll --watch {run}" in command.said
    assert f"orchestrator cancel {run}" in command.said


@pytest.mark.parametrize("arguments", [["poll", "--watch"], ["submit", "--watch"]])
def test_watching_stops_and_the_job_goes_on(
    bench: Bench, released: threading.Event, arguments: list[str]
) -> None:
    if arguments[0] == "submit":
        arguments = [*bench.submit_arguments, "--watch"]
    else:
        arguments = [*arguments, bench.submit()]
    with Command([*arguments, "--interval", "0.5"], environment(bench)) as command:
        command.wait_for(": RUNNING")
        assert command.interrupt() == 130, command.said
        (run,) = bench.ledger.run_ids()
        assert_says_how_to_go_on(command, run)
    assert job_states(bench) == ["JOB_STATE_RUNNING"]
    released.set()
    assert bench.finish(run).status.state is RunState.PUBLISHED


def test_in_the_middle_of_staging_no_object_is_left_and_the_next_poll_goes_on(
    bench: Bench,
) -> None:
    with Command(bench.submit_arguments, environment(bench), before=IN_UPLOAD) as command:
        command.wait_for("now sending")
        assert command.interrupt() == 130, command.said
        (run,) = bench.ledger.run_ids()
        assert_says_how_to_go_on(command, run)
    store = bench.pipeline()._connections.store(bench.facts(run).run.target)
    assert store.list(f"{bench.settings.bucket}/") == []
    assert (bench.facts(run).events, leftovers(bench)) == ((), [])
    assert bench.pipeline().poll()[0].error is None
    assert bench.finish(run).status.state is RunState.PUBLISHED
    assert len(job_states(bench)) == 1


def test_in_the_middle_of_collecting_nothing_half_done_is_left(bench: Bench) -> None:
    run = bench.submit_and_train()
    with Command(["poll"], environment(bench), before=IN_DOWNLOAD) as command:
        command.wait_for("now receiving")
        assert command.interrupt() == 130, command.said
        assert_says_how_to_go_on(command, run)
    assert leftovers(bench) == []
    assert bench.facts(run).last("collected") is None
    assert bench.pipeline().poll()[0].status.state is RunState.PUBLISHED


def test_in_the_middle_of_publishing_there_is_no_commit_and_then_one(bench: Bench) -> None:
    run = bench.submit_and_train()
    with Command(["poll"], environment(bench), before=IN_PUBLISHING) as command:
        command.wait_for("now publishing")
        assert command.interrupt() == 130, command.said
        assert_says_how_to_go_on(command, run)
    title = f"Publish {bench.facts(run).run.plan.name}"
    assert title not in commits(bench, run)
    assert bench.pipeline().poll()[0].status.state is RunState.PUBLISHED
    assert commits(bench, run).count(title) == 1


def test_an_interruption_waits_for_the_answer_to_the_launch(
    bench: Bench, released: threading.Event
) -> None:
    with Command(bench.submit_arguments, environment(bench), before=IN_LAUNCH) as command:
        command.wait_for("now launching")
        assert command.interrupt() == 130, command.said
        assert "waiting for the answer to the launch" in command.said
    (run,) = bench.ledger.run_ids()
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is not None
    assert len(job_states(bench)) == 1


def test_a_second_ctrl_c_does_not_wait_for_the_launch(bench: Bench) -> None:
    never = IN_LAUNCH.replace("told.wait(3)", "threading.Event().wait(60)")
    with Command(bench.submit_arguments, environment(bench), before=never) as command:
        command.wait_for("now launching")
        command.signal()
        command.wait_for("Ctrl-C again")
        assert command.interrupt() == 130, command.said
    (run,) = bench.ledger.run_ids()
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is None
    assert job_states(bench) == []


def test_a_rehearsal_stops_its_sandbox_and_says_where_its_folder_is(
    bench: Bench, tmp_path: Path
) -> None:
    train_for_ever = """
    import threading
    from orchestrator.sandbox.standins.replay import ReplayStandIn
    train = ReplayStandIn.train
    def wait(self, job, output, **options):
        while not options["cancelled"]():
            threading.Event().wait(0.02)
        return train(self, job, output, **options)
    ReplayStandIn.train = wait
    """
    kept = tmp_path / "kept"
    arguments = ["rehearse", str(ROUTER), "--stand-in", "replay", "--keep", str(kept)]
    with Command(arguments, environment(bench), before=train_for_ever) as command:
        command.wait_for("JOB_STATE_RUNNING")
        assert command.interrupt() == 130, command.said
        assert str(kept) in command.said
        assert "the sandbox was stopped" in command.said
        assert "orchestrator sandbox up --dir" in command.said
    assert (kept / "sandbox.json").is_file()
