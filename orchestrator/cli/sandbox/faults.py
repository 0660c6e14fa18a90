"""`orchestrator sandbox faults`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json, print_table
from orchestrator.cli.sandbox.options import dir_option, remote
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.sandbox.edge.rules import JobRule, RequestRule


@click.group()
def faults() -> None:
    """What goes wrong on purpose in a sandbox that is being served."""


@faults.command("list")
@dir_option()
@json_option
def list_rules(folder: Path, as_json: bool) -> int:
    """Show the rules in force, how many requests matched each, and how many it spoiled."""
    rules = remote(folder).call("GET", "/faults")
    if as_json:
        print_json(rules)
        return 0
    rows = [
        (kind, _words(one["rule"]), str(one["seen"]), str(one["applied"]))
        for kind in ("requests", "jobs")
        for one in rules[kind]
    ]
    if rows:
        print_table(("for", "rule", "seen", "applied"), rows)
    else:
        note("no rules are in force")
    return 0


@faults.command()
@dir_option()
@click.argument("setting", nargs=-1)
@click.option(
    "--file", type=click.Path(path_type=Path), help="YAML like that of `up --config`: its faults."
)
def add(folder: Path, setting: tuple[str, ...], file: Path | None) -> int:
    """Put a rule in force, written as KEY=VALUE words.

    For requests: face (storage, hub, vertex, jobs), operation, target, effect (error, drop, delay,
    stall, cut, corrupt), after, status, code, message, retry_after_s, delay_s, keep_bytes. For
    jobs: outcome, face (vertex, jobs), target, message, files. For both: nth, times (a number, or
    `always`), chance.

        orchestrator sandbox faults add face=storage operation=PUT effect=drop after=true

        orchestrator sandbox faults add outcome=failed target=router
    """
    from orchestrator.sandbox.config import load_config

    rules: dict[str, Any] = {"requests": [], "jobs": []}
    if file is not None:
        plan = load_config(file).faults
        rules = plan.model_dump(mode="json", include={"requests", "jobs"})
    if setting:
        rule = _rule(setting)
        kind = "jobs" if "outcome" in type(rule).model_fields else "requests"
        rules[kind].append(rule.model_dump(mode="json"))
    if not (rules["requests"] or rules["jobs"]):
        raise InputError("no rule was given", hint="Write one: face=storage effect=drop")
    remote(folder).call("POST", "/faults", rules)
    note("in force from now on; next: orchestrator sandbox faults list")
    return 0


@faults.command()
@dir_option()
def clear(folder: Path) -> int:
    """Let nothing go wrong any more; the log stays."""
    remote(folder).call("DELETE", "/faults")
    return 0


@faults.command()
@dir_option()
@json_option
def log(folder: Path, as_json: bool) -> int:
    """Show what went wrong on purpose since the sandbox was started."""
    injected = remote(folder).call("GET", "/faults/log")
    if as_json:
        print_json(injected)
        return 0
    for one in injected:
        hidden = f" (hidden answer: {one['hidden_status']})" if one["hidden_status"] else ""
        request = f"{one['face']} {one['operation']} {one['target']}"
        click.echo(f"{one['at']}  {request}: {one['fault']}{hidden}")
    return 0


def _rule(settings: tuple[str, ...]) -> RequestRule | JobRule:
    """A rule from KEY=VALUE words."""
    from pydantic import ValidationError

    from orchestrator.sandbox.edge.rules import JobRule, RequestRule

    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} is not KEY=VALUE", hint="As in: effect=drop")
        given[key] = value
    # Text becomes numbers and truths by the rule's own fields; these two have a spelling here.
    if given.get("times") == "always":
        given["times"] = None
    if "files" in given:
        given["files"] = tuple(given["files"].split(","))
    kind: type[RequestRule] | type[JobRule] = JobRule if "outcome" in given else RequestRule
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems = [_problem(detail["loc"], detail["msg"]) for detail in error.errors()]
        raise InputError(
            "; ".join(problems), hint=f"Keys: {', '.join(kind.model_fields)}."
        ) from None


def _problem(place: tuple[int | str, ...], message: str) -> str:
    words = message.removeprefix("Value error, ").replace("Input should be", "must be")
    words = words.replace("Extra inputs are not permitted", "there is no such key")
    field = ".".join(str(part) for part in place)
    return f"{field}: {words[:1].lower()}{words[1:]}" if field else words


def _words(rule: dict[str, Any]) -> str:
    """A rule in the words that `add` takes."""
    return " ".join(f"{key}={_spelled(value)}" for key, value in rule.items())


def _spelled(value: Any) -> str:
    if value is None:
        return "always"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
