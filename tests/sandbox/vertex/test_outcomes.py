"""How jobs end by rule, where their files are left, and what they would have cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google.api_core.exceptions as api
import pytest
from google.cloud.aiplatform_v1beta1.types import JobState, TuningJob

from orchestrator.safetensors_file import non_finite, read_header
from orchestrator.sandbox.edge.book import FaultBook
from orchestrator.sandbox.edge.rules import FaultPlan, JobRule, Outcome
from orchestrator.sandbox.standins.layout import Layout
from orchestrator.sandbox.standins.replay import ReplayStandIn
from orchestrator.sandbox.vertex.bill import BillLine
from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.face import VertexFace
from tests.sandbox.vertex.stage import Stage
from tests.services.vertex_bench import (
    BUCKET,
    CHECKPOINT,
    GEMINI,
    LLAMA,
    LOG,
    TRAIN,
    create,
    job,
)

CHECKPOINTS = "postprocess/node-0/checkpoints"
#: 20 rows of 19 characters, twice.
TOKENS = 280


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage.at(tmp_path)


def book(*rules: JobRule) -> FaultBook:
    return FaultBook(FaultPlan(jobs=rules))


def trained(stage: Stage, rules: FaultBook, **fields: Any) -> TuningJob:
    """A job that the replaying stand-in has trained, under rules."""
    with stage.serving(stand_in=ReplayStandIn(), book=rules) as (face, client):
        return face.wait_until_ended(create(client, job(**fields)).name)


def files(stage: Stage) -> dict[str, Path]:
    """What the job left, by its path below the output."""
    found = stage.disk.list(BUCKET, "runs/1/")
    return {one.name.removeprefix("runs/1/"): one.path for one in found}


# Outcomes


@pytest.mark.parametrize(
    ("outcome", "state", "error"),
    [
        (Outcome.FAILED, JobState.JOB_STATE_FAILED, (13, "no more machines")),
        (Outcome.EXPIRED, JobState.JOB_STATE_EXPIRED, (0, "")),
    ],
)
def test_a_job_that_does_not_succeed_leaves_nothing_but_its_log(
    stage: Stage, outcome: Outcome, state: JobState, error: tuple[int, str]
) -> None:
    rules = book(JobRule(outcome=outcome, message="no more machines"))
    ended = trained(stage, rules)

    assert ended.state is state
    assert (ended.error.code, ended.error.message) == error
    assert set(files(stage)) == {LOG}
    assert not ended.tuned_model.model
    assert [(one.operation, one.target, one.fault) for one in rules.injected] == [
        ("job", ended.name, str(outcome))
    ]


def test_a_partial_success_has_checkpoints_but_no_final_model(stage: Stage) -> None:
    ended = trained(stage, book(JobRule(outcome=Outcome.PARTIAL)))
    left = {name.split("/")[3] for name in files(stage) if name.startswith(CHECKPOINTS)}

    assert ended.state is JobState.JOB_STATE_PARTIALLY_SUCCEEDED
    assert left == {"checkpoint-5", "checkpoint-10"}
    assert LOG in files(stage)


def test_not_a_number_is_among_the_weights_of_a_file_that_is_whole(stage: Stage) -> None:
    ended = trained(stage, book(JobRule(outcome=Outcome.NAN_WEIGHTS)))
    adapter = files(stage)[CHECKPOINT]
    broken = [
        name for name, tensor in read_header(adapter).tensors.items() if non_finite(adapter, tensor)
    ]

    assert ended.state is JobState.JOB_STATE_SUCCEEDED
    assert len(broken) == 1


def test_files_that_match_are_missing_and_all_others_are_there(stage: Stage) -> None:
    rule = JobRule(outcome=Outcome.MISSING_FILES, files=("*/final/adapter_config.json",))
    rules = book(rule)
    ended = trained(stage, rules)
    names = set(files(stage))

    assert ended.state is JobState.JOB_STATE_SUCCEEDED
    assert f"{CHECKPOINTS}/final/adapter_config.json" not in names
    assert f"{CHECKPOINTS}/checkpoint-10/adapter_config.json" in names
    assert CHECKPOINT in names
    assert [one.fault for one in rules.injected] == [
        f"missing-files: {CHECKPOINTS}/final/adapter_config.json"
    ]


def test_files_that_match_lack_their_last_bytes(stage: Stage) -> None:
    trained(stage, book(JobRule(outcome=Outcome.CUT_FILES, files=("*/final/*.safetensors",))))
    whole = files(stage)[f"{CHECKPOINTS}/checkpoint-10/adapter_model.safetensors"].read_bytes()
    cut = files(stage)[CHECKPOINT].read_bytes()

    assert len(whole) - 64 == len(cut)


def test_a_rule_whose_files_do_not_exist_says_so_in_the_record(stage: Stage) -> None:
    rules = book(JobRule(outcome=Outcome.CUT_FILES, files=("*.gguf",)))
    ended = trained(stage, rules)

    assert ended.state is JobState.JOB_STATE_SUCCEEDED
    assert [one.fault for one in rules.injected] == ["cut-files: no file matches *.gguf"]


def test_a_stuck_job_runs_until_it_is_cancelled(stage: Stage) -> None:
    rules = book(JobRule(outcome=Outcome.STUCK))
    stage.stand_in.gate.set()
    with stage.serving(VertexConduct(running_s=60), book=rules) as (face, client):
        name = create(client).name
        face.wait_until_running(name)
        stage.clock.advance(1000 * 3600)
        # Once the log is there in full, the training itself is over.
        stage.disk.log(least_lines=1)
        still = client.get_tuning_job(name=name).state
        client.cancel_tuning_job(name=name)
        ended = face.wait_until_ended(name)

    assert still is JobState.JOB_STATE_RUNNING
    assert ended.state is JobState.JOB_STATE_CANCELLED
    assert [one.fault for one in rules.injected] == ["stuck"]


def test_rules_are_chosen_by_display_name_and_labels_in_the_order_of_creation(
    stage: Stage,
) -> None:
    rules = book(
        JobRule(outcome=Outcome.FAILED, target="^router "),
        JobRule(outcome=Outcome.EXPIRED, target="team=math", nth=2),
    )
    conduct = VertexConduct(running_quota=5)
    with stage.serving(conduct, stand_in=ReplayStandIn(), book=rules) as (face, client):
        made = [
            create(client, job(tuned_model_display_name=name, labels={"team": team}))
            for name, team in [
                ("router", "code"),
                ("router", "math"),
                ("solver", "math"),
                ("solver", "math"),
            ]
        ]
        states = [face.wait_until_ended(one.name).state.name for one in made]

    assert states == [
        "JOB_STATE_FAILED",
        "JOB_STATE_SUCCEEDED",
        "JOB_STATE_EXPIRED",
        "JOB_STATE_SUCCEEDED",
    ]


def test_a_refused_job_uses_no_rule_up(stage: Stage) -> None:
    rules = book(JobRule(outcome=Outcome.FAILED))
    conduct = VertexConduct(quota_mode="refuse")
    with stage.serving(conduct, book=rules) as (face, client):
        with pytest.raises(api.InvalidArgument):
            create(client, job(output_uri=None))
        first = create(client).name
        with pytest.raises(api.ResourceExhausted):
            create(client)
        stage.stand_in.gate.set()
        ended = face.wait_until_ended(first)

    assert ended.state is JobState.JOB_STATE_FAILED
    assert rules.job("another one") is None


def test_the_outcome_that_was_chosen_survives_a_restart(stage: Stage) -> None:
    with stage.serving(book=book(JobRule(outcome=Outcome.FAILED, message="bad luck"))) as (
        face,
        client,
    ):
        name = create(client).name
        face.wait_until_running(name)
    stage.stand_in.gate.set()
    with stage.serving(book=book()) as (face, _):
        ended = face.wait_until_ended(name)

    assert ended.error.message == "bad luck"


# Layouts


@pytest.mark.parametrize(
    ("layout", "adapter", "state"),
    [
        (Layout.FINAL, "final", "final"),
        (Layout.CHECKPOINT_FINAL, "final/checkpoint-final", "final/checkpoint-final"),
        (Layout.ADAPTER, "final/adapter", "final"),
        (Layout.FINAL_OUTPUT, "final_output", "final_output"),
    ],
)
def test_the_final_adapter_is_left_where_the_conduct_says(
    stage: Stage, layout: Layout, adapter: str, state: str
) -> None:
    conduct = VertexConduct(layout=layout)
    with stage.serving(conduct, stand_in=ReplayStandIn()) as (face, client):
        face.wait_until_ended(create(client).name)
    names = {name.removeprefix(f"{CHECKPOINTS}/") for name in files(stage)}

    assert f"{adapter}/adapter_model.safetensors" in names
    assert f"{state}/trainer_state.json" in names
    finals = {name for name in names if name.endswith("/adapter_config.json")}
    assert finals == {
        f"{folder}/adapter_config.json" for folder in (adapter, "checkpoint-5", "checkpoint-10")
    }


# The bill


def bill_of(face: VertexFace) -> BillLine:
    (line,) = face.bill()
    return line


def test_a_job_costs_the_tokens_of_its_rows_in_all_epochs(stage: Stage) -> None:
    with stage.serving(stand_in=ReplayStandIn()) as (face, client):
        name = create(client).name
        ended = face.wait_until_ended(name)
        line = bill_of(face)
    with stage.serving() as (face, _):
        again = bill_of(face)
    stats = TuningJob.pb(ended).tuning_data_stats.supervised_tuning_data_stats

    assert line.job_name == name
    assert (line.base_model, line.state) == (LLAMA, "JOB_STATE_SUCCEEDED")
    assert line.billable_tokens == stats.total_billable_token_count == TOKENS
    assert line.usd_per_million_tokens == 0.67
    assert line.cost_usd == pytest.approx(TOKENS * 0.67 / 1e6)
    assert again == line


def test_a_job_that_ends_without_a_model_costs_nothing_and_the_bill_says_so(stage: Stage) -> None:
    rules = book(JobRule(outcome=Outcome.FAILED))
    with stage.serving(stand_in=ReplayStandIn(), book=rules) as (face, client):
        face.wait_until_ended(create(client).name)
        line = bill_of(face)

    assert (line.billable_tokens, line.cost_usd) == (0, 0.0)
    assert "assumed" in line.note


def test_a_job_cancelled_while_it_trains_costs_all_and_one_that_never_trained_nothing(
    stage: Stage,
) -> None:
    with stage.serving() as (face, client):
        trains, waits = create(client).name, create(client).name
        stage.disk.log(least_lines=1)
        not_ended = face.bill()[-1]
        for name in (waits, trains):
            client.cancel_tuning_job(name=name)
            face.wait_until_ended(name)
        lines = {line.job_name: line for line in face.bill()}

    assert (not_ended.cost_usd, not_ended.note) == (0.0, "not ended yet")
    assert lines[trains].billable_tokens == TOKENS
    assert "assumed" in lines[trains].note
    assert lines[waits].cost_usd == 0.0


def test_without_a_price_there_is_no_cost(stage: Stage) -> None:
    gemini = job(
        base_model=GEMINI,
        output_uri=None,
        spec={"training_dataset_uri": TRAIN},
        hyper_parameters={"learning_rate": None},
    )
    with stage.serving(stand_in=ReplayStandIn()) as (face, client):
        face.wait_until_ended(create(client, gemini).name)
        line = bill_of(face)

    assert line.billable_tokens > 0
    assert line.cost_usd is None
    assert files(stage) == {}


# Weights of one's own


def test_weights_of_ones_own_are_accepted_where_they_are_and_named_among_the_differences(
    stage: Stage,
) -> None:
    weights = f"gs://{BUCKET}/runs/1/{CHECKPOINTS}/final"
    with stage.serving(stand_in=ReplayStandIn()) as (face, client):
        face.wait_until_ended(create(client).name)
        name = create(client, job(custom_base_model=weights, output_uri=f"gs://{BUCKET}/2")).name
        face.wait_until_ended(name)
        told = face.differences(name)

    assert f"the weights at {weights} were not read" in told
