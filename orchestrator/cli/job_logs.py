"""The log of a job of Hugging Face Jobs, which the service streams itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from orchestrator.cli.printing import note, print_json
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.training_log import JobLog


def print_job_log(
    service: HfJobsService,
    run_id: str,
    log: JobLog,
    show: Callable[[str], None],
    *,
    following: bool,
    tail: int | None,
) -> None:
    """Write the lines that there are, or all until the job has ended."""
    texts = (line.text for line in service.log_lines(log.handle, follow=following))
    any_line = False
    for text in texts if following else _last(texts, tail):
        any_line = True
        show(text)
    found = service.inspect([log.handle]).get(log.handle)
    state = found.raw_state if found else "the service does not show the job any more"
    if not any_line:
        note(f"nothing was logged yet ({state}); look there: {log.link}")
    if found is None or found.state.is_final:
        note(f"the job has ended: {state}\nnext: orchestrator poll {run_id}")
    elif not following:
        note(f"next: orchestrator logs --follow {run_id}")


def print_job_document(service: HfJobsService, run_id: str, log: JobLog, tail: int | None) -> None:
    """The same as one JSON document, with what there is now."""
    lines = [*_last((line.text for line in service.log_lines(log.handle)), tail)]
    print_json(
        {
            "run": run_id,
            "attempt": log.attempt_id,
            "source": "service" if lines else None,
            "uri": None,
            "link": log.link,
            "lines": lines,
        }
    )


def _last(lines: Iterable[str], count: int | None) -> Iterable[str]:
    return lines if count is None else deque(lines, maxlen=count)
