"""Private things in rows: shown masked, never as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.dataset.checks.base import Check
from orchestrator.dataset.example import Example, Tool, answer_text, prompt_text
from orchestrator.dataset.json_texts import texts_in
from orchestrator.dataset.privacy.detection import Private, PrivateKind, find_private
from orchestrator.dataset.report import Finding, Group, Level, Report
from orchestrator.dataset.rules import Rules
from orchestrator.errors import Place

_CODES: dict[PrivateKind, str] = {
    "email": "email",
    "example-email": "example-email",
    "phone": "phone",
    "secret": "key-or-token",
}

_WHY = ": models repeat what they were trained on."


class PrivacyCheck(Check):
    """Finds e-mail addresses, phone numbers, keys and tokens in all that a row trains with."""

    kind = "privacy"

    def __init__(self, rules: Rules) -> None:
        self._redact = rules.data.redact
        self._shared_tools = rules.tools
        self._tools_file = rules.data.tools or "data.tools"

    def examine(self, examples: Sequence[Example]) -> Iterable[Finding]:
        """One finding for each private thing."""
        for example in examples:
            place, prompt, answer = example.place, prompt_text(example), answer_text(example)
            yield from self._found(place, "prompt", prompt)
            yield from self._found(place, "answer", answer)
            reference = example.reference
            if reference and reference not in answer:
                yield from self._found(place, "reference answer", reference)
            # Tools that all rows share are not said of each row.
            if example.tools and example.tools is not self._shared_tools:
                yield from self._found(place, "row's tools", _declared(example.tools))

    def conclude(self) -> Iterable[Group]:
        """What is private in the tools that all rows share."""
        place = Place(str(self._tools_file))
        found = list(self._found(place, "tools", _declared(self._shared_tools), "-in-tools"))
        return Report.of(0, found).groups.values()

    def _found(self, place: Place, part: str, text: str, suffix: str = "") -> Iterator[Finding]:
        for one in find_private(text):
            level, hint = self._judged(one)
            article = "An" if one.name[0] in "eA" else "A"
            message = f"{article} {one.name} in the {part}: {one.masked}"
            code = f"{_CODES[one.kind]}{suffix}"
            yield Finding("privacy", level, code, place, message, hint)

    def _judged(self, one: Private) -> tuple[Level, str]:
        if one.kind == "example-email":
            return Level.NOTE, "Its domain is reserved for examples: it is left as it is."
        if self._redact:
            return Level.NOTE, "It is masked when the rows are prepared (`data.redact: true`)."
        if one.kind == "secret":
            return Level.ERROR, f"Revoke it and remove it, or set `data.redact: true`{_WHY}"
        return Level.WARNING, f"If it is a person's, remove it or set `data.redact: true`{_WHY}"


def _declared(tools: Sequence[Tool]) -> str:
    """All strings of the tools' declarations, a line each."""
    return "\n".join(text for tool in tools for text in texts_in(tool.declaration, names=False))
