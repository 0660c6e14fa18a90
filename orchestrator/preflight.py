"""The questions that are asked of the Hub before a run of hf-jobs is made, and their answers.

Nothing is written and nothing is paid. Every question is asked, so that all that is wrong is told
at once; only when the Hub cannot be reached are the rest left unasked.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from orchestrator.errors import Ambiguous, InputError, NotFound, OrchestratorError, Refused
from orchestrator.hardware.catalog import JobsCatalog

T = TypeVar("T")
Kind = Literal["model", "dataset"]

#: The private repo of scripts and rows, in the namespace that pays for jobs.
STAGING = "orchestrator-staging"
#: What the name of the private repo of results ends with.
CANDIDATES = "-candidates"
#: What tells that a model's weights may be read: every model has it, and it is small.
_SMALL_FILE = "config.json"
_CENT = 0.01


class Offer(Protocol):
    """A machine in the service's own price list."""

    @property
    def name(self) -> str: ...
    @property
    def usd_per_minute(self) -> float | None: ...


class Repos(Protocol):
    """Whose the token is, and where it may write."""

    def owner(self) -> str: ...
    def check_write(self, repo: str, kind: Kind = "model") -> str: ...
    def check_private(self, repo: str, kind: Kind = "model") -> None: ...


class Files(Protocol):
    """Files of the Hub, with the run's token."""

    def commit(self, kind: Kind, repo: str, revision: str) -> str: ...
    def part(
        self, kind: Kind, repo: str, commit: str, path: str, start: int, size_bytes: int
    ) -> bytes: ...


class Jobs(Protocol):
    """The service, in one namespace."""

    def check_may_run(self) -> None: ...
    def hardware(self) -> Sequence[Offer]: ...


@dataclass(frozen=True)
class Needs:
    """What a run relies on. `namespace` None is the owner of the token; so for `publish_repo`."""

    name: str
    base_model: str
    flavor: str
    usd_per_hour: float
    base_revision: str = "main"
    namespace: str | None = None
    publish_repo: str | None = None


@dataclass(frozen=True)
class Answer:
    """One question: what was asked, and what came of it; `problem` None where all is well."""

    question: str
    text: str
    problem: OrchestratorError | None = None
    warning: bool = False

    def __str__(self) -> str:
        mark = "no" if self.problem else "warning" if self.warning else "yes"
        return f"{self.question}: {mark}, {self.text}"


class PreflightError(InputError):
    """Everything that stands in the way of a run."""

    def __init__(self, problems: Sequence[OrchestratorError]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)
        self.exit_code = max(problem.exit_code for problem in problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True)
