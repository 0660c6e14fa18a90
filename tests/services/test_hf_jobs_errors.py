"""Every error around a job becomes one of ours, and only a plain no of the Hub is a refusal."""

from __future__ import annotations

import http.server
import inspect
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors

from orchestrator.errors import Ambiguous, InputError, NotFound, RefusalKind, Refused
from orchestrator.hub_client import ended_within, prepare_client
from orchestrator.services.base import Handle
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.services.hf_jobs_errors import launch_error, launch_errors, read_errors
from tests.services.hf_jobs_bench import request
from tests.services.vertex_bench import TestClock

#: What each status means when it answers a create; all others are ambiguous.
REFUSALS = {
    400: RefusalKind.INVALID,
    401: RefusalKind.CREDENTIALS,
    402: RefusalKind.PERMISSION,
    403: RefusalKind.PERMISSION,
    404: RefusalKind.NOT_FOUND,
    410: RefusalKind.NOT_FOUND,
    413: RefusalKind.INVALID,
    422: RefusalKind.INVALID,
    429: RefusalKind.QUOTA,
}
AMBIGUOUS = (408, 409, 412, 500, 501, 502, 503, 504, 520)
#: Errors of the client that it raises before it has sent anything.
UNSENT = {"LocalTokenNotFoundError": Refused, "OfflineModeIsEnabled": InputError}


def made(kind: type[Exception], status: int) -> Exception:
    if issubclass(kind, errors.HfHubHTTPError):
        asked = httpx2.Request("POST", "https://huggingface.co/api/jobs/alice")
        return kind("what happened", response=httpx2.Response(status, request=asked))
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened")
    return error


@pytest.mark.parametrize("status", [*REFUSALS, *AMBIGUOUS])
def test_a_create_is_refused_only_by_statuses_that_say_so(status: int) -> None:
    ours = launch_error(made(errors.HfHubHTTPError, status), "run a job")
    if status in REFUSALS:
        assert isinstance(ours, Refused)
        assert ours.kind is REFUSALS[status]
        assert "cannot run a job: what happened" in ours.message
    else:
        assert isinstance(ours, Ambiguous)
        assert "run a job" in ours.message


def test_every_exception_of_the_client_is_ambiguous_around_a_create_unless_the_hub_answered() -> (
    None
):
    tried = 0
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if not issubclass(kind, Exception) or issubclass(kind, errors.HfHubHTTPError):
            continue
        assert type(launch_error(made(kind, 0), "run a job")) is UNSENT.get(name, Ambiguous), name
        tried += 1
    assert tried > 30


def test_every_answer_class_of_the_client_is_judged_by_its_status() -> None:
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.HfHubHTTPError)
    ]
    assert len(classes) > 8
    for kind in classes:
        assert isinstance(launch_error(made(kind, 400), "run a job"), Refused), kind
        gone = issubclass(kind, errors.RepositoryNotFoundError | errors.DisabledRepoError)
        if kind.__name__ in {"HfHubHTTPError", "BadRequestError"} and not gone:
            assert isinstance(launch_error(made(kind, 503), "run a job"), Ambiguous), kind


def test_every_exception_of_the_connection_is_ambiguous_or_a_wrong_address() -> None:
    wrong = {httpx2.InvalidURL, httpx2.UnsupportedProtocol}
    tried = 0
    for _, kind in inspect.getmembers(httpx2, inspect.isclass):
        if issubclass(kind, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError):
            expected = InputError if kind in wrong else Ambiguous
            assert type(launch_error(made(kind, 0), "run a job")) is expected, kind
            tried += 1
    assert tried > 15


def test_even_a_bug_around_a_create_is_ambiguous_and_around_a_read_it_stays_a_bug() -> None:
    for error in (TypeError("x"), ValueError("x"), KeyError("x"), InputError("x")):
        with pytest.raises(Ambiguous), launch_errors("run a job"):
            raise error
    with pytest.raises(TypeError), read_errors("read"):
        raise TypeError("x")


