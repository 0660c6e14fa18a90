"""What every service promises, whatever it talks to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Ambiguous, InputError, LedgerError, NotFound, RefusalKind, Refused
from orchestrator.services.base import AttemptKind, AttemptState, Handle
from tests.services.contract import BENCHES, Bench

TIMEOUT_S = 20.0
TOKEN = "token-1"
#: A page for people; a sandbox's own is on this machine.
PAGE = re.compile(r"https://|http://127\.0\.0\.1:")


@pytest.fixture(params=sorted(BENCHES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with BENCHES[request.param](tmp_path) as opened:
        yield opened


def launch(bench: Bench, token: str = TOKEN, run_id: str = "run-1") -> Handle:
    return bench.service.launch(bench.request(run_id=run_id), token, may_send=lambda: TIMEOUT_S)


def state_of(bench: Bench, handle: Handle) -> AttemptState:
    return bench.service.inspect([handle])[handle].state


def test_launch_returns_before_the_training_and_inspect_follows_it_to_its_end(
    bench: Bench,
) -> None:
    handle = launch(bench)
    bench.wait_until_running(handle)
    running = bench.service.inspect([handle])[handle]
    bench.let_train(handle)
    ended = bench.service.inspect([handle])[handle]

    assert running.state is AttemptState.RUNNING
    assert running.created_at is not None
    assert running.ended_at is None
    assert ended.state is AttemptState.SUCCEEDED
    assert ended.ended_at is not None
    assert ended.error is None
    assert json.loads(json.dumps(ended.stats)) == ended.stats


def test_a_service_names_itself_and_the_kinds_it_runs(bench: Bench) -> None:
    assert launch(bench).service == bench.service.name
    assert AttemptKind.TUNE in bench.service.kinds


def test_a_kind_that_the_service_does_not_run_is_refused_without_a_request(bench: Bench) -> None:
    for kind in set(AttemptKind) - bench.service.kinds:
        with pytest.raises(InputError, match=kind.value):
            bench.service.launch(bench.request(kind=kind), TOKEN, may_send=lambda: TIMEOUT_S)
    assert bench.launch_calls() == 0


def test_a_request_that_is_for_another_service_is_refused_without_a_request(bench: Bench) -> None:
    with pytest.raises(InputError):
        bench.service.launch(bench.foreign_request(), TOKEN, may_send=lambda: TIMEOUT_S)
    assert bench.launch_calls() == 0


def test_what_may_not_be_sent_any_more_is_not_sent(bench: Bench) -> None:
    def no() -> float:
        raise LedgerError("the lease is lost")

    with pytest.raises(LedgerError):
        bench.service.launch(bench.request(), TOKEN, may_send=no)
    assert bench.launch_calls() == 0


def test_nothing_is_found_before_anything_was_launched(bench: Bench) -> None:
    assert bench.service.find(TOKEN) is None


def test_a_job_is_found_by_its_own_token_and_by_no_other(bench: Bench) -> None:
    first = launch(bench, TOKEN, "run-1")
    second = launch(bench, "token-2", "run-1")

    assert bench.service.find(TOKEN) == first
    assert bench.service.find("token-2") == second
    assert bench.service.find("token") is None


def test_a_job_that_has_ended_is_still_found(bench: Bench) -> None:
    handle = launch(bench)
    bench.let_train(handle)
    assert bench.service.find(TOKEN) == handle


def test_many_jobs_are_inspected_with_one_list_request(bench: Bench) -> None:
    handles = [launch(bench, f"token-{number}", f"run-{number}") for number in range(5)]
    before = bench.list_calls()

    snapshots = bench.service.inspect(handles)

    assert set(snapshots) == set(handles)
    assert bench.list_calls() - before == 1
    assert bench.read_calls() == 0


def test_inspecting_nothing_sends_nothing(bench: Bench) -> None:
    assert bench.service.inspect([]) == {}
    assert bench.list_calls() == 0


def test_a_job_that_the_list_does_not_show_yet_is_inspected_all_the_same(bench: Bench) -> None:
    shown, hidden = launch(bench, TOKEN), launch(bench, "token-2")
    bench.hide_from_lists(hidden)

    assert set(bench.service.inspect([shown, hidden])) == {shown, hidden}
    assert bench.read_calls() == 1


def test_an_unknown_job_is_absent_from_what_inspect_returns(bench: Bench) -> None:
    handle = launch(bench)
    assert set(bench.service.inspect([handle, bench.unknown_handle()])) == {handle}


def test_a_state_that_nobody_knows_is_unknown_and_not_final_and_kept_as_it_came(
    bench: Bench,
) -> None:
    handle = launch(bench)
    raw_state = bench.report_unheard_of_state(handle)
    snapshot = bench.service.inspect([handle])[handle]

    assert snapshot.state is AttemptState.UNKNOWN
    assert not snapshot.state.is_final
    assert snapshot.raw_state == raw_state


def test_a_failed_training_is_a_snapshot_with_the_reason(bench: Bench) -> None:
    bench.fail_trainings("the loss is not a number")
    handle = launch(bench)
    bench.let_train(handle)
    snapshot = bench.service.inspect([handle])[handle]

    assert snapshot.state is AttemptState.FAILED
    assert snapshot.error is not None
    assert "the loss is not a number" in snapshot.error


def test_cancel_stops_a_running_job_and_may_be_repeated(bench: Bench) -> None:
    handle = launch(bench)
    bench.wait_until_running(handle)
    bench.service.cancel(handle)
    bench.service.cancel(handle)
    bench.wait_until_ended(handle)
    bench.service.cancel(handle)

    assert state_of(bench, handle) is AttemptState.CANCELLED


def test_cancelling_a_job_that_has_succeeded_is_silent_and_changes_nothing(bench: Bench) -> None:
    handle = launch(bench)
    bench.let_train(handle)
    bench.service.cancel(handle)
    assert state_of(bench, handle) is AttemptState.SUCCEEDED


def test_cancelling_a_job_that_is_gone_is_silent(bench: Bench) -> None:
    bench.service.cancel(bench.unknown_handle())


def test_a_handle_survives_json_and_still_names_the_job(bench: Bench) -> None:
    handle = launch(bench)
    again = Handle.from_json(json.loads(json.dumps(handle.to_json())))

    assert again == handle
    assert set(bench.service.inspect([again])) == {handle}


def test_a_refused_launch_is_unambiguous_and_leaves_no_job(bench: Bench) -> None:
    with pytest.raises(Refused) as refusal:
        bench.service.launch(bench.refused_request(), TOKEN, may_send=lambda: TIMEOUT_S)

    assert refusal.value.kind is RefusalKind.INVALID
    assert bench.job_count() == 0
    assert bench.service.find(TOKEN) is None


def test_a_launch_whose_answer_is_lost_is_ambiguous_and_find_adopts_the_only_job(
    bench: Bench,
) -> None:
    bench.lose_next_launch(after_effect=True)
    with pytest.raises(Ambiguous):
        launch(bench)
    found = bench.service.find(TOKEN)

    assert found is not None
    assert set(bench.service.inspect([found])) == {found}
    assert bench.job_count() == 1
    assert bench.launch_calls() == 1


def test_a_launch_that_never_arrived_is_ambiguous_too_and_is_not_repeated(bench: Bench) -> None:
    bench.lose_next_launch(after_effect=False)
    with pytest.raises(Ambiguous):
        launch(bench)

    assert bench.launch_calls() == 1
    assert bench.job_count() == 0
    assert bench.service.find(TOKEN) is None


def test_a_launch_without_an_answer_ends_at_its_deadline_and_is_ambiguous(bench: Bench) -> None:
    bench.stall_next_launch()
    with pytest.raises(Ambiguous):
        bench.service.launch(bench.request(), TOKEN, may_send=lambda: 0.5)
    assert bench.service.find(TOKEN) is not None


def test_reads_and_cancels_are_repeated_after_a_transient_error(bench: Bench) -> None:
    handle = launch(bench)
    bench.break_next_read()

    assert bench.service.find(TOKEN) == handle
    assert bench.service.outputs(handle)
    bench.service.cancel(handle)
    bench.wait_until_ended(handle)
    assert state_of(bench, handle) is AttemptState.CANCELLED


def test_outputs_and_logs_say_where_the_files_of_the_job_are(bench: Bench) -> None:
    handle = launch(bench)
    logs = bench.service.logs(handle)

    assert bench.service.outputs(handle) == bench.request().output_uri
    assert PAGE.match(logs.link)


def test_a_job_that_is_gone_has_no_outputs_but_still_a_page_for_people(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.service.outputs(bench.unknown_handle())
    logs = bench.service.logs(bench.unknown_handle())
    assert logs.uri is None
    assert PAGE.match(logs.link)
