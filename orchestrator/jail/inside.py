"""The first program inside the jail: it bounds itself, runs the program, then its tests.

It is handed to a bare Python as text and imports nothing of this package. It is told the program
first, and the tests with a word to say at their end only once the program's own lines have run, so
that a program that prints, writes or exits early has nothing to say that would count.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import resource
import signal
import sys
import types
import typing

#: What Python makes of text that is no program: of what is nested too deeply, too.
_UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
_WORD_BYTES = 32


def main() -> None:
    """Answer to the two pipes whose numbers are the arguments."""
    questions, answers = int(sys.argv[1]), int(sys.argv[2])
    for pipe in (questions, answers):
        os.set_inheritable(pipe, False)
    del sys.argv[1:], sys.path[0]
    # Kept here, where a program that bends modules does not reach them.
    leave, tell, receive = os._exit, _teller(answers), _receiver(questions)
    flush, put_back = sys.stdout.flush, _put_back

    tell(b"ready")
    job = json.loads(receive())
    _bound(job["limits"])
    names = vars(_module("__main__" if job["scripted"] else "program"))
    try:
        code = _compiled(job["program"])
        if code is None:
            tell(b"unreadable")
            leave(0)
        kept = [_Kept(one) for one in _used(job["imports"])]
        tell(b"compiled")
        run, read = exec, compile
        run(code, names)
        put_back(kept, names)
        tell(b"defined")
        last = receive()
        run(read(last[_WORD_BYTES:].decode(), "<tests>", "exec", dont_inherit=True), names)
        flush()
        tell(b"passed", last[:_WORD_BYTES])
    except AssertionError:
        tell(b"raised", b"AssertionError")
    except MemoryError:
        tell(b"memory")
    except SystemExit:
        tell(b"exit")
    except BaseException as error:
        tell(b"raised", type(error).__name__.encode())
    leave(0)


def _teller(pipe: int) -> typing.Callable[..., None]:
    write = os.write

    def tell(*words: bytes) -> None:
        write(pipe, b" ".join(words) + b"\n")

    return tell


def _receiver(pipe: int) -> typing.Callable[[], bytes]:
    """Takes one message: eight bytes that say how long the rest is."""
    read, leave, number, length = os.read, os._exit, int.from_bytes, len

    def exactly(count: int) -> bytes:
        data = b""
        while length(data) < count:
            more = read(pipe, count - length(data))
            if not more:
                leave(1)
            data += more
        return data

    return lambda: exactly(number(exactly(8), "big"))


def _module(name: str) -> types.ModuleType:
    """The module that the program and its tests share."""
    module = types.ModuleType(name)
    sys.modules[name] = sys.modules["__main__"] = module
    return module


def _compiled(program: str) -> types.CodeType | None:
    try:
        return compile(program, "<program>", "exec", dont_inherit=True)
    except _UNREADABLE:
        return None


def _used(names: list[str]) -> list[types.ModuleType]:
    """The modules that tests import, and those within them, as they are before a program's lines.

    `sys` is among them only where tests name it: a program may well give itself another `stdin`.
    """
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except Exception:  # noqa: S112 (the tests will say what is missing)
            continue
    within = [part for one in found for part in vars(one).values()]
    parts = [one for one in within if isinstance(one, types.ModuleType) and one is not sys]
    return list(dict.fromkeys([*found, *parts]))


class _Kept:
    """What a module and its classes hold, to be put back."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        # `os.path` is called otherwise by itself.
        self._known_as = [name for name, one in sys.modules.items() if one is module]
        self._names = dict(vars(module))
        self._classes = [
            (one, dict(vars(one))) for one in self._names.values() if isinstance(one, type)
        ]

    def put_back(self, modules: dict[str, types.ModuleType]) -> None:
        """Make the module what it was, for whoever imports it."""
        names = vars(self._module)
        # Parts of a package that were imported since are the program's to use.
        parts = {
            name: one
            for name, one in names.items()
            if name not in self._names and modules.get(f"{self._module.__name__}.{name}") is one
        }
        names.clear()
        names.update(self._names | parts)
        modules.update(dict.fromkeys(self._known_as, self._module))
        for one, kept in self._classes:
            for name in {*kept, *vars(one)}:
                if vars(one).get(name) is not kept.get(name):
                    _restore(one, name, kept)


def _restore(one: type, name: str, kept: dict[str, typing.Any]) -> None:
    try:
        if name in kept:
            setattr(one, name, kept[name])
        else:
            delattr(one, name)
    except (AttributeError, TypeError):
        return  # Python made it, and keeps it


def _put_back(
    kept: list[_Kept],
    names: dict[str, typing.Any],
    # Taken when the jail is closed, before a program runs.
    built_in: dict[str, typing.Any] = vars(builtins),  # noqa: B008
    as_it_was: dict[str, typing.Any] = dict(vars(builtins)),  # noqa: B006, B008
    modules: dict[str, types.ModuleType] = sys.modules,
    settrace: typing.Callable[[None], None] = sys.settrace,
    setprofile: typing.Callable[[None], None] = sys.setprofile,
) -> None:
    """Put back what tests lean on, so far as a program's own lines have bent it."""
    built_in.clear()
    built_in.update(as_it_was)
    settrace(None)
    setprofile(None)
    for one in kept:
        one.put_back(modules)
    sys.modules = modules
    names["__builtins__"] = builtins


def _bound(limits: dict[str, int]) -> None:
    for name, most in {
        "CPU": limits["cpu_s"],
        "AS": limits["process_memory_bytes"],
        "NPROC": limits["processes"],
        "NOFILE": limits["open_files"],
        "FSIZE": limits["file_bytes"],
        **dict.fromkeys(("CORE", "MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO"), 0),
        "SIGPENDING": 64,
    }.items():
        # The hard limit of processor time is a second later: the first signal says what it was.
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most + (name == "CPU")))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file too large is an OSError


if __name__ == "__main__":
    main()
