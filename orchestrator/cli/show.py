"""`orchestrator show`."""

from __future__ import annotations

import click

from orchestrator.cli.evidence_told import judged_pairs
from orchestrator.cli.options import json_option
from orchestrator.cli.printing import note, print_json, print_pairs, print_table, size
from orchestrator.cli.session import next_command, open_pipeline
from orchestrator.report.costs import run_cost
from orchestrator.report.views import RunView


@click.command()
@click.argument("run")
@json_option
def command(run: str, as_json: bool) -> int:
    """Show everything that is known of a run.

    RUN is its id, the beginning or the end of the id, or the name in its spec (the newest run).
    """
    with open_pipeline() as (pipeline, ledger):
        found = pipeline.view(ledger.resolve_id(run))
        folder = pipeline.run_folder(found.facts.run.id)
    if as_json:
        print_json({**found.to_json(), "folder": str(folder)})
        return 0
    _print(found, str(folder))
    following = next_command(found.facts.run.id, found.status)
    if "orchestrator show" not in following:
        note(f"next: {following}")
    return 0


def _print(found: RunView, folder: str) -> None:
    run = found.facts.run
    pairs = [
        ("run", run.id),
        ("state", f"{found.status.state}" + _because(found)),
        ("next", str(found.status.action)),
        ("name", run.plan.name),
        ("base model", run.plan.model.id),
        ("plan", run.plan.digest),
        ("created", f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("target", f"{run.target.service} {run.target.project}/{run.target.location}".rstrip("/")),
        ("staging", run.target.bucket),
        *([("candidates", run.target.candidates)] if run.target.candidates else []),
        ("repo", run.target.repo or "none: the spec does not ask for publishing"),
        ("cost", str(run_cost(found.facts))),
        ("folder", folder),
    ]
    for attempt in found.facts.attempts:
        state = attempt.snapshot.raw_state if attempt.snapshot else "no news yet"
        job = attempt.handle.id if attempt.handle else f"no job known; label {attempt.token}"
        pairs.append((f"{attempt.kind} {attempt.ordinal}", f"{job}  {state}"))
    pairs += [
        ("made", f"{event.data['source']}: {', '.join(event.data['files'])}")
        for event in found.facts.events
        if event.kind == "produced"
    ]
    pairs += judged_pairs(found.facts)
    if found.training_seconds is not None:
        pairs.append(("training time", f"{found.training_seconds:.0f} s"))
    if found.stand_in:
        pairs.append(("stand-in", f"{found.stand_in.get('name')} for {found.stand_in.get('for')}"))
    if found.published:
        at = f"{found.published['repo']} at {found.published['revision']}"
        pairs.append(("published", f"{at}, tag {found.published['tag']}"))
    back = found.facts.last("rolled_back")
    if back is not None:
        to = f"{back.data.get('repo')} to {back.data.get('tag')}"
        pairs.append(("rolled back", f"{to}, {back.at:%Y-%m-%d %H:%M} UTC"))
    print_pairs(pairs)
    if found.series:
        click.echo()
        rows = [
            (s.name, str(s.points), f"{s.first:.4g}", f"{s.last:.4g}", f"{s.lowest:.4g}")
            for s in found.series
        ]
        print_table(("metric", "points", "first", "last", "lowest"), rows)
    if found.adapter_files:
        click.echo()
        files = [(f.name, size(f.size_bytes), f.sha256) for f in found.adapter_files.values()]
        print_table(("file", "size", "sha256"), files)
    click.echo()
    events = [(f"{e.at:%H:%M:%S}", e.kind, _detail(e.data)) for e in found.facts.events]
    print_table(("UTC", "event", "detail"), events)


def _because(found: RunView) -> str:
    return f": {found.status.reason}" if found.status.reason else ""


def _detail(data: object) -> str:
    if not isinstance(data, dict):
        return ""
    words = [f"{key}={value}" for key, value in data.items() if value not in (None, [], {}, "")]
    text = " ".join(words)
    return text if len(text) <= 160 else text[:157] + "…"
