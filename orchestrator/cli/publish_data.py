"""`orchestrator publish-data`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.given import prepare_given, read_given
from orchestrator.cli.options import data_option, json_option, limit_option, spec_argument
from orchestrator.cli.printing import note, print_json, print_pairs
from orchestrator.cli.tools_given import tools_option, with_tools
from orchestrator.errors import InputError


@click.command()
@spec_argument
@click.option(
    "--repo",
    required=True,
    metavar="NS/NAME",
    help="Dataset repo on the Hub; without a namespace it is the token owner's.",
)
@click.option(
    "--public", is_flag=True, help="Let everybody see it, if the repo is new. Asks first."
)
@click.option("--license", "licence", metavar="ID", help="Licence of the rows: mit, cc-by-4.0, …")
@click.option("--without-test", is_flag=True, help="Keep the test rows back.")
@data_option
@tools_option
@limit_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def command(
    spec: Path,
    repo: str,
    public: bool,
    licence: str | None,
    without_test: bool,
    data: str | None,
    tools: Path | None,
    limit: int | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Publish the prepared rows of a spec as a dataset: one commit with a card, and a tag.

        orchestrator publish-data router/llama-3.1-8b --repo alice/router-rows --license mit

    The rows are those of `orchestrator prepare`. Nothing leaves while they hold an e-mail address,
    a phone number, a key or a token (exit 1); `data.redact: true` masks them. The repo is created
    private, unless --public; every byte is read back. The same again changes nothing.
    """
    from orchestrator.cli.interrupts import Interrupts
    from orchestrator.cli.progress import Display
    from orchestrator.connections import Connections
    from orchestrator.dataset_publishing import DataRequest, publish_data
    from orchestrator.settings import Settings

    given = with_tools(read_given(spec), tools)
    prepared = prepare_given(given, data, limit=limit)
    if public and not yes:
        _ask(repo)
    request = DataRequest(
        spec=given.loaded.spec,
        prepared=prepared,
        repo=repo,
        private=not public,
        licence=licence,
        splits=("train", "validation") if without_test else ("train", "validation", "test"),
    )
    with Interrupts() as interrupts:
        hub = Connections(Settings.from_env()).hub_datasets
        done = publish_data(request, hub, Display(interrupts, quiet=as_json))
    if as_json:
        print_json(
            {
                "repo": done.repo,
                "revision": done.revision,
                "tag": done.tag,
                "committed": done.committed,
                "files": dict(done.files),
            }
        )
        return 0
    if not done.committed:
        note("nothing to do: these rows stand there already")
    print_pairs(
        [
            ("dataset", done.repo),
            ("commit", done.revision),
            ("tag", done.tag),
            ("files", ", ".join(sorted(done.files))),
        ]
    )
    return 0


def _ask(repo: str) -> None:
    """Have it confirmed that everybody may see the rows; raises if nobody can be asked, or no."""
    if not sys.stdin.isatty():
        raise InputError(
            f"nobody is here to confirm that everybody may see the rows in {repo}",
            hint="Say it on the command line: --yes",
        )
    note(f"Everybody can read and copy what is in {repo}, also after it is removed.")
    if not click.confirm("Publish it?", err=True):
        note("nothing was published")
        raise click.exceptions.Exit(1)
