"""Filters of job lists, as the released client sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import google.api_core.exceptions as api
import pytest
from google.cloud.aiplatform_v1beta1.types import TuningJob

from orchestrator.sandbox.vertex.conduct import VertexConduct
from orchestrator.sandbox.vertex.filters import job_test
from tests.sandbox.vertex.stage import Stage
from tests.services.vertex_bench import PARENT, create, job


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a face with the jobs a, b and c, created one hour apart; b is cancelled."""
    stage = Stage.at(tmp_path_factory.mktemp("filters"))
    labels: dict[str, dict[str, str]] = {
        "a": {"team": "router", "run": "1"},
        "b": {"team": "math", "run": "2", "größe_1-x": "xl"},
        "c": {"team": "router"},
    }
    with stage.serving(VertexConduct(queued_s=1e9)) as (_, connected):
        names = {}
        for name, given in labels.items():
            message = job(tuned_model_display_name=f"{name}-llama", labels=given)
            names[name] = create(connected, message).name
            stage.clock.advance(3600)
        connected.cancel_tuning_job(name=names["b"])
        yield connected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "abc"),
        ("   ", "abc"),
        ('labels.team="router"', "ac"),
        ("labels.team=router", "ac"),
        ("labels.team = 'math'", "b"),
        ("labels.team:math", "b"),
        ("labels.run:*", "ab"),
        ("labels:run", "ab"),
        ('labels."größe_1-x"="xl"', "b"),
        ("labels.größe_1-x=xl", "b"),
        ('labels.team="r"', ""),
        ('labels.team="router" AND labels.run="1"', "a"),
        ('labels.team="router" labels.run="1"', "a"),
        ("labels.run=1 OR labels.run=2", "ab"),
        # OR binds tighter than AND.
        ("labels.team=router AND labels.run=1 OR labels.run=2", "a"),
        ("labels.run=2 OR labels.run=1 AND labels.team=router", "a"),
        ("(labels.team=router AND labels.run=1) OR labels.run=2", "ab"),
        ("NOT labels.team=router", "b"),
        ("NOT labels.run:*", "c"),
        ("NOT (labels.run=1 OR labels.run=2)", "c"),
        ("((labels.run=1))", "a"),
        ('state="JOB_STATE_CANCELLED"', "b"),
        ("state=JOB_STATE_QUEUED", "ac"),
        ('state!="JOB_STATE_CANCELLED" AND labels.run:*', "a"),
        ('create_time<"2026-01-02T04:00:00Z"', "a"),
        ('create_time>="2026-01-02T04:04:05Z"', "bc"),
        ('createTime="2026-01-02T04:04:05+00:00"', "b"),
        ('tuned_model_display_name="c-llama"', "c"),
        ('tuned_model_display_name!="c-llama"', "ab"),
        ('tunedModelDisplayName:"?-llama"', ""),
        ('tuned_model_display_name:"*-llama"', "abc"),
        ('tuned_model_display_name:"b*"', "b"),
        # What looks like a filter inside a value is only a value.
        ('labels.team="a\\" OR labels.run:*"', ""),
        ('labels.team="router OR labels.run=2"', ""),
    ],
)
def test_a_filter_shows_the_jobs_that_it_describes(client: Any, text: str, shown: str) -> None:
    request = {"parent": PARENT, "filter": text}
    found = [one.tuned_model_display_name[0] for one in client.list_tuning_jobs(request=request)]
    assert "".join(sorted(found)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "labels",
        "labels.run",
        "labels.run=",
        "labels.run!=1",
        "labels.run<2",
        "labels.=1",
        "labels.run=:",
        "run=1",
        "state=RUNNING",
        "state<JOB_STATE_RUNNING",
        'create_time>"yesterday"',
        'create_time>"2026-01-02T04:00:00"',
        'create_time:"2026-01-02T04:00:00Z"',
        "tuned_model_display_name<a",
        "labels.run=1 AND",
        "AND labels.run=1",
        "labels.run=1 OR",
        "NOT",
        "(labels.run=1",
        "labels.run=1)",
        "()",
        'labels.run="1',
        "error.code=1",
        "(" * 60 + "labels.run=1" + ")" * 60,
    ],
)
def test_a_filter_that_is_not_documented_is_refused(client: Any, text: str) -> None:
    with pytest.raises(api.InvalidArgument) as raised:
        client.list_tuning_jobs(request={"parent": PARENT, "filter": text})
    (violation,) = (
        one for detail in raised.value.details for one in getattr(detail, "field_violations", ())
    )
    assert violation.field == "filter"


def test_a_long_filter_is_read_without_deep_recursion() -> None:
    text = " OR ".join(f"labels.run={number}" for number in range(5000))
    found = TuningJob.pb(TuningJob(labels={"run": "4999"}))

    assert job_test(text)(found)
    assert not job_test(f"NOT ({text})")(found)


def test_pages_hold_only_what_the_filter_shows(client: Any) -> None:
    request = {"parent": PARENT, "filter": "labels.team=router", "page_size": 1}
    first = client.list_tuning_jobs(request=request)
    names = [one.tuned_model_display_name for one in first]

    assert names == ["c-llama", "a-llama"]
