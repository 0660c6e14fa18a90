"""Processes that work through tasks and hand back the results in order.

Own processes in place of `concurrent.futures`, because a pool of that kind waits for running tasks
when it is interrupted. They are spawned: a fork copies locks that threads of ours may hold. The
keyboard's interrupt goes to us alone, and we end them; if we are killed, the closed pipe does.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from orchestrator.errors import OrchestratorError

Task = TypeVar("Task")
Result = TypeVar("Result")
#: Makes, in the process, what does the tasks.
Prepare = Callable[[], Callable[[Task], Result]]

#: How many tasks may be done ahead of the first that is not: results wait in our memory.
_AHEAD = 4


class _Worker(Generic[Task, Result]):
    """A process and our end of its pipe."""

    def __init__(self, prepare: Prepare[Task, Result]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(theirs, prepare), daemon=True
        )
        with _no_interrupt():
            self.process.start()
        theirs.close()
        self.task: int | None = None

    def give(self, number: int, task: Task) -> None:
        self.task = number
        try:
            self.pipe.send(task)
        except OSError:
            raise _died(self.process) from None

    def take(self) -> Result:
        try:
            result = self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            raise _died(self.process) from None
        if isinstance(result, BaseException):
            raise result
        return result  # type: ignore[no-any-return]  # pipes are not typed

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()


def in_order(
    tasks: Iterable[Task], prepare: Prepare[Task, Result], workers: int
) -> Iterator[Result]:
    """The results of tasks in the tasks' order.

    An error in a process is raised here, as is `OrchestratorError` for one that was killed. No
    process is left when this ends, however it does.
    """
    team: list[_Worker[Task, Result]] = []
    try:
        for _ in range(workers):
            team.append(_Worker(prepare))  # noqa: PERF401 (those started must be known to `finally`)
        yield from _results(iter(enumerate(tasks)), team)
    finally:
        for worker in team:
            worker.end()


def _results(
    tasks: Iterator[tuple[int, Task]], team: list[_Worker[Task, Result]]
) -> Iterator[Result]:
    done: dict[int, Result] = {}
    following = 0
    most = _AHEAD * len(team)
    upcoming = next(tasks, None)
    while True:
        for worker in team:
            if worker.task is None and upcoming is not None and upcoming[0] < following + most:
                worker.give(*upcoming)
                upcoming = next(tasks, None)
        busy = {worker.pipe: worker for worker in team if worker.task is not None}
        if not busy:
            return
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]  # it gives back what it was given
            number, worker.task = worker.task, None
            assert number is not None  # noqa: S101 (it is busy)
            done[number] = worker.take()
        while following in done:
            yield done.pop(following)
            following += 1


def _died(process: SpawnProcess) -> OrchestratorError:
    process.join(1)
    code = process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return OrchestratorError(
        f"a process that checked rows ended too early ({how})",
        hint="The machine may be short of memory: close other programs, or use fewer processes.",
    )


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let processes that start now inherit that the keyboard does not interrupt them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection[object, object], prepare: Prepare[Task, Result]) -> None:
    """The life of a process: it ends when our end of the pipe does."""
    # One process for each core already: libraries need not start threads for them too.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            work = prepare()
        except Exception as error:
            pipe.recv()
            pipe.send(_portable(error))
            return
        # Rows make many objects and no cycles: looking for those more rarely saves 3%.
        gc.freeze()
        gc.set_threshold(100_000, 20, 20)
        while True:
            task: Task = pipe.recv()  # type: ignore[assignment]  # pipes are not typed
            try:
                pipe.send(work(task))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                pipe.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """An error that arrives as it left, or else its text."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301 (our own bytes)
            return error
    except Exception:  # noqa: S110
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
