"""What was trained elsewhere becomes a run: checked, judged and published like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.cli.session import next_command
from orchestrator.errors import InputError
from orchestrator.report.costs import run_cost
from orchestrator.state import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.slow_training import train_until_released
from tests.pipeline.test_evaluating import ended, finish, router, serving, submit, support
from tests.plans import router_plan

UNJUDGED = "gates: none\n"


def trained_elsewhere(bench: Bench) -> tuple[str, Path]:
    """The name of a job that has succeeded, and a folder with its checked adapter."""
    run = bench.submit()
    ended(bench)
    assert finish(bench, run).status.state is RunState.PUBLISHED
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is not None
    return attempt.handle.id, bench.pipeline().adapter_folder(run)


def source_of(bench: Bench, run: str) -> str:
    """Where the weights of a run that was trained here lie in the bucket."""
    collected = bench.facts(run).last("collected")
    assert collected is not None
    return str(collected.data["source"])


def test_a_folder_with_an_adapter_anywhere_below_becomes_a_published_run(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        _, adapter = trained_elsewhere(bench)
        (first,) = bench.ledger.run_ids()
        kept = tmp_path / "kept" / "deep er" / "checkpoint-9" / "adapter"
        shutil.copytree(adapter, kept)
        made = router(tmp_path)
        pipeline = bench.pipeline()
        run = pipeline.adopt(made, str(tmp_path / "kept")).id
        pipeline.advance(run)
        assert finish(bench, run).status.state is not RunState.FAILED
        facts = bench.facts(run)
        assert facts.last("evaluated") is not None
        assert len(bench.sandbox.vertex.jobs()) == 1  # that of the other run
        assert run_cost(facts).usd < 1
        for again in (tmp_path / "kept", kept.parent, kept, kept / "adapter_model.safetensors"):
            with pytest.raises(InputError, match=f"that is run {run} already"):
                pipeline.adopt(made, str(again))
        with pytest.raises(InputError, match=f"that is run {first} already"):
            pipeline.adopt(made, source_of(bench, first))
        same, is_new = pipeline.submit(made, again=False)
        assert (same.id, is_new) == (run, False)


def test_a_finished_job_of_vertex_is_adopted_by_a_ledger_that_never_saw_it(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        job, _ = trained_elsewhere(bench)
        with pytest.raises(InputError, match="already"):
            bench.pipeline().adopt(router_plan(tmp_path), job)
        bench.ledger.close()
        (tmp_path / "elsewhere").mkdir()
        other = Bench(bench.sandbox, tmp_path / "elsewhere")
        try:
            run = other.pipeline().adopt(router(other.folder, UNJUDGED), job).id
            outcome = other.pipeline().advance(run)
            assert outcome.status.state is RunState.PUBLISHED, outcome
            assert len(bench.sandbox.vertex.jobs()) == 1
        finally:
            other.ledger.close()


def test_a_finished_job_of_hugging_face_is_adopted(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        first = submit(bench, support(tmp_path))
        assert finish(bench, first).status.state is RunState.PUBLISHED
        attempt = bench.facts(first).tune
        assert attempt is not None
        assert attempt.handle is not None
        bench.ledger.close()
        (tmp_path / "elsewhere").mkdir()
        other = Bench(bench.sandbox, tmp_path / "elsewhere")
        try:
            run = other.pipeline().adopt(support(other.folder), attempt.handle.id).id
            other.pipeline().advance(run)
            assert finish(other, run).status.state is RunState.PUBLISHED
            kinds = [job.request.command[-1] for job in bench.sandbox.jobs.jobs()]
            assert len(kinds) == 3  # one training, and answers twice
            strange = f"nobody-at-all/{attempt.handle.id.partition('/')[2]}"
            with pytest.raises(InputError, match=f"knows no job {strange}"):
                other.pipeline().adopt(support(other.folder), strange)
        finally:
            other.ledger.close()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nowhere", "knows no job nowhere"),
        ("empty", "there are no weights below"),
        ("gs://sandbox-bucket/nothing", "there are no weights below"),
    ],
)
def test_what_is_not_there_is_not_adopted(
    bench: Bench, tmp_path: Path, what: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = str(tmp_path / what) if what == "empty" else what
    with pytest.raises(InputError, match=says):
        bench.pipeline().adopt(router_plan(tmp_path), given)
    assert bench.ledger.run_ids() == []


def test_a_job_that_still_runs_is_not_adopted(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = train_until_released(monkeypatch)
    run = bench.submit()
    attempt = bench.facts(run).tune
    assert attempt is not None
    assert attempt.handle is not None
    with pytest.raises(InputError, match=r"is JOB_STATE_\w+: only what has succeeded is adopted"):
        bench.pipeline().adopt(router_plan(tmp_path), attempt.handle.id)
    released.set()
    assert bench.ledger.run_ids() == [run]


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, "good") as bench:
        _, adapter = trained_elsewhere(bench)
        kept = shutil.copytree(adapter, tmp_path / "kept")
        config = kept / "adapter_config.json"
        text = config.read_text(encoding="utf-8")
        assert "Llama-3.1-8B-Instruct" in text
        config.write_text(text.replace("Llama-3.1-8B-Instruct", "Other-8B"), encoding="utf-8")
        pipeline = bench.pipeline()
        run = pipeline.adopt(router(tmp_path, UNJUDGED), str(kept)).id
        outcome = pipeline.advance(run)
        assert outcome.status.state is RunState.FAILED
        assert "adapter refused" in outcome.status.reason
        assert next_command(run, outcome.status) == f"orchestrator show {run}"  # nothing was logged
        assert len(bench.sandbox.vertex.jobs()) == 1
