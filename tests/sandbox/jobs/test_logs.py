"""Logs as streams: followed, cut, resumed, kept; and the samples of metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from orchestrator.sandbox.edge.rules import Effect, FaultPlan, RequestRule
from orchestrator.sandbox.jobs.conduct import JobsConduct
from tests.sandbox.jobs.stage import STUBBORN, WAITS, Stage, run

COUNTS = "import sys; [print('line', n, flush=True) for n in range(int(sys.argv[1]))]"
COUNTS_AND_WAITS = f"{COUNTS}; import time; time.sleep(600)"


def test_a_log_is_followed_until_the_job_ends(stage: Stage) -> None:
    code = "import time; print('one', flush=True); time.sleep(600)"
    with stage.serving() as api:
        job_id = run(api, code, timeout=60)
        lines = iter(api.fetch_job_logs(job_id=job_id, namespace="alice", follow=True))
        assert next(lines) == "one"
        stage.clock.advance(60)
        assert list(lines) == []
        assert api.inspect_job(job_id=job_id, namespace="alice").status.message == "Job timeout"


def test_errors_and_output_are_in_one_log_that_stays(stage: Stage) -> None:
    code = "import sys; sys.stderr.write('warned\\n'); print('said'); print('é', '\\r50%\\r100%')"
    with stage.serving() as api:
        job_id = run(api, code, env={"PYTHONUTF8": "1"})
        stage.ended(job_id)
    with stage.serving() as api:
        lines = list(api.fetch_job_logs(job_id=job_id, namespace="alice"))
        assert sorted(lines) == sorted(["warned", "said", "é \r50%\r100%"])


@pytest.mark.parametrize(("tail", "numbers"), [(0, []), (2, [3, 4]), (99, [0, 1, 2, 3, 4])])
def test_the_last_lines_alone_can_be_asked_for(stage: Stage, tail: int, numbers: list[int]) -> None:
    with stage.serving() as api:
        job_id = run(api, COUNTS, "5")
        stage.ended(job_id)
        lines = api.fetch_job_logs(job_id=job_id, namespace="alice", tail=tail)
        assert list(lines) == [f"line {n}" for n in numbers]
        assert stage.ask("GET", f"/api/jobs/alice/{job_id}/logs?tail=x").status_code == 400


def test_events_have_the_form_and_the_first_line_of_the_service(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "print('hello')")
        stage.ended(job_id)
        answer = stage.ask("GET", f"/api/jobs/alice/{job_id}/logs")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    first, second = (json.loads(block.removeprefix("data: ")) for block in blocks)
    assert first["data"] == "===== Job started at 2026-01-01T12:00:00.000Z ====="
    assert second == {"data": "hello", "timestamp": "2026-01-01T12:00:00.000Z"}


def test_a_silent_stream_is_kept_alive(stage: Stage) -> None:
    with stage.serving(JobsConduct(keep_alive_s=0.05)) as api:
        job_id = run(api, WAITS)
        stage.until_said(job_id, "ready")
        assert [line for line in _first_lines(stage, job_id, 7) if line][-1] == ": keep-alive"


def _first_lines(stage: Stage, job_id: str, count: int) -> list[str]:
    url = f"{stage.url}/api/jobs/alice/{job_id}/logs"
    headers = {"authorization": "Bearer hf_alice"}
    with httpx2.stream("GET", url, headers=headers, timeout=30) as answer:
        lines: Iterator[str] = answer.iter_lines()
        return [next(lines) for _ in range(count)]


def test_a_stream_that_is_cut_is_resumed_and_no_line_comes_twice(stage: Stage) -> None:
    cut = RequestRule(face="jobs", target="/logs", effect=Effect.CUT, keep_bytes=500)
    with stage.serving(faults=FaultPlan(requests=(cut,))) as api:
        job_id = run(api, COUNTS_AND_WAITS, "20")
        stage.until_said(job_id, "line 19")
        lines = iter(api.fetch_job_logs(job_id=job_id, namespace="alice", follow=True))
        assert [next(lines) for _ in range(20)] == [f"line {n}" for n in range(20)]
        api.cancel_job(job_id=job_id, namespace="alice")
        assert list(lines) == []
        assert [(one.face, one.fault) for one in stage.book.injected] == [
            ("jobs", "cut after 500 bytes")
        ]


def test_a_stream_ends_when_the_sandbox_does(stage: Stage) -> None:
    seen: list[str] = []

    def follow() -> None:
        url = f"{stage.url}/api/jobs/alice/{job_id}/logs"
        headers = {"authorization": "Bearer hf_alice"}
        with httpx2.stream("GET", url, headers=headers, timeout=60) as answer:
            for line in answer.iter_lines():
                seen.append(line)
                began.set()

    began = threading.Event()
    with stage.serving() as api:
        job_id = run(api, WAITS)
        stage.until_said(job_id, "ready")
        reader = threading.Thread(target=follow)
        reader.start()
        assert began.wait(30)
    reader.join(30)
    assert not reader.is_alive()
    assert any('"ready"' in line for line in seen)


def test_a_cancelled_job_s_log_goes_on_while_it_winds_down(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, STUBBORN)
        stage.until_said(job_id, "ready")
        api.cancel_job(job_id=job_id, namespace="alice")
        stage.until_said(job_id, "no")
        assert not stage.face.all_ended()
        stage.clock.advance(30)
        stage.ended(job_id)
        assert stage.face.all_ended()


def test_metrics_are_samples_while_the_job_runs(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, WAITS, flavor="t4-small")
        stage.until_said(job_id, "ready")
        [sample] = api.fetch_job_metrics(job_id=job_id, namespace="alice")
        assert 1 << 20 < sample["memory_used_bytes"] < sample["memory_total_bytes"] == 15 << 30
        assert sample["cpu_millicores"] == 4000
        api.cancel_job(job_id=job_id, namespace="alice")
        stage.ended(job_id)
        assert stage.ask("GET", f"/api/jobs/alice/{job_id}/metrics").status_code == 406
        assert list(api.fetch_job_metrics(job_id=job_id, namespace="alice")) == []


def test_strangers_read_no_logs(stage: Stage) -> None:
    with stage.serving() as api:
        job_id = run(api, "print('private')")
        stage.ended(job_id)
        with pytest.raises(HfHubHTTPError, match="403"):
            list(stage.client("hf_bob").fetch_job_logs(job_id=job_id, namespace="alice"))
