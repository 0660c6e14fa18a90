"""Answers for several conditions in one job: `generate.py` once for each, in a process of its own.

    --condition tuned adapter=DIR --condition base --condition few-shot shots=FILE count=4

Each value is a word of its own, so a path may hold whatever it likes. When a process ends, the
memory of its model is free for certain. Each condition leaves OUTPUT/NAME/predictions.jsonl and
run.json; the events of its process are passed on with `condition`. Without the answers of one that
`may-fail=yes` the others are worth something all the same: it is told, and they are gone on with.
"""

from __future__ import annotations

import argparse
import codecs
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # beside this file wherever it runs, in the package where types are checked
    from orchestrator.training.sft_events import BadInput, Metrics
else:
    from sft_events import BadInput

KEYS = ("adapter", "model", "shots", "count", "other-base", "may-fail")
_NAME = re.compile(r"[a-z][a-z-]{0,39}")
#: What a condition decides; it may not be said for all of them too.
_OWN = ("adapter", "few_shot", "shots")
#: What stays of a process's standard error, to say at the end why it failed (characters).
_TAIL = 4000
_DRAIN_S = 5.0


@dataclass(frozen=True)
class Condition:
    """Under what the rows are answered: an adapter or a full model instead of the base, shots."""

    name: str
    adapter: Path | None = None
    model: Path | None = None
    shots: Path | None = None
    count: int = 0
    other_base: bool = False
    may_fail: bool = False


def parse_conditions(given: Sequence[Sequence[str]]) -> list[Condition]:
    """What `--condition NAME [KEY=VALUE ...]` says, each time; raises `BadInput`."""
    found: dict[str, Condition] = {}
    for name, *words in given:
        if not _NAME.fullmatch(name):
            raise BadInput(
                f"--condition {name}: the name must come first, of small letters and dashes"
            )
        if name in found:
            raise BadInput(f"--condition {name}: is given twice")
        found[name] = _condition(name, words)
    return list(found.values())


