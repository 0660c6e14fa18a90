"""Runs one job: its volumes, its command on this machine, and how that ended."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson

from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.rules import Outcome
from orchestrator.sandbox.hub.access import HubFace
from orchestrator.sandbox.hub.wire import Account, HubError, instant
from orchestrator.sandbox.jobs.environment import job_environment
from orchestrator.sandbox.jobs.logs import JobLog
from orchestrator.sandbox.jobs.process import JobProcess
from orchestrator.sandbox.jobs.records import JobRecord, JobStore, Stage
from orchestrator.sandbox.jobs.spoiling import OF_FILES
from orchestrator.sandbox.jobs.stand_in import (
    JobStandIn,
    Prepared,
    StandInFailed,
    is_stopped,
)
from orchestrator.sandbox.jobs.volumes import TEMPORARY, Places, mount_all

_LOG = logging.getLogger(__name__)
#: As the service has been seen to say it; not in its documentation.
TIMED_OUT = "Job timeout"
#: What a shell's exit codes for signals begin with.
_SIGNALLED = 128
_NOT_FOUND = 127
#: For a process that was told to end while the sandbox stops; the machine's own time.
_CLOSING_S = 5.0
_MASKED = ("the log: values of secrets were masked; the service is not known to do so",)
_SHIM = Path(__file__).with_name("uv_shim.py")
_PACKAGE_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ended:
    """How a job ended, and where what was run departed from what was asked."""

    stage: Stage
    message: str | None = None
    exit_code: int | None = None
    differences: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


class Run(Protocol):
    """A job's time on its machine, as the runner sees it."""

    def stop_stage(self) -> Stage | None:
        """Whether the job shall end now, and as what: CANCELED, or ERROR at its timeout."""
        ...

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until `done`, or until there is a reason to stop."""
        ...

    def wait_stopped(self, done: Callable[[], bool], until: datetime) -> None:
        """Wait until `done` or until an instant, though there is a reason to stop."""
        ...

    def wait_out(self, *, forever: bool) -> None:
        """Wait for the planned end, or `forever`, or until there is a reason to stop."""
        ...

    def now(self) -> datetime:
        """The time of the sandbox."""
        ...

    def started(self, group: int, command: tuple[str, ...]) -> None:
        """Write down what runs, so that it can be found after a crash."""
        ...

    def is_closing(self) -> bool:
        """Whether the sandbox itself is being stopped."""
        ...

    def failed_once(self) -> None:
        """Count a failed try."""
        ...

    def changed(self) -> None:
        """Let whoever waits look again."""
        ...


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs with the accounts and repositories of `hub`. `stand_in` may change commands."""

    store: JobStore
    hub: HubFace
    book: FaultBook
    endpoint: Callable[[], str]
    stand_in: JobStandIn | None = None
    grace_s: float = 30.0

    def __call__(self, record: JobRecord, secrets: Mapping[str, str], run: Run) -> Ended:
        """Run a job to its end; every way in which that can end is a final stage."""
        self.store.remove_work(record.id)
        log_file = self.store.log_file(record.id)
        log = JobLog(log_file, self.hub.clock, run.changed, list(secrets.values()))
        try:
            log.append(f"===== Job started at {instant(run.now())} =====")
            return self._run(record, secrets, run, log)
        except (StandInFailed, HubError, OSError) as error:
            if isinstance(error, StandInFailed) and run.stop_stage() is not None:
                return _stopped(run.stop_stage())
            log.append(str(error))
            return Ended(Stage.ERROR, str(error))
        except Exception as error:
            _LOG.exception("the job %s broke", record.id)
            return Ended(Stage.ERROR, f"Internal error: {error!r}")
        finally:
            log.close()
            self.store.remove_work(record.id)

    def _run(self, record: JobRecord, secrets: Mapping[str, str], run: Run, log: JobLog) -> Ended:
        rule = record.rule
        if rule is not None and rule.outcome not in OF_FILES:
            # What the rule leaves has nothing to do with what the command would have left.
            self.book.record("jobs", "job", record.id, str(rule.outcome))
            run.wait_out(forever=rule.outcome is Outcome.STUCK)
            stopped = run.stop_stage()
            if stopped is not None:
                return _stopped(stopped)
            return {
                Outcome.FAILED: Ended(Stage.ERROR, rule.message),
                Outcome.EXPIRED: Ended(Stage.ERROR, TIMED_OUT),
            }.get(rule.outcome, Ended(Stage.COMPLETED, exit_code=0))
        account = _account(self.hub, record)
        work = self.store.work_folder(record.id)
        places = self._places(record, account, work)
        is_stopped.set(lambda: run.stop_stage() is not None)
        prepared = self._prepared(record, places)
        self._write_commands(work, prepared, record)
        environment = job_environment(
            record,
            secrets,
            work,
            endpoint=self.endpoint(),
            rewrite=places.rewrite,
        )
        ended = Ended(Stage.ERROR)
        for number in range(record.request.attempts):
            if number:
                run.failed_once()
            ended = self._attempt(prepared, environment, work, run, log)
            if ended.exit_code == 0 or run.stop_stage() is not None:
                break
        self._tell_spoiled(work, record)
        if ended.exit_code == 0:
            run.wait_out(forever=False)
            stopped = run.stop_stage()
            ended = ended if stopped is None else _stopped(stopped)
        differences = prepared.differences + (_MASKED if log.masked else ())
        return replace(ended, differences=differences, command=prepared.command)

    def _places(self, record: JobRecord, account: Account, work: Path) -> Places:
        for name in ("work", "home", "tmp", "bin"):
            (work / name).mkdir(mode=0o700, parents=True)
        mounted = mount_all(self.hub, account, record.request.volumes, work / "volumes")
        return Places({TEMPORARY: work / "tmp", **mounted})

    def _prepared(self, record: JobRecord, places: Places) -> Prepared:
        command = tuple(places.rewrite(word) for word in record.request.words)
        if self.stand_in is None:
            return Prepared(command)
        return self.stand_in.prepare(command, places.path)

    def _write_commands(self, work: Path, prepared: Prepared, record: JobRecord) -> None:
        """The job's own `uv` and `python`: this interpreter, which has what the scripts need."""
        rule = record.rule
        orders: dict[str, Any] = {
            "instead": {name: str(file) for name, file in prepared.instead.items()},
            "spoil": None if rule is None else rule.model_dump(mode="json"),
            "told": str(work / "spoiled.txt"),
            "mark": None if prepared.mark is None else dict(prepared.mark),
            "root": str(_PACKAGE_ROOT),
        }
        (work / "uv.json").write_bytes(orjson.dumps(orders))
        shim = [sys.executable, "-I", "-S", str(_SHIM), str(work / "uv.json")]
        if orders["spoil"] is not None:
            shim.remove("-S")  # it needs the packages too
        for name, words in (
            ("uv", shim),
            ("python", [sys.executable]),
            ("python3", [sys.executable]),
        ):
            file = work / "bin" / name
            file.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
            file.chmod(0o700)

    def _attempt(
        self, prepared: Prepared, environment: dict[str, str], work: Path, run: Run, log: JobLog
    ) -> Ended:
        if run.stop_stage() is not None:
            return _stopped(run.stop_stage())
        try:
            process = JobProcess(
                _resolved(prepared.command, environment["PATH"]),
                work / "work",
                environment,
                on_output=log.take,
                on_exit=run.changed,
            )
        except OSError as error:
            log.append(f"{prepared.command[0]}: {error.strerror}")
            return _failed(_NOT_FOUND)
        try:
            run.started(process.group, prepared.command)
            run.wait(lambda: process.code is not None or log.broken is not None)
            if log.broken is not None:
                raise OSError(f"the log of the job cannot be written: {log.broken.strerror}")
            stopped = None if process.code is not None else run.stop_stage()
            if stopped is not None:
                self._end(process, run)
                return _stopped(stopped)
        finally:
            process.kill()
            process.join(_CLOSING_S)
            log.end_line()
        code = process.code if process.code is not None else -1
        return Ended(Stage.COMPLETED, exit_code=0) if code == 0 else _failed(code)

    def _end(self, process: JobProcess, run: Run) -> None:
        """Ask a process to end, and end it when its time of grace is over."""
        process.terminate()
        if run.is_closing():
            # Whoever stops the sandbox does not wait for its clock.
            process.join(_CLOSING_S)
        else:
            until = run.now() + timedelta(seconds=self.grace_s)
            run.wait_stopped(lambda: process.code is not None, until)

    def _tell_spoiled(self, work: Path, record: JobRecord) -> None:
        told = work / "spoiled.txt"
        if told.exists():
            for line in told.read_text(encoding="utf-8").splitlines():
                self.book.record("jobs", "job", record.id, line)


def _account(hub: HubFace, record: JobRecord) -> Account:
    """Whose rights the volumes are read with: a token of who created the job."""
    own = [one for one in hub.accounts.values() if one.name == record.creator]
    if not own:
        raise HubError(404, f"There is no account {record.creator} any more")
    return next((one for one in own if one.role == "write"), own[0])


def _resolved(command: tuple[str, ...], path: str) -> tuple[str, ...]:
    """The command with the program found on the job's own PATH, not on ours."""
    found = shutil.which(command[0], path=path)
    if found is None:
        raise FileNotFoundError(2, "executable file not found in $PATH", command[0])
    return (found, *command[1:])


def _stopped(stage: Stage | None) -> Ended:
    return Ended(Stage.ERROR, TIMED_OUT) if stage is Stage.ERROR else Ended(Stage.CANCELED)


def _failed(code: int) -> Ended:
    code = code if code >= 0 else _SIGNALLED - code
    return Ended(Stage.ERROR, f"Job failed with exit code: {code}", exit_code=code)
