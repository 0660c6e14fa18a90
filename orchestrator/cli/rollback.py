"""`orchestrator rollback`."""

from __future__ import annotations

import sys

import click

from orchestrator import rollback
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import counted, note, print_json, size
from orchestrator.cli.session import Session, open_session
from orchestrator.errors import InputError
from orchestrator.stores.hub_trees import HubTrees

#: Of more files than these, only the number is told.
_MOST_NAMED = 8


@click.command()
@click.argument("repo")
@click.argument("tag")
@click.option("--dataset", is_flag=True, help="REPO is a dataset, not a model.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def command(repo: str, tag: str, dataset: bool, yes: bool, as_json: bool) -> int:
    """Bring main of a published repo back to one of its tags, by one commit.

        orchestrator rollback alice/router-adapter run-20261121-4e3cec3a-ad05ee

    Files that differ come back, those that the tag does not have are deleted; .gitattributes stays.
    Asks first. Every byte is read back before it is called done, and the run that was published
    under the tag has it recorded. Nothing is lost: what stands there now stays in the history.
    Exit 0 too if main is as in the tag already; 2 if somebody commits meanwhile: nothing changes.
    """
    with open_session(quiet=as_json) as session:
        hub = session.connections.hub_datasets if dataset else session.connections.hub_trees
        repo_id = hub.check_write(repo)
        change = rollback.plan_rollback(hub, repo_id, tag)
        if change.is_needed:
            _ask(change, yes=yes)
        unrecorded = change.is_needed or rollback.was_rolled_back(change, hub)
        revision = rollback.roll_back(change, hub, session.display)
        run = None
        if not dataset and unrecorded:
            run = _record(session, hub, change, revision)
    if as_json:
        print_json(_document(change, revision, run))
    elif change.is_needed:
        click.echo(f"main of {repo_id} is as in {tag}: commit {revision}")
    else:
        click.echo(f"main of {repo_id} is already as in {tag}: nothing was committed")
    return 0


def _ask(change: rollback.Rollback, *, yes: bool) -> None:
    """Say what is going to change and have it confirmed; raises if nobody is there, or says no."""
    restored = [file.path for file in change.restored]
    size_bytes = sum(file.size_bytes for file in change.restored)
    note(f"{change.repo}: main is at {change.head[:12]}, {change.tag} at {change.target[:12]}")
    if restored:
        note(f"  brought back: {_named(restored)} ({size(size_bytes)})")
    if change.deleted:
        note(f"  deleted:      {_named(list(change.deleted))}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"nobody is here to confirm that {change.repo} is to be brought back to {change.tag}",
            hint="Say it on the command line: --yes",
        )
    if not click.confirm("Bring it back?", err=True):
        note("nothing was changed")
        raise click.exceptions.Exit(1)


def _named(paths: list[str]) -> str:
    return ", ".join(paths) if len(paths) <= _MOST_NAMED else counted(len(paths), "file")


def _record(
    session: Session, hub: HubTrees, change: rollback.Rollback, revision: str
) -> str | None:
    """Record it on the run that was published under the tag; gives that run."""
    run_id = rollback.published_run(session.ledger, change.repo, change.tag)
    if run_id is None:
        return None
    if not rollback.record(session.ledger, run_id, change, revision, hub.owner()):
        note(f"warning: it is not recorded yet: another pass works on run {run_id}")
        note(f"  later:  orchestrator rollback {change.repo} {change.tag}")
        return None
    note(f"recorded on run {run_id}")
    return run_id


def _document(change: rollback.Rollback, revision: str, run: str | None) -> dict[str, object]:
    return {
        "repo": change.repo,
        "tag": change.tag,
        "target": change.target,
        "before": change.head,
        "revision": revision,
        "changed": change.is_needed,
        "restored": [file.path for file in change.restored],
        "deleted": list(change.deleted),
        "run": run,
    }
