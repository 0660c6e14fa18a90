"""Private things in rows: shown masked, never as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Example, answer_text, prompt_text
from orchestrator.dataset.privacy.detection import Private, PrivateKind, find_private
from orchestrator.dataset.report import Finding, Level
from orchestrator.dataset.rules import Rules

_CODES: dict[PrivateKind, str] = {
    "email": "email",
    "example-email": "example-email",
    "phone": "phone",
    "secret": "key-or-token",
}

_WHY = ": models repeat what they were trained on."


class PrivacyCheck(Check):
    """Finds e-mail addresses, phone numbers, keys and tokens in prompts and answers."""

    kind = "privacy"

    def __init__(self, rules: Rules) -> None:
        self._redact = rules.data.redact

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """One finding for each private thing."""
        for example in examples:
            yield from self._found(example, "prompt", prompt_text(example))
            yield from self._found(example, "answer", answer_text(example))

    def _found(self, example: Example, part: str, text: str) -> Iterator[Finding]:
        for one in find_private(text):
            level, hint = self._judged(one)
            article = "An" if one.name[0] in "eA" else "A"
            message = f"{article} {one.name} in the {part}: {one.masked}"
            yield Finding("privacy", level, _CODES[one.kind], example.place, message, hint)

    def _judged(self, one: Private) -> tuple[Level, str]:
        if one.kind == "example-email":
            return Level.NOTE, "Its domain is reserved for examples: it is left as it is."
        if self._redact:
            return Level.NOTE, "It is masked when the rows are prepared (`data.redact: true`)."
        if one.kind == "secret":
            return Level.ERROR, f"Revoke it and remove it, or set `data.redact: true`{_WHY}"
        return Level.WARNING, f"If it is a person's, remove it or set `data.redact: true`{_WHY}"
