"""What `uv` is inside a job: `uv run [OPTIONS] SCRIPT ARGS` is this interpreter running SCRIPT.

Run as a file in a process of its own, by a wrapper that names the file with its orders (JSON):
`instead` has scripts by name and what is run in their place, `spoil` the rule by which the output
of a script is changed after it has ended, `told` the file that says what was changed, `mark` what
is written into the configs of a model that a stand-in left, and `root` the folder that holds the
package. Uses the standard library only, for it starts with every script.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Options of `uv run` that are followed by a value; all are passed over, for the interpreter that
#: runs the sandbox has the packages of the scripts.
_WITH_VALUE = frozenset(
    {
        "--with",
        "--with-editable",
        "--with-requirements",
        "--extra",
        "--group",
        "--only-group",
        "--no-group",
        "--python",
        "-p",
        "--index",
        "--index-url",
        "-i",
        "--default-index",
        "--extra-index-url",
        "--find-links",
        "-f",
        "--index-strategy",
        "--keyring-provider",
        "--resolution",
        "--prerelease",
        "--exclude-newer",
        "--link-mode",
        "--refresh-package",
        "--reinstall-package",
        "--upgrade-package",
        "-P",
        "--config-setting",
        "-C",
        "--no-build-package",
        "--package",
        "--no-binary-package",
        "--cache-dir",
        "--directory",
        "--project",
        "--config-file",
        "--color",
        "--env-file",
        "--python-platform",
        "--torch-backend",
        "--allow-insecure-host",
    }
)
_SCRIPT = ("--script", "-s")
_MODULE = ("--module", "-m")
_REFUSED = 2
#: The key under which the package looks for it (`orchestrator.adapter.STAND_IN`).
_STAND_IN = "stand_in"


def main(orders_file: str, arguments: list[str]) -> int:
    """Run what `uv` was asked to run; returns the exit code, or does not return."""
    orders = json.loads(Path(orders_file).read_text(encoding="utf-8"))
    if arguments[:1] in (["--version"], ["-V"]):
        sys.stdout.write("uv 0.0.0 (sandbox)\n")
        return 0
    if arguments[:1] != ["run"]:
        asked = " ".join(["uv", *arguments[:2]])
        return _refuse(f"`{asked}` is not served here: only `uv run SCRIPT ARGS` is")
    rest = _after_options(arguments[1:])
    if not rest:
        return _refuse("`uv run` was given no script")
    command, environment = [sys.executable, *rest], dict(os.environ)
    if rest[0].startswith(("http://", "https://")):
        return _refuse(f"{rest[0]}: scripts from the internet are not run; mount a repo")
    if rest[0] not in _MODULE and not rest[0].endswith(".py"):
        # `uv run python x.py`, or any other command: as it is.
        command = [sys.executable, *rest[1:]] if _is_python(rest[0]) else rest
    other = orders["instead"].get(Path(rest[0]).name)
    if other is not None:
        command = [sys.executable, other, *rest[1:]]
        environment["PYTHONPATH"] = orders["root"]
    if orders["spoil"] is None and orders["mark"] is None:
        try:
            os.execvpe(command[0], command, environment)  # noqa: S606 (no shell is wanted)
        except OSError as error:
            return _refuse(f"{command[0]} cannot be run: {error.strerror}")
    return _run_and_spoil(command, environment, orders)


def _after_options(arguments: list[str]) -> list[str]:
    """What comes after the options of `uv run`."""
    left = list(arguments)
    while left:
        if left[0] == "--":
            return left[1:]
        if left[0] in _SCRIPT:
            left = left[1:]
        elif left[0] in _MODULE or not left[0].startswith("-"):
            return left
        else:
            left = left[2:] if left[0] in _WITH_VALUE else left[1:]
    return []


def _is_python(name: str) -> bool:
    return Path(name).name in ("python", "python3")


def _run_and_spoil(command: list[str], environment: dict[str, str], orders: dict[str, Any]) -> int:
    child = subprocess.Popen(command, env=environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: child.send_signal(got))
    code = child.wait()
    if code == 0 and orders["mark"] is not None and "--output" in command[:-1]:
        _mark(Path(command[command.index("--output") + 1]), orders["mark"])
    if code == 0 and orders["spoil"] is not None and "--output" in command[:-1]:
        sys.path.insert(0, orders["root"])
        from orchestrator.sandbox.jobs.spoiling import spoil_output

        output = Path(command[command.index("--output") + 1])
        with Path(orders["told"]).open("a", encoding="utf-8") as told:
            told.writelines(f"{line}\n" for line in spoil_output(output, orders["spoil"]))
    return code if code >= 0 else 128 - code


def _mark(output: Path, mark: dict[str, str]) -> None:
    """Have every model below `output` say in its config what stood in for the base model."""
    for name in ("adapter_config.json", "config.json"):
        for file in output.glob(f"*/{name}"):
            config = json.loads(file.read_text(encoding="utf-8"))
            if _STAND_IN not in config:
                config[_STAND_IN] = mark
                text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
                file.write_text(text, encoding="utf-8")


def _refuse(message: str) -> int:
    sys.stderr.write(f"uv of the sandbox: {message}\n")
    return _REFUSED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
