# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "huggingface_hub==2.4.0",
# ]
# ///
"""Keeps what a script leaves: runs it, and commits its results to a private repo on the Hub.

    job.py --candidate NS/NAME-candidates --branch RUN --prefix ATTEMPT -- SCRIPT.py ARGS...

The script's lines on standard output are passed through; each checkpoint that it reports is
committed while it goes on, all else at its end. Lines of this script's own are JSON events too:
`job`, `resumed`, `kept`, `not_kept`, `nothing_to_show`. HF_TOKEN must be set.
Exit codes: the script's; 1 if there are no results or they could not be kept; 2 for wrong
arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training import job_resume
    from orchestrator.training.job_branch import Branch, BranchProblem, prepare_client
    from orchestrator.training.job_child import Child, Output, Time, catch
    from orchestrator.training.job_keeper import Keeper
    from orchestrator.training.job_kept import (
        checkpoint_step,
        conditions_of,
        finished_files,
        shows_something,
    )
else:
    # Run with -I, python does not look beside the script by itself.
    if str(Path(__file__).resolve().parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    import job_resume
    from job_branch import Branch, BranchProblem, prepare_client
    from job_child import Child, Output, Time, catch
    from job_keeper import Keeper
    from job_kept import checkpoint_step, conditions_of, finished_files, shows_something

KINDS = {
    "sft.py": "tune",
    "generate.py": "generate",
    "merge.py": "merge",
    "export_gguf.py": "export",
    "export_litertlm.py": "export",
}
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: Names that are one part of a path, or of a branch, for the Hub as for git.
_NAME = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*", re.ASCII)


class BadInput(Exception):
    """The arguments or the environment are wrong: exit code 2."""


@dataclass(frozen=True)
class Job:
    """What is to run and where its results go."""

    candidate: str
    branch: str
    prefix: str
    resume_from: tuple[str, ...]
    script: Path
    arguments: tuple[str, ...]
    output: Path
    token: str
    grace_s: float
    retry_for_s: float
    keep_every_s: float
    first_wait_s: float


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Job:
    """The job that the command line asks for; raises `BadInput`."""
    parser = argparse.ArgumentParser(
        prog="job.py",
        description=(__doc__ or "").split("\n", 1)[0],
        usage="job.py [options] -- SCRIPT.py ARGS...",
    )
    add = parser.add_argument
    add("--candidate", required=True, help="private repo for results, NAMESPACE/NAME")
    add("--branch", required=True, help="branch of it: the run")
    add("--prefix", required=True, help="folder on the branch: this attempt")
    add(
        "--resume-from-prefix",
        action="append",
        default=[],
        metavar="PREFIX",
        help="folder of an earlier attempt to go on from; may be repeated",
    )
    add("--grace-s", type=_seconds, default=25.0, help="seconds from a SIGTERM to the end")
    add("--retry-for-s", type=_seconds, default=600.0, help="seconds that an upload is tried again")
    add("--keep-every-s", type=_seconds, default=300.0, help="seconds between uploads of metrics")
    add(
        "--first-wait-s",
        type=_seconds,
        default=1.0,
        help="pause before the second try; then doubled",
    )
    own, child = _halves(list(argv))
    given = parser.parse_args(own)
    if not child:
        raise BadInput("no script is named: end with -- SCRIPT.py ARGS...")
    if not _REPO.fullmatch(given.candidate):
        raise BadInput(f"--candidate {given.candidate}: must be like NAMESPACE/NAME-candidates")
    for option, name in [("--branch", given.branch), ("--prefix", given.prefix)] + [
        ("--resume-from-prefix", name) for name in given.resume_from_prefix
    ]:
        if not _NAME.fullmatch(name):
            raise BadInput(f"{option} {name}: must be letters, digits, '-', '_' and '.'")
    script = Path(__file__).resolve().parent / child[0]
    if not script.is_file():
        raise BadInput(f"{child[0]}: there is no such script beside job.py")
    token = environment.get("HF_TOKEN", "").strip()
    if not token:
        raise BadInput("HF_TOKEN is not set: the job needs it as a secret, to keep its results")
    return Job(
        candidate=given.candidate,
        branch=given.branch,
        prefix=given.prefix,
        resume_from=tuple(given.resume_from_prefix),
        script=script,
        arguments=tuple(child[1:]),
        output=_output_of(child[1:]),
        token=token,
        grace_s=given.grace_s,
        retry_for_s=given.retry_for_s,
        keep_every_s=given.keep_every_s,
        first_wait_s=given.first_wait_s,
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _halves(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


def _output_of(arguments: Sequence[str]) -> Path:
    for number, one in enumerate(arguments):
        if one.startswith("--output="):
            return Path(one.removeprefix("--output="))
        if one == "--output" and number + 1 < len(arguments):
            return Path(arguments[number + 1])
    raise BadInput("the script's arguments name no --output")


class Work:
    """One job, from its preparation to its exit code."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._output = Output(job.token)
        self._time = Time(job.grace_s)
        self._child: Child | None = None
        self._keeper: Keeper | None = None

    def run(self) -> int:
        """Do it all; raises `BadInput` and `BranchProblem` before the script has begun only."""
        job, began = self._job, time.monotonic()
        uv = shutil.which("uv")
        if uv is None:
            raise BadInput("uv is not on the PATH: the job's image must have it")
        catch(self._on_signal)
        prepare_client()
        branch = Branch(
            job.candidate,
            job.branch,
            job.token,
            retry_for_s=job.retry_for_s,
            first_wait_s=job.first_wait_s,
        )
        branch.prepare()
        self.tell("job", script=job.script.name, candidate=job.candidate, prefix=job.prefix)
        more = self._resume(branch)
        self._keeper = Keeper(branch, job.prefix, job.output, self.tell, every_s=job.keep_every_s)
        command = [uv, "run", str(job.script), *job.arguments, *more]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop("HF_DEBUG", None)  # it prints requests with their tokens
        self._child = Child(command, environment, self._on_line)
        if self._time.signal is not None:  # it came while the child was being started
            self._child.pass_on(self._time.signal)
        code = self._child.wait(self._time.left_to_child_s)
        return self._finish(code, time.monotonic() - began)

    def tell(self, event: str, **fields: object) -> None:
        """Write an event of this script's own."""
        line = json.dumps({"event": event, **fields}, ensure_ascii=False)
        self._output.write(line.encode(errors="replace"))

    def _resume(self, branch: Branch) -> list[str]:
        job = self._job
        kind = KINDS.get(job.script.name)
        # The service may start the same attempt again: what it had kept itself is the newest.
        prefixes = [*job.resume_from, job.prefix]
        if kind == "generate":
            found = job_resume.fetch_predictions(branch, prefixes, job.output)
            more: list[str] = []
        else:
            found = job_resume.fetch_checkpoint(branch, prefixes, job.output)
            more = ["--resume", str(job.output / found.name)] if found else []
        if found:
            self.tell("resumed", prefix=found.prefix, what=found.name, revision=found.revision)
        return more

    def _on_signal(self, signum: int) -> None:
        self._time.is_short(signum)
        if self._keeper is None:
            raise SystemExit(128 + signum)  # nothing has begun, so there is nothing to keep
        if self._child is not None:
            self._child.pass_on(signum)

    def _on_line(self, line: bytes) -> None:
        clean = self._output.clean(line)
        event = _event(clean)
        if event is None:
            self._output.write(clean)
            return
        output = self._job.output
        try:
            output.mkdir(parents=True, exist_ok=True)
            with (output / "metrics.jsonl").open("ab") as metrics:
                metrics.write(clean)
        except OSError as error:
            self.tell("not_kept", prefix=self._job.prefix, what="metrics", message=str(error))
        name = str(event.get("folder", ""))
        if (
            event.get("event") == "checkpoint"
            and self._keeper is not None
            and checkpoint_step(name) is not None
            and (output / name).is_dir()
        ):
            # Held before it is told: whoever reads the line may delete the folder.
            held = self._keeper.hold(name)
            self._output.write(clean)
            self._keeper.keep(name, held)
        else:
            self._output.write(clean)

    def _finish(self, code: int, seconds: float) -> int:
        assert self._keeper is not None  # noqa: S101 (the child ran, so there is one)
        job, problem = self._job, None
        if code == 0 and not shows_something(job.output):
            code = 1
            problem = (
                f"{job.script.name} ended well and left nothing to show: no final/, no merged/,"
                " no predictions.jsonl, no export"
            )
            self.tell("nothing_to_show", message=problem)
            sys.stderr.write(f"job.py: {problem}\n")
        result = {
            "kind": KINDS.get(job.script.name),
            "script": job.script.name,
            "exit_code": code,
            "seconds": round(seconds, 3),
            "files": len(finished_files(job.output)),
            "conditions": conditions_of(job.output) or None,
            "signal": self._time.signal,
            "problem": problem,
        }
        kept = {key: value for key, value in result.items() if value is not None}
        try:
            job.output.mkdir(parents=True, exist_ok=True)
            (job.output / "result.json").write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
        except OSError as error:  # a full disk; what the script could leave is kept all the same
            self.tell("not_kept", prefix=job.prefix, what="result.json", message=str(error))
        if not self._keeper.finish(self._time.left_s):
            print("job.py: the results could not be kept; see above", file=sys.stderr)
            return code or 1
        return code


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # the latter where it is nested too deep
        return None
    return value if isinstance(value, dict) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    try:
        return Work(parse(sys.argv[1:] if argv is None else argv, os.environ)).run()
    except BadInput as error:
        sys.stderr.write(f"job.py: {error}\n")
        return 2
    except BranchProblem as error:
        sys.stderr.write(f"job.py: {error}\n")
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: threads of an upload that hangs would hold the process, and its GPU, for longer.
    os._exit(code)