class Preflight:
    """All answers, and what they settled; full names, empty where a problem kept them unknown."""

    answers: tuple[Answer, ...]
    namespace: str
    staging: str
    candidates: str
    publish_repo: str | None
    base_commit: str
    usd_per_hour: float

    @property
    def problems(self) -> tuple[OrchestratorError, ...]:
        """What stands in the way, each thing once."""
        found = {str(one.problem): one.problem for one in self.answers if one.problem is not None}
        return tuple(found.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not stand in the way and should be known."""
        return tuple(one.text for one in self.answers if one.warning)

    def raise_for_problems(self) -> None:
        """Raise the problem, or `PreflightError` with all of them."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise PreflightError(self.problems)


class _Round:
    """Asks one question after the other and writes down the answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._unreached: Ambiguous | None = None

    @property
    def unreached(self) -> bool:
        """Whether the Hub gave no answer to a question."""
        return self._unreached is not None

    def ask(self, question: str, call: Callable[[], T], said: Callable[[T], str]) -> T | None:
        """The answer; None where there is none, which is then written down as a problem."""
        if self._unreached is not None:
            self.answers.append(Answer(question, "not asked", self._unreached))
            return None
        try:
            answer = call()
        except (Refused, InputError) as problem:
            self.answers.append(Answer(question, problem.message, problem))
            return None
        except Ambiguous as problem:
            self._unreached = problem
            self.answers.append(Answer(question, problem.message, problem))
            return None
        self.answers.append(Answer(question, said(answer)))
        return answer


def preflight(
    needs: Needs, repos: Repos, files: Files, jobs_in: Callable[[str], Jobs], catalog: JobsCatalog
) -> Preflight:
    """Ask everything. `jobs_in` gives the service in a namespace."""
    asked = _Round()
    writable = "the token may write to {}".format
    owner = asked.ask("the token is known", repos.owner, lambda name: f"it is {name}'s")
    namespace = needs.namespace or owner or ""
    staging = "/".join(filter(None, (namespace, STAGING)))
    staged = asked.ask(writable(staging), lambda: _private(repos, staging, "dataset"), str)
    published = None
    if needs.publish_repo is not None:
        repo = needs.publish_repo
        published = asked.ask(writable(repo), lambda: repos.check_write(repo), str)
    beside = published or needs.publish_repo or "/".join(filter(None, (namespace, needs.name)))
    kept = f"{beside}{CANDIDATES}"
    candidates = asked.ask(writable(kept), lambda: _private(repos, kept, "model"), str)
    commit = asked.ask(
        f"the token may read {needs.base_model}",
        lambda: _readable(files, needs.base_model, needs.base_revision),
        lambda found: f"at {found[:12]}",
    )
    price = None
    if namespace:
        jobs = jobs_in(namespace)
        asked.ask(f"jobs may run in {namespace}", jobs.check_may_run, lambda _: "the service says")
        if not asked.unreached:
            price = _priced(asked, needs, jobs, catalog)
    return Preflight(
        answers=tuple(asked.answers),
        namespace=namespace,
        staging=staged or "",
        candidates=candidates or "",
        publish_repo=published,
        base_commit=commit or "",
        usd_per_hour=needs.usd_per_hour if price is None else price,
    )


def _private(repos: Repos, repo: str, kind: Kind) -> str:
    """The full id of a repo that this token may write to, and not everybody may read.

    The job would refuse a public one after its machine has started, and been paid.
    """
    full = repos.check_write(repo, kind)
    repos.check_private(full, kind)
    return full


def _readable(files: Files, repo: str, revision: str) -> str:
    """The commit of a base model whose files this token may read.

    Whom a gate keeps out may still read what the model is, and learns of the gate only from a file.
    """
    try:
        commit = files.commit("model", repo, revision)
    except NotFound as error:
        raise NotFound(
            f"the base model cannot be read: {error.message}", hint=error.hint
        ) from error
    files.part("model", repo, commit, _SMALL_FILE, 0, 1)
    return commit


def _priced(asked: _Round, needs: Needs, jobs: Jobs, catalog: JobsCatalog) -> float | None:
    """The price an hour of the flavor by the service's own list; None where it gave none."""
    question = f"the service has {needs.flavor}"
    known = catalog.flavor(needs.flavor)
    try:
        offers = tuple(jobs.hardware())
    except (Ambiguous, Refused) as error:
        if known is None:
            asked.answers.append(Answer(question, error.message, error))
            return None
        text = (
            f"the price list was not to be had ({error.message}); by the catalog of "
            f"{catalog.prices_checked} {needs.flavor} costs ${known.usd_per_hour:.2f} an hour"
        )
        asked.answers.append(Answer(question, text, warning=True))
        return known.usd_per_hour
    offer = next((one for one in offers if one.name == needs.flavor), None)
    if offer is None:
        problem = _unknown_flavor(needs.flavor, [one.name for one in offers])
        asked.answers.append(Answer(question, problem.message, problem))
        return None
    if offer.usd_per_minute is None:
        text = f"in a unit of price that is not known; estimated at ${needs.usd_per_hour:.2f}"
        asked.answers.append(Answer(question, text, warning=True))
        return None
    usd = round(offer.usd_per_minute * 60, 4)
    text = f"for ${usd:.2f} an hour"
    moved = abs(usd - needs.usd_per_hour) >= _CENT
    if moved:
        text = f"{needs.flavor} costs ${usd:.2f} an hour now, not ${needs.usd_per_hour:.2f}"
    asked.answers.append(Answer(question, text, warning=moved))
    return usd


def _unknown_flavor(name: str, offered: Iterable[str]) -> InputError:
    names = list(offered)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return InputError(
        f"the service has no machine called {name!r}",
        hint=f"{hint}It has: {', '.join(names)}.",
    )
