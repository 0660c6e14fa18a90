"""Processes that answer beside a rehearsal end when it does."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.sandbox.before_and_after import BeforeAndAfter, Condition
from orchestrator.sandbox.demo_evaluation import Children


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


def test_the_end_of_a_process_and_its_last_words_are_told() -> None:
    code = "import sys; sys.stderr.write('why'); sys.exit(3)"
    assert Children().run([sys.executable, "-c", code], _environment()) == (3, "why")


def test_what_runs_is_ended_and_nothing_more_begins(tmp_path: Path) -> None:
    children, pipe = Children(), tmp_path / "begun"
    os.mkfifo(pipe)
    waits = f"open({str(pipe)!r}, 'w').close(); import threading; threading.Event().wait()"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(children.run, [sys.executable, "-c", waits], _environment())
        pipe.open().close()  # returns when the process is there
        children.end()
        code, _ = running.result()
    assert code < 0
    assert children.run([sys.executable, "-c", "pass"], _environment())[0] == 1


def test_the_change_is_that_of_the_same_rows() -> None:
    from orchestrator.calls import ToolCall
    from orchestrator.evaluation.routing import score

    expected = [ToolCall("a", {}), ToolCall("b", {}), ToolCall("b", {"n": 1})]
    right = ['{"agent": "a", "arguments": {}}', '{"agent": "b", "arguments": {}}', "no"]
    wrong = ["no", "no", '{"agent": "b", "arguments": {"n": 1}}']
    before, after = (Condition("x", score(expected, answers)) for answers in (wrong, right))
    result = BeforeAndAfter("small", before, before, before, after)
    assert (result.change.gained, result.change.lost) == (2, 1)
    assert result.to_json()["conditions"]["x"]["exact"]["right"] == 2
    shown = "\n".join(result.lines())
    assert "3 held-out rows, small" in shown
    assert "exact calls gained 2, lost 1" in shown
