"""Runs one program in the jail and says what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.jail.conversation import Conversation
from orchestrator.jail.limits import Limits
from orchestrator.jail.session import Session
from orchestrator.jail.verdicts import JailUnavailable, Outcome, Verdict

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Jail:
    """What runs programs; `available.jail()` finds one and tries it."""

    bwrap: str
    python: Path
    clock: Clock = SYSTEM_CLOCK

    def run(
        self, program: str, tests: str = "", *, stdin: bytes = b"", limits: Limits | None = None
    ) -> Outcome:
        """Run a program of Python, and then its tests in the same module.

        Without tests the program is run as a script (`__name__` is `__main__`), and has passed when
        its last line was reached. Raises `JailUnavailable` where the jail could not be closed, in
        which case nothing was run. When it returns, nothing of the program runs any more.
        """
        bounds = limits or Limits()
        talk = Conversation(program, tests, asdict(bounds))
        with Session(self.bwrap, self.python, bounds, talk, stdin) as session:
            seconds = self._until_decided(session, talk, bounds)
            session.end()
            verdict = talk.verdict or Verdict.KILLED
            if session.output_bytes > bounds.output_bytes:
                verdict = Verdict.OUTPUT
            return Outcome(
                verdict,
                talk.compiled,
                talk.exception if verdict is Verdict.RAISED else "",
                session.stdout,
                seconds,
                session.memory_bytes,
            )

    def _until_decided(self, session: Session, talk: Conversation, limits: Limits) -> float:
        """Let the program run until its verdict is known; seconds that it took."""
        began = looked = self.clock.elapsed_s()
        while talk.verdict is None:
            waiting = not talk.begun
            session.turn()
            now = self.clock.elapsed_s()
            if waiting:
                # The program's time begins when its jail is closed, however busy the machine.
                if not talk.begun and (session.code is not None or now - began > _START_TIMEOUT_S):
                    raise _not_closed(session.stderr)
                began = now if talk.begun else began
            elif session.code is not None:
                session.end()
                talk.ended(session.code)
            elif now - began > limits.wall_s:
                talk.verdict = Verdict.TIMEOUT
            elif session.output_bytes > limits.output_bytes:
                talk.verdict = Verdict.OUTPUT
            elif now - looked >= session.LOOK_S:
                looked = now
                if session.look() > limits.memory_bytes:
                    talk.verdict = Verdict.MEMORY
        return max(0.0, self.clock.elapsed_s() - began)


def _not_closed(stderr: bytes) -> JailUnavailable:
    said = stderr.decode("utf-8", "replace").strip().splitlines()
    reason = said[0][:300] if said else "it said nothing"
    return JailUnavailable(
        f"the jail could not be closed, so nothing was run: {reason}",
        hint="bubblewrap needs user namespaces. Containers often forbid them, and Ubuntu since"
        " 24.04 (kernel.apparmor_restrict_unprivileged_userns).",
    )