def _condition(name: str, words: Sequence[str]) -> Condition:
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in KEYS or not equals or not value:
            raise BadInput(
                f"--condition {name}: {word}: is none of {', '.join(f'{one}=…' for one in KEYS)}"
            )
        if key in values:
            raise BadInput(f"--condition {name}: {key} is given twice")
        values[key] = value
    _check(name, values)
    return Condition(
        name=name,
        adapter=_path(values.get("adapter")),
        model=_path(values.get("model")),
        shots=_path(values.get("shots")),
        count=int(values.get("count", "0")),
        other_base=values.get("other-base") == "yes",
        may_fail=values.get("may-fail") == "yes",
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _check(name: str, values: Mapping[str, str]) -> None:
    def refuse(what: str) -> None:
        raise BadInput(f"--condition {name}: {what}")

    if "adapter" in values and "model" in values:
        refuse("an adapter and a full model: give one of them")
    if ("shots" in values) != ("count" in values):
        refuse("shots=FILE and count=N belong together")
    count = values.get("count", "1")
    if not re.fullmatch(r"[0-9]{1,6}", count) or int(count) < 1:
        refuse(f"count={count}: must be a whole number from 1 on")
    for key in ("other-base", "may-fail"):
        if values.get(key, "yes") not in ("yes", "no"):
            refuse(f"{key}={values[key]}: must be yes or no")
    if "model" in values and not Path(values["model"]).is_dir():
        refuse(f"model={values['model']}: is no folder")
    if "shots" in values and not Path(values["shots"]).is_file():
        refuse(f"shots={values['shots']}: is no file")


def arguments_of(condition: Condition, given: argparse.Namespace) -> list[str]:
    """The command line of `generate.py` for one condition, all else as it is given for all."""
    values = {key: value for key, value in vars(given).items() if key != "condition"}
    values |= {
        "output": given.output / condition.name,
        "adapter": condition.adapter,
        "few_shot": condition.shots,
        "shots": condition.count,
        "other_base": given.other_base or condition.other_base,
    }
    if condition.model is not None:
        values |= {"base_model": condition.model, "base_revision": None}
    return list(_words(values))


def _words(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        flag = f"--{key.replace('_', '-')}"
        if value is None or value is False or value == []:
            continue
        if value is True:
            yield flag
        elif isinstance(value, list) and len(value) > 1:
            yield from (flag, *map(str, value))
        else:
            # As one word: a value may begin with a dash.
            yield f"{flag}={value[0] if isinstance(value, list) else value}"


def answer_all(
    given: argparse.Namespace,
    script: Path,
    metrics: Metrics,
    check: Callable[[Sequence[str]], object],
) -> int:
    """Answer under each condition in turn; the exit code of the first that may not fail and does.

    `check` reads the arguments of one condition and raises `BadInput`: all are looked at before
    the first begins, for a job that fails late has been paid for.
    """
    twice = [f"--{one.replace('_', '-')}" for one in _OWN if getattr(given, one)]
    if twice:
        raise BadInput(f"--condition: {', '.join(twice)} must be said in a condition")
    conditions = parse_conditions(given.condition)
    commands: list[tuple[Condition, list[str]]] = []
    refused: list[tuple[str, str]] = []
    for one in conditions:
        arguments = arguments_of(one, given)
        try:
            check(arguments)
        except BadInput as error:
            if not one.may_fail:
                raise BadInput(f"--condition {one.name}: {error}") from error
            refused.append((one.name, str(error)))
            continue
        commands.append((one, [sys.executable, str(script), *arguments]))
    names, began = [one.name for one in conditions], time.monotonic()
    metrics.emit("start", model=given.base_model_name, conditions=names)
    for name, message in refused:
        _tell_failed(name, message, metrics)
    failed = [name for name, _ in refused]
    with _Processes() as processes:
        for one, command in commands:
            code = processes.run(one.name, command, metrics)
            if code != 0 and (processes.stopped or not one.may_fail):
                return code
            failed += [one.name] if code != 0 else []
    seconds = round(time.monotonic() - began, 3)
    answered = [name for name in names if name not in failed]
    metrics.emit("end", conditions=answered, seconds=seconds)
    return 0


def _tell_failed(name: str, message: str, metrics: Metrics, *, emit: bool = True) -> None:
    if emit:
        metrics.emit("failed", condition=name, message=message)
    sys.stderr.write(f"generate.py: condition {name}: {message}\n")


class _Processes:
    """Runs one process after the other; signals go to the one that runs, and no other begins."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Processes:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    @property
    def stopped(self) -> bool:
        """Whether a signal asked for the end."""
        return self._signal is not None

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = self._signal or number
        if self._process is not None:
            self._process.send_signal(number)

    def run(self, name: str, command: Sequence[str], metrics: Metrics) -> int:
        """Its exit code, as a shell tells it; why it failed is said."""
        if self._signal is not None:
            return 128 + self._signal
        told = ""
        with _started(command) as (process, tail):
            self._process = process
            if self._signal is not None:  # it came while the process was being started
                process.send_signal(self._signal)
            assert process.stdout is not None  # noqa: S101 (it was asked for)
            for line in process.stdout:
                told = _pass_on(line, name, metrics) or told
            process.wait()
        self._process = None
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if self._signal is not None:
            return 128 + self._signal
        if code != 0:
            message = told or tail.last_line() or f"ended with exit code {code}"
            _tell_failed(name, message, metrics, emit=not told)
        return code


class _Tail:
    """Passes standard error on as it comes, progress bars too, and remembers its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._text = ""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := stream.read1(65536):  # type: ignore[attr-defined]  # a BufferedReader
            text = decoder.decode(chunk)
            self._text = (self._text + text)[-_TAIL:]
            sys.stderr.write(text)
            sys.stderr.flush()

    def wait(self) -> None:
        """Until all has come; what the process itself has started may hold the pipe."""
        self._thread.join(_DRAIN_S)

    def last_line(self) -> str:
        """What was said last."""
        lines = [line.strip() for line in self._text.splitlines() if line.strip()]
        return lines[-1].removeprefix("generate.py: ") if lines else ""


@contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], _Tail]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
        assert process.stderr is not None  # noqa: S101 (it was asked for)
        tail = _Tail(process.stderr)
        try:
            yield process, tail
        except BaseException:
            process.kill()
            raise
        finally:
            tail.wait()


def _pass_on(line: bytes, name: str, metrics: Metrics) -> str:
    """Pass on a line of standard output; why the process failed, where the line says so."""
    text = line.decode("utf-8", "replace")
    try:
        event = json.loads(text)
    except ValueError:
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
        return ""
    kind: str = event.pop("event")
    metrics.emit(kind, **{"condition": name, **event})
    return str(event.get("message", "it failed")) if kind == "failed" else ""
