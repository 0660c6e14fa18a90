"""The command line: parses, calls, prints, and maps errors to exit codes.

A command's module is imported only when the command runs; its help line stands in the table here.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Callable

import click

from orchestrator import __version__
from orchestrator.errors import OrchestratorError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)
#: What a shell reports of a program whose reader has gone: 128 and the number of SIGPIPE.
_READER_GONE = 141

_COMMANDS = {
    "specs": "List the specs that come with the program, or copy one.",
    "check": "Check a spec and its rows before anything is uploaded.",
    "prepare": "Write the rows as the service takes them: converted, split, summarised.",
    "plan": "Show what would be trained, what it costs and what the service would refuse.",
    "submit": "Stage the rows and launch the tuning job, at most once.",
    "poll": "Ask the services for news and move every unfinished run on.",
    "runs": "List the runs: state, age, cost.",
    "show": "Show everything that is known of a run.",
    "logs": "Print what the job of a run has logged.",
    "cancel": "Cancel a run, and stop its job at the service.",
    "resolve": "Answer what an UNCERTAIN or HELD run waits for.",
    "adopt": "Take a finished job, or weights on disk, into the ledger as a run.",
    "evaluate": "Evaluate a run's tuned model and judge it by its gates.",
    "audit": "Let people or a judge model score answers of a run, and show how far they agree.",
    "compare": "Compare runs, or files of answers, with the first one, row by row.",
    "publish": "Publish a run that is HELD, by a stated reason if its gates failed.",
    "rollback": "Bring a published repo back to one of its tags.",
    "publish-data": "Publish the prepared rows of a spec as a dataset on the Hub.",
    "gc": "List what no run needs any more, and remove it.",
    "rehearse": "Run a spec end to end on this machine, on a sandbox of its own.",
    "report": "Write pages that show runs: curves, slices, examples, failures, cost.",
    "suites": "List the benchmark suites that are known, or write the rows of one.",
    "score": "Score answers against what is expected, with intervals and slices.",
    "schema": "Print the JSON Schema of a spec, for editors.",
    "sandbox": "Cloud Storage, Vertex tuning and the Hub as local servers.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in _COMMANDS:
            return None
        module = f"orchestrator.cli.{name.replace('-', '_')}"
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Take a fine-tuning job from a YAML spec to a published adapter.

    Start with a rehearsal, which needs no account and no network:

        orchestrator rehearse router/llama-3.1-8b

    Exit codes: 0 done; 1 a check or an attempt failed; 2 wrong usage, spec, setting or credential;
    3 a bug; 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """The entry point; always leaves by `sys.exit`."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    _print_whatever_comes()
    try:
        result = cli.main(args=arguments, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort as abort:
        if isinstance(abort.__cause__, EOFError):
            return _bug(abort.__cause__)  # click takes any for the end of a person's input
        return _told("interrupted", 130)
    except click.ClickException as error:
        return _told(error.show, error.exit_code)
    except OrchestratorError as error:
        shown = error
        return _told(lambda: _show(shown), shown.exit_code)
    except KeyboardInterrupt:
        return _told("interrupted", 130)
    except SystemExit:
        # So click ends when the reader of our output has gone (`| head`): not worth a word, but
        # the work was cut short, and whether it would have gone well nobody knows.
        return _READER_GONE
    except OSError as error:
        return _machine(error)
    except Exception as error:
        return _bug(error)
    return result if isinstance(result, int) else 0


def _print_whatever_comes() -> None:
    """Let no character end a command: terminals lack some, and names of files need not be text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _told(message: str | Callable[[], None], code: int) -> int:
    """The exit code, which must not depend on whether anybody can be told the message."""
    try:
        if isinstance(message, str):
            click.echo(message, err=True)
        else:
            message()
    except OSError:
        _forget_stderr()
    return code


def _forget_stderr() -> None:
    """Let what is left in its buffer go nowhere: at the end it would fail again, with code 120."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def _show(error: OrchestratorError) -> None:
    from orchestrator.cli.printing import print_report
    from orchestrator.dataset.preparing.prepared import DataError
    from orchestrator.spec import SpecError
    from orchestrator.visible_text import visible

    if isinstance(error, SpecError):
        for problem in error.problems:
            click.echo(visible(f"error: {problem}"), err=True)
        return
    if isinstance(error, DataError):
        print_report(error.report, err=True)
    click.echo(visible(f"error: {error}"), err=True)


def _machine(error: OSError) -> int:
    """A disk that is full or a folder that may not be written is no bug; anything else is."""
    if error.errno in _NO_ROOM:
        hint = "Make room, or set ORCHESTRATOR_HOME to a folder on another disk"
    elif error.errno in _NO_RIGHT:
        hint = "Check the path and your rights, or set ORCHESTRATOR_HOME to a folder of yours"
    else:
        return _bug(error)
    name = f"{error.filename}: " if error.filename else ""
    return _told(f"error: {name}{error.strerror}\n  {hint}; then run the command again.", 2)


def _bug(error: BaseException) -> int:
    from orchestrator.cli.bugs import report_bug

    return _told(report_bug(error), 3)
