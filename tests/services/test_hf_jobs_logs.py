"""The log of a job, every line once: over connections that break, hang, or begin again."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Ambiguous, NotFound, RefusalKind, Refused
from orchestrator.services.base import Handle
from orchestrator.services.hf_jobs import HfJobsService
from orchestrator.services.hf_jobs_logs import LogPlace
from tests.services.hf_jobs_bench import hf_jobs_bench
from tests.services.vertex_bench import TestClock

HANDLE = Handle("hf-jobs", "alice/1")
START = "2026-11-21T10:00:00.000Z"
KEEP_ALIVE = b": keep-alive\n\n"


def sent(*lines: tuple[str, str]) -> bytes:
    """Lines, each with its time of day, as the service streams them."""
    events = [{"data": text, "timestamp": f"2026-11-21T{at}Z"} for at, text in lines]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


ONE, TWO = ("10:00:01.000", "one"), ("10:00:02.000", "two")
THREE, FOUR = ("10:00:03.000", "three"), ("10:00:04.000", "four")
BANNER = ("10:00:00.000", "===== Job started at 2026-11-21 10:00:00 =====")


@dataclass
class Connection:
    """One answer to a request for the log; `ends` is whole, cut, or hangs."""

    body: bytes
    ends: str = "whole"
    status: int = 200
    date: str | None = None


@dataclass
class Script:
    """What a server of logs does: its connections in turn, and the job's stage before each.

    The last ones are repeated. `gone_from` is the reading of the job from which on it is gone.
    """

    connections: list[Connection] = field(default_factory=list)
    stages: list[str] = field(default_factory=lambda: ["COMPLETED"])
    gone_from: int = 1000
    streams: int = 0
    reads: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def stage(self) -> str | None:
        self.reads += 1
        if self.reads >= self.gone_from:
            return None
        return self.stages[min(self.reads, len(self.stages)) - 1]

    def connection(self) -> Connection:
        self.streams += 1
        return self.connections[min(self.streams, len(self.connections)) - 1]


class _LogServer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def do_GET(self) -> None:
        if not self.path.endswith("/logs"):
            self._tell_job()
            return
        connection = self.script.connection()
        self.send_response_only(connection.status)
        if connection.date:
            self.send_header("Date", connection.date)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if connection.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(connection.body), connection.body))
        if connection.ends == "whole":
            self.wfile.write(b"0\r\n\r\n")
            return
        if connection.ends == "hangs":
            self.wfile.flush()
            self.script.over.wait(20)
        self.close_connection = True

    def _tell_job(self) -> None:
        stage = self.script.stage()
        body = json.dumps({"id": "1", "status": {"stage": stage, "message": None}}).encode()
        self.send_response(200 if stage else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as in the base class)
        pass


@dataclass
class Desk:
    """A service and the script of the server that it reads from."""

    script: Script
    service: HfJobsService
    clock: TestClock

    def read(self, *, follow: bool = True, after: LogPlace | None = None) -> list[str]:
        return [line.text for line in self.service.log_lines(HANDLE, after=after, follow=follow)]


@pytest.fixture
def desk() -> Iterator[Desk]:
    script, clock = Script(), TestClock()
    handler = type("Handler", (_LogServer,), {"script": script})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield Desk(
                script, HfJobsService(url, "t", "alice", {}, clock, quiet_after_s=0.2), clock
            )
        finally:
            script.over.set()
            server.shutdown()
            thread.join()


def test_the_log_of_an_ended_job_is_read_once_without_the_services_own_line(desk: Desk) -> None:
    desk.script.connections = [Connection(sent(BANNER, ONE, TWO))]
    assert desk.read() == ["one", "two"]
    assert desk.script.streams == 1
    assert desk.clock.slept_s == []


def test_following_goes_on_until_the_job_has_ended_and_repeats_nothing(desk: Desk) -> None:
    desk.script.stages = ["RUNNING", "RUNNING", "COMPLETED"]
    desk.script.connections = [
        Connection(sent(ONE)),
        Connection(sent(ONE, TWO)),
        Connection(sent(ONE, TWO, THREE)),
    ]
    assert desk.read() == ["one", "two", "three"]
    assert desk.script.streams == 3


def test_what_a_job_wrote_just_before_its_end_is_read(desk: Desk) -> None:
    desk.script.stages = ["RUNNING", "COMPLETED"]
    desk.script.connections = [Connection(sent(ONE)), Connection(sent(ONE, TWO))]
    assert desk.read() == ["one", "two"]


def test_a_connection_that_breaks_is_opened_again(desk: Desk) -> None:
    desk.script.connections = [
        Connection(sent(ONE), "cut"),
        Connection(b"", "cut"),
        Connection(sent(ONE, TWO)),
    ]
    assert desk.read() == ["one", "two"]
    assert desk.clock.slept_s == [1.0, 2.0]


@pytest.mark.parametrize("ends", ["cut", "whole"])
@pytest.mark.parametrize("cut_off", [1, 2, 3, 10, 40])
def test_a_connection_that_breaks_in_the_middle_of_a_line_loses_and_repeats_nothing(
    desk: Desk, ends: str, cut_off: int
) -> None:
    whole = sent(ONE, ("10:00:02.000", "zwei: ä€"))
    desk.script.connections = [Connection(whole[:-cut_off], ends), Connection(whole)]
    assert desk.read() == ["one", "zwei: ä€"]


def test_equal_lines_of_one_instant_are_all_given_and_none_of_them_twice(desk: Desk) -> None:
    desk.script.connections = [
        Connection(sent(ONE, ONE, TWO), "cut"),
        Connection(sent(ONE, ONE, TWO, TWO, TWO)),
    ]
    assert desk.read() == ["one", "one", "two", "two", "two"]


def test_lines_of_one_instant_may_come_in_another_order_the_second_time(desk: Desk) -> None:
    other = (ONE[0], "uno")
    desk.script.connections = [
        Connection(sent(ONE, other), "cut"),
        Connection(sent(other, ONE, TWO)),
    ]
    assert desk.read() == ["one", "uno", "two"]


def test_a_job_that_ends_while_its_connection_hangs_is_noticed_at_the_next_comment(
    desk: Desk,
) -> None:
    desk.script.stages = ["RUNNING", "COMPLETED"]
    desk.script.connections = [
        Connection(sent(ONE) + KEEP_ALIVE, "hangs"),
        Connection(sent(ONE, TWO), "hangs"),
    ]
    assert desk.read() == ["one", "two"]


def test_comments_while_a_job_runs_keep_the_connection(desk: Desk) -> None:
    desk.script.stages = ["RUNNING", "RUNNING", "RUNNING", "COMPLETED"]
    body = sent(ONE) + KEEP_ALIVE + KEEP_ALIVE + sent(TWO)
    desk.script.connections = [Connection(body), Connection(sent(ONE, TWO))]
    assert desk.read() == ["one", "two"]
    assert desk.script.streams == 2


def test_without_following_what_is_there_is_read_and_nothing_waited_for(desk: Desk) -> None:
    desk.script.stages = ["RUNNING"]
    desk.script.connections = [Connection(sent(ONE, TWO), "hangs")]
    assert desk.read(follow=False) == ["one", "two"]
    assert desk.script.streams == 1
    assert desk.clock.slept_s == []


def test_without_following_a_job_that_never_stops_writing_is_left_at_the_present(
    desk: Desk,
) -> None:
    desk.script.stages = ["RUNNING"]
    date = "Sat, 21 Nov 2026 10:00:02 GMT"
    body = sent(ONE, TWO, ("10:00:09.000", "later"))
    desk.script.connections = [Connection(body, "hangs", date=date)]
    assert desk.read(follow=False) == ["one", "two"]


@pytest.mark.parametrize("follow", [True, False])
def test_a_late_clock_of_the_server_hides_nothing_of_a_job_that_has_ended(
    desk: Desk, follow: bool
) -> None:
    """A busy server sends a date that is a second old: the reason of a failure is in the last."""
    late = "Sat, 21 Nov 2026 10:00:00 GMT"
    body = sent(ONE, TWO, ("10:00:09.000", "why"))
    desk.script.connections = [Connection(body, date=late)]
    assert desk.read(follow=follow) == ["one", "two", "why"]


def test_reading_goes_on_behind_a_place_that_was_put_down(desk: Desk) -> None:
    desk.script.stages = ["RUNNING"]
    desk.script.connections = [Connection(sent(ONE, TWO, TWO))]
    lines = list(desk.service.log_lines(HANDLE))
    place = LogPlace.from_json(json.loads(json.dumps(lines[-1].place.to_json())))
    desk.script.connections = [Connection(sent(ONE, TWO, TWO, (TWO[0], "deux"), THREE))]

    assert place == LogPlace(datetime(2026, 11, 21, 10, 0, 2, tzinfo=UTC), 2)
    assert desk.read(follow=False, after=place) == ["deux", "three"]


def test_places_are_told_for_every_line_and_each_leads_to_the_next(desk: Desk) -> None:
    body = sent(ONE, TWO, (TWO[0], "deux"), TWO, FOUR)
    desk.script.connections = [Connection(body)]
    lines = list(desk.service.log_lines(HANDLE))
    for number, line in enumerate(lines, start=1):
        assert desk.read(after=line.place) == [later.text for later in lines[number:]]


def test_a_place_holds_over_a_connection_that_breaks(desk: Desk) -> None:
    place = LogPlace(datetime(2026, 11, 21, 10, 0, 2, tzinfo=UTC), 1)
    desk.script.connections = [
        Connection(sent(ONE, TWO, TWO), "cut"),
        Connection(sent(ONE, TWO, TWO, THREE)),
    ]
    assert desk.read(after=place) == ["two", "three"]


def test_a_log_that_breaks_off_again_and_again_is_given_up(desk: Desk) -> None:
    desk.script.connections = [Connection(sent(ONE), "cut")]
    given: list[str] = []
    with pytest.raises(Ambiguous, match="read the log of 1"):
        given.extend(line.text for line in desk.service.log_lines(HANDLE, follow=True))
    assert desk.script.streams == 6
    assert sum(desk.clock.slept_s) < 60


def test_failures_count_anew_after_every_new_line(desk: Desk) -> None:
    desk.script.connections = [
        *[
            Connection(
                sent(*[(f"10:00:{number:02}.000", str(number)) for number in range(1, n)]), "cut"
            )
            for n in range(2, 14)
        ],
        Connection(sent(*[(f"10:00:{number:02}.000", str(number)) for number in range(1, 14)])),
    ]
    assert desk.read() == [str(number) for number in range(1, 14)]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_service_that_is_busy_for_a_while_is_asked_again(desk: Desk, status: int) -> None:
    desk.script.connections = [Connection(b"", status=status), Connection(sent(ONE))]
    assert desk.read() == ["one"]


def test_a_refusal_is_not_asked_again(desk: Desk) -> None:
    desk.script.connections = [Connection(b"", status=403)]
    with pytest.raises(Refused) as raised:
        desk.read()
    assert raised.value.kind is RefusalKind.PERMISSION
    assert desk.script.streams == 1


def test_a_job_that_never_was_is_not_found_and_one_that_is_deleted_later_ends_its_log(
    desk: Desk,
) -> None:
    desk.script.stages = ["RUNNING"]
    desk.script.connections = [Connection(sent(ONE))]
    desk.script.gone_from = 2
    assert desk.read() == ["one"]
    with pytest.raises(NotFound):
        desk.read()


@pytest.mark.parametrize(
    "damage", [b"data: {\n\n", b"data: []\n\n", b'data: {"data": 1}\n\n', b"x\n"]
)
def test_what_is_no_line_of_a_log_is_passed_over(desk: Desk, damage: bytes) -> None:
    desk.script.connections = [Connection(sent(ONE) + damage + sent(TWO))]
    assert desk.read() == ["one", "two"]


def test_a_line_without_a_time_belongs_to_the_one_before_it(desk: Desk) -> None:
    body = sent(ONE) + b'data: {"data": "more\\n"}\n\n' + sent(TWO)
    desk.script.connections = [Connection(body)]
    lines = list(desk.service.log_lines(HANDLE))
    assert [line.text for line in lines] == ["one", "more", "two"]
    assert lines[0].timestamp == lines[1].timestamp < lines[2].timestamp


def test_a_job_that_never_wrote_anything_has_an_empty_log_even_if_its_stream_hangs(
    desk: Desk,
) -> None:
    desk.script.stages = ["CANCELED"]
    desk.script.connections = [Connection(b"", "hangs")]
    assert desk.read() == []
    assert desk.script.streams == 2


def test_the_log_of_a_running_job_of_the_sandbox_is_followed_to_its_end(tmp_path: Path) -> None:
    with hf_jobs_bench(tmp_path, keep_alive_s=0.1) as bench:
        handle = bench.service.launch(bench.request(), "token-1", may_send=lambda: 20.0)
        bench.wait_until_running(handle)
        given: list[str] = []
        for line in bench.service.log_lines(handle, follow=True):
            given.append(line.text)
            if line.text == "step 1":
                bench.gate.touch()
        assert given == ["step 1", "step 2"]
        assert [line.text for line in bench.service.log_lines(handle)] == given
