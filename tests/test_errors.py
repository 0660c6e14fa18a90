"""Every error says what is wrong, where, and what to do, and has its exit code."""

from __future__ import annotations

import pytest

from orchestrator import errors
from orchestrator.errors import (
    Ambiguous,
    CheckFailed,
    Conflict,
    Corrupt,
    InputError,
    LedgerError,
    NotFound,
    OrchestratorError,
    Place,
    RefusalKind,
    Refused,
    RemoteError,
)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("f.yaml", 3, 7), "f.yaml:3:7"),
        (Place("f.yaml", 3), "f.yaml:3"),
        (Place("f.yaml"), "f.yaml"),
    ],
)
def test_a_place_is_written_as_editors_read_it(place: Place, text: str) -> None:
    assert str(place) == text


def test_an_error_is_place_message_and_remedy_in_that_order() -> None:
    error = InputError("`seed` is wrong", where=Place("f.yaml", 3), hint="Write 42.")
    assert str(error) == "f.yaml:3: `seed` is wrong\n  Write 42."
    assert str(InputError("wrong")) == "wrong"
    assert str(InputError("wrong", hint="Mend it.")) == "wrong\n  Mend it."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (CheckFailed("x"), 1),
        (LedgerError("x"), 1),
        (RemoteError("x"), 1),
        (Refused("x", kind=RefusalKind.QUOTA), 2),
        (NotFound("x"), 2),
        (Conflict("x"), 2),
        (Ambiguous("x"), 1),
        (Corrupt("x"), 1),
    ],
)
def test_exit_codes_are_those_that_the_module_documents(
    error: OrchestratorError, code: int
) -> None:
    assert error.exit_code == code
    described = next(
        line for line in str(errors.__doc__).splitlines() if type(error).__name__ in line.split()
    )
    if "(exit" in described:
        assert f"(exit {code})" in described


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    """Every class stands in it, below its parent."""
    depth_of: dict[str, int] = {}
    parents: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in str(errors.__doc__).splitlines():
        words = line.replace("├──", "   ").replace("└──", "   ").replace("│", " ")
        if not words.strip() or not hasattr(errors, words.split()[0]):
            continue
        name, indent = words.split()[0], len(words) - len(words.lstrip())
        parents = [parent for parent in parents if depth_of[parent] < indent]
        drawn[name] = parents[-1] if parents else None
        depth_of[name] = indent
        parents.append(name)
    actual = {
        cls.__name__: None if cls is OrchestratorError else cls.__base__.__name__
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, OrchestratorError) and cls.__base__
    }
    assert drawn == actual


def test_a_refusal_knows_its_kind_and_an_answer_how_long_to_wait() -> None:
    assert NotFound("x").kind is RefusalKind.NOT_FOUND
    assert Conflict("x").kind is RefusalKind.CONFLICT
    assert Refused("x", kind=RefusalKind.QUOTA, retry_after_s=3.0).retry_after_s == 3.0
    assert Ambiguous("x", retry_after_s=2.0).retry_after_s == 2.0
    assert Ambiguous("x").retry_after_s is None
