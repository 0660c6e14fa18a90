"""Private things are found, shown masked, and redacted; numbers and documentation do not alarm.

Credentials are put together from pieces here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import random
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.checks.privacy import PrivacyCheck
from orchestrator.dataset.example import Call, Example, Message
from orchestrator.dataset.privacy.detection import find_private, redact
from orchestrator.dataset.report import Level
from tests.dataset.checked_rows import checked, checked_in_parts, row, rules_of

#: The same made-up keys in every run.
_RNG = random.Random(11)  # noqa: S311 (no secret)
_LETTERS = string.ascii_letters + string.digits


def _letters(count: int, among: str = _LETTERS) -> str:
    return "".join(_RNG.choices(among, k=count))


def _jwt() -> str:
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps({"sub": "17", "name": "x y"})]
    encoded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, _letters(43)])


def _key(sort: str = "RSA ") -> str:
    lines = "\n".join(_letters(64) for _ in range(6))
    return f"-----BEGIN {sort}PRIVATE KEY-----\n{lines}\n-----END {sort}PRIVATE KEY-----"


_UPPER = string.ascii_uppercase + string.digits
SECRETS = {
    "AWS key": "AKIA" + _letters(16, _UPPER),
    "GitHub token": "ghp_" + _letters(36),
    "GitHub fine-grained": "github_pat_" + _letters(22) + "_" + _letters(59),
    "GitLab token": "glpat-" + _letters(20),
    "Hugging Face token": "hf_" + _letters(34),
    "OpenAI key": "sk-" + _letters(20) + "T3BlbkFJ" + _letters(20),
    "OpenAI project key": "sk-proj-" + _letters(60),
    "Anthropic key": "sk-ant-" + "api03-" + _letters(90),
    "Google API key": "AIza" + _letters(35),
    "Google access token": "ya29." + _letters(60),
    "Slack token": "xoxb-" + "123456789012-1234567890123-" + _letters(24),
    "Slack webhook": "https://hooks.slack.com/services/"
    f"T{_letters(8)}/B{_letters(8)}/{_letters(24)}",
    "Stripe key": "sk_live_" + _letters(24),
    "long Stripe key": "rk_live_" + _letters(99),
    "JSON web token": _jwt(),
    "npm token": "npm_" + _letters(36),
    "PyPI token": "pypi-AgEIcHlwaS5vcmc" + _letters(90),
    "SendGrid key": "SG." + _letters(22) + "." + _letters(43),
    "Azure storage key": "AccountKey=" + _letters(86) + "==",
    "Square secret": "sq0csp-" + _letters(43),
    "Twilio key": "SK" + _letters(32, string.ascii_lowercase + string.digits),
    "Mailchimp key": _letters(32, string.ascii_lowercase + string.digits) + "-us12",
    "Telegram token": "123456789" + ":AA" + _letters(33),
    "RSA key": _key(),
    "plain key": _key(""),
    "OpenSSH key": _key("OPENSSH "),
    "key without an end": _key().rpartition("\n")[0],
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_key_or_token_is_found_whole_masked_and_redacted(name: str) -> None:
    secret = SECRETS[name]
    text = f"Use this: {secret} and go on."
    [found] = find_private(text)
    assert found.kind == "secret"
    assert text[found.start : found.end] == secret
    assert secret[10:] not in found.masked
    assert len(found.masked) < 50
    assert redact(text) == "Use this: [SECRET] and go on."


def test_a_key_without_an_end_takes_nothing_of_the_next_one() -> None:
    open_key = SECRETS["key without an end"]
    document = json.dumps([open_key, "between", _key()])
    assert json.loads(redact(document)) == ["[SECRET]", "between", "[SECRET]"]
    assert redact(f"{open_key}\n\n(between) {_key()}").split() == [
        "[SECRET]",
        "(between)",
        "[SECRET]",
    ]


def test_passwords_in_addresses_and_secrets_by_name_are_found_without_what_is_around() -> None:
    secret = _letters(40)
    assert redact(f'aws_secret_access_key = "{secret}"') == 'aws_secret_access_key = "[SECRET]"'
    assert (
        redact("postgres://anna:hj72Qk!x@db.firma.de/x") == "postgres://anna:[SECRET]@db.firma.de/x"
    )


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "export HF_TOKEN=hf_" + "x" * 34,
        "ghp_" + "your_token_here_0123456789abcdefghijkl",
        "https://user:password@host.net/",
        "https://{user}:{password}@host.net/",
        "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        "Files that begin with BEGIN RSA PRIVATE KEY must never be committed by anybody.",
        "eyJub3QganNvbg.eyJub3QganNvbg",
        "task-" + "sk-learn-classifier-with-many-long-words",
        "A commit: 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sha256:" + "AC" + "9fceb02d0ae598e95dc970b74767f19372d61af8aa",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "MASKING_" + "AKIA" + _letters(16, _UPPER) + "Z",
    ],
)
def test_documentation_and_digests_are_no_secrets(text: str) -> None:
    assert find_private(text) == []


PHONES = [
    "+1 415 555 2671",
    "+14155552671",
    "+1-415-555-2671",
    "(415) 555-2671",
    "(415)555-2671",
    "415-555-2671",
    "415.555.2671",
    "1-800-275-2273",
    "+44 20 7946 0958",
    "+49 151 23456789",
    "+33 6 12 34 56 78",
    "+91 98765 43210",
    "+4930901820",
]


@pytest.mark.parametrize("phone", PHONES)
def test_phone_numbers_are_found(phone: str) -> None:
    for text in (phone, f"Call {phone}.", f"tel:{phone}, please", f'{{"phone": "{phone}"}}'):
        [found] = find_private(text)
        assert (found.kind, text[found.start : found.end]) == ("phone", phone)
        assert sum(letter.isdigit() for letter in found.masked) == 2


@pytest.mark.parametrize(
    "text",
    [
        "35947633",
        "-35947632.9663",
        "4155552671",
        "415 555 2671 3389",
        "3.14159265358979",
        "2024-11-21 10:22:33",
        "12/31/2024 1000",
        "192.168.100.200",
        "10.0.0.1:8080",
        "order 123-4567-890",
        "978-3-16-148410-0",
        "123-45-6789",
        "1234 5678 9012 3456",
        "1600000000000",
        "2+4915112345678",
        "2 +4915112345678",
        "(7) +4915112345678",
        "x=+4915112345678",
        "Calculate 415 - 555 - 2671",
        "415-555-2671 + 3",
        "x*415-555-2671",
        "(12345678)*(234)",
        "100 200 3000",
        "(555) 123-4567",
        "(212) 555-0123",
        "v1.2.3-4567",
        "415-555-2671-99",
        "+12",
        "+999 999 999 999",
    ],
)
def test_numbers_of_other_kinds_do_not_alarm(text: str) -> None:
    assert find_private(text) == []


@pytest.mark.parametrize(
    "address", ["anna.schmidt@firma.de", "a@b.co", "x_1+tag@mail.sub-host.co.uk", "josé@correo.es"]
)
def test_addresses_are_found(address: str) -> None:
    for text in (address, f"Write to <{address}>.", f"mail:{address};", f"{address}, or call"):
        [found] = find_private(text)
        assert (found.kind, text[found.start : found.end]) == ("email", address)
        assert address.partition("@")[2] not in found.masked


@pytest.mark.parametrize(
    "text",
    [
        "@dataclass class A: x@y",
        "scores = q@k.transpose(-2, -1)",
        "y = x@self.weight + b",
        "icon@2x.png",
        "git@github.com:owner/repo.git",
        "npm install lodash@4.17.21",
        "meet me @ noon. ok",
        "user@localhost",
    ],
)
def test_what_only_looks_like_an_address_does_not_alarm(text: str) -> None:
    assert find_private(text) == []


def test_addresses_reserved_for_examples_are_a_note_and_stay() -> None:
    text = "Mail user@example.com or root@db.example or me@sub.example.org"
    assert [found.kind for found in find_private(text)] == ["example-email"] * 3
    assert redact(text) == text
    report = checked(PrivacyCheck(rules_of()), [row(1, text)])
    assert [(g.level, g.count) for g in report.findings] == [(Level.NOTE, 3)]


def test_levels_a_live_key_fails_the_check_unless_it_will_be_redacted() -> None:
    rows = [
        row(4, f"My key is {SECRETS['GitHub token']}"),
        row(5, "Write to anna@firma.de", "Call +49 151 23456789"),
    ]
    report = checked(PrivacyCheck(rules_of()), rows)
    found = [(g.level, g.code, g.examples[0].place.line) for g in report.findings]
    assert found == [
        (Level.ERROR, "key-or-token", 4),
        (Level.WARNING, "email", 5),
        (Level.WARNING, "phone", 5),
    ]
    assert "in the answer" in report.findings[2].examples[0].message
    redacting = checked(PrivacyCheck(rules_of(redact=True)), rows)
    assert {group.level for group in redacting.findings} == {Level.NOTE}
    assert sum(group.count for group in redacting.findings) == 3


def test_arguments_of_calls_are_searched_too() -> None:
    answer = (Message("assistant", None, (Call("mail", {"to": "anna@firma.de"}),)),)
    report = checked(PrivacyCheck(rules_of()), [Example("r.jsonl", 3, "Mail Anna", answer, {})])
    assert [group.code for group in report.findings] == ["email"]


def test_no_report_shows_the_values_themselves() -> None:
    rows = [row(n, f"See {secret}") for n, secret in enumerate(SECRETS.values(), 1)]
    rows += [row(99, f"anna.schmidt@firma.de {PHONES[0]}")]
    printed = json.dumps(checked(PrivacyCheck(rules_of()), rows).to_json())
    for value in [*SECRETS.values(), "anna.schmidt", "firma", "555"]:
        assert value not in printed


_PIECES = st.sampled_from(
    [
        *SECRETS.values(),
        *PHONES,
        *("anna@firma.de", "https://u:hj72Qk!x@h.de/", "[EMAIL]", "text", "sk-", "hf_", "1", "é"),
        *('"', "\\", "\n", " ", "+", "@", ".", "-", "("),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=8).map("".join))
def test_redacting_twice_is_redacting_once_and_leaves_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert all(found.kind == "example-email" for found in find_private(once))


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=6).map("".join), st.booleans())
def test_a_text_that_is_json_stays_json(text: str, ascii_only: bool) -> None:
    document = json.dumps({"a": text, "b": [text, 4155552671]}, ensure_ascii=ascii_only)
    assert json.loads(redact(document)).keys() == {"a", "b"}


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_can_be_searched(text: str) -> None:
    places = [(found.start, found.end) for found in find_private(text)]
    assert places == sorted(places)
    assert all(start < end <= len(text) for start, end in places)


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "a@", "1", "+1 ", "1-", "eyJ.", "sk-", "a@b.", "-----BEGIN RSA PRIVATE KEY-----"],
)
def test_long_texts_without_anything_take_no_time(piece: str) -> None:
    # A pattern that tries every end for every start would run for minutes.
    assert redact(piece * (200_000 // len(piece))).startswith(piece[0])


_SAY_LOADED = """
import sys
from orchestrator.dataset.checks import balance, leaks, privacy
from orchestrator.dataset.privacy.detection import redact
redact("The train of 9:30 costs 12.50 a seat, see https://host.net/a-long_path/0123456789abcdef.")
heavy = {"rensa", "phonenumbers", "detect_secrets", "requests"}
print(sorted(heavy & set(sys.modules)))
"""


def test_clean_texts_load_no_detector() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SAY_LOADED], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_parts_merged_find_what_the_whole_finds() -> None:
    rows = [row(n, f"Mail a{n}@firma.de or call {PHONES[n]}") for n in range(1, 10)]
    rules = rules_of()
    assert checked_in_parts(PrivacyCheck, rules, rows, [2, 7]) == checked(PrivacyCheck(rules), rows)