def test_an_error_shows_no_token_of_an_address() -> None:
    error = httpx2.ConnectError("no route to http://me:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(launch_error(error, "run a job at http://me:s3cret@127.0.0.1:9"))


class _Canned(http.server.BaseHTTPRequestHandler):
    """Answers what a test has put down, and remembers what was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[str]

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(f"{self.command} {self.path}")
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value.replace("{url}", f"http://{self.headers['Host']}"))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 (as the base class calls them)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as in the base class)
        pass


@contextmanager
def canned(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server with these answers, and the list of what it was asked. `{url}` is its address."""
    asked: list[str] = []
    handler = type("Handler", (_Canned,), {"answers": list(answers), "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def service_at(url: str, clock: TestClock | None = None) -> HfJobsService:
    return HfJobsService(url, "hf_x", "alice", {"HF_TOKEN": "hf_x"}, clock or TestClock())


OWNER = b'"status": {"stage": "RUNNING"}, "owner": {"id": "1", "name": "a", "type": "user"}}'


@pytest.mark.parametrize(
    "body",
    [
        b"<html>proxy</html>",
        b"[]",
        b"{}",
        b'{"id": "1"}',
        b'{"id": "", ' + OWNER,
        b'{"id": "../x", ' + OWNER,
        b'{"id": "1", "createdAt": "soon", ' + OWNER,
    ],
)
def test_a_create_whose_answer_cannot_be_read_is_ambiguous(body: bytes) -> None:
    with canned((200, {}, body)) as (url, asked):
        with pytest.raises(Ambiguous):
            service_at(url).launch(request(), "token-1", may_send=lambda: 20.0)
        assert asked == ["POST /api/jobs/alice"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_create_is_never_sent_a_second_time(status: int) -> None:
    clock = TestClock()
    with canned((status, {"Retry-After": "7"}, b"no")) as (url, asked):
        with pytest.raises((Ambiguous, Refused)) as raised:
            service_at(url, clock).launch(request(), "token-1", may_send=lambda: 20.0)
        assert len(asked) == 1
    assert clock.slept_s == []
    if status == 429:
        assert isinstance(raised.value, Refused)
        assert (raised.value.kind, raised.value.retry_after_s) == (RefusalKind.QUOTA, 7.0)


def test_a_list_is_tried_five_times_in_all_and_waits_as_long_as_it_is_told() -> None:
    clock = TestClock()
    with canned(*[(429, {"Retry-After": "9"}, b"slow")] * 9) as (url, asked):
        with pytest.raises(Ambiguous, match="list the jobs of alice"):
            service_at(url, clock).find("token-1")
        assert len(asked) == 5
    assert clock.slept_s == [9.0] * 4


def test_a_read_that_is_refused_is_not_repeated() -> None:
    with canned((403, {}, b"no")) as (url, asked):
        with pytest.raises(Refused) as raised:
            service_at(url).find("token-1")
        assert len(asked) == 1
    assert raised.value.kind is RefusalKind.PERMISSION


@pytest.mark.parametrize("body", [b"{}", b"<html>", b'[{"id": "1"}]'])
def test_a_list_that_cannot_be_read_is_ambiguous(body: bytes) -> None:
    with canned(*[(200, {}, body)] * 5) as (url, _), pytest.raises(Ambiguous):
        service_at(url).find("token-1")


def test_the_token_is_sent_to_no_other_host() -> None:
    with canned((200, {}, b"[]")) as (elsewhere, asked_elsewhere):
        link = {"Link": f'<{elsewhere}/api/jobs/alice?cursor=2>; rel="next"'}
        with canned((200, link, b"[]")) as (url, _), pytest.raises(Ambiguous, match="goes on"):
            service_at(url).find("token-1")
        assert asked_elsewhere == []


def test_a_list_that_leads_back_to_itself_ends() -> None:
    link = {"Link": '<{url}/api/jobs/alice?cursor=2>; rel="next"'}
    with canned(*[(200, link, b"[]")] * 5) as (url, asked):
        with pytest.raises(Ambiguous, match="goes on where it cannot"):
            service_at(url).find("token-1")
        assert len(asked) == 2


def test_a_job_that_is_gone_has_no_log() -> None:
    with canned((404, {}, b"{}")) as (url, _), pytest.raises(NotFound):
        list(service_at(url).log_lines(Handle("hf-jobs", "alice/1")))


def test_requests_in_the_context_get_shares_of_the_time_that_is_left() -> None:
    limits: list[dict[str, float]] = []
    prepare_client(60.0)
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    session.event_hooks = {
        **hooks,
        "request": [*hooks["request"], lambda r: limits.append(r.extensions["timeout"])],
    }
    with canned(*[(200, {}, b"{}")] * 2) as (url, _):
        with ended_within(8.0):
            session.get(url, timeout=99.0)
        session.get(url, timeout=99.0)
    within, after = limits
    assert sum(within.values()) == pytest.approx(8.0, abs=0.5)
    assert set(after.values()) == {99.0}
    assert json.dumps(within)
