"""More issuers, numbers and addresses, as people really write them; and what only looks so."""

from __future__ import annotations

import random
import string

import pytest

from orchestrator.dataset.privacy.detection import find_private, redact

#: The same made-up keys in every run.
_RNG = random.Random(12)  # noqa: S311 (no secret)
_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _of(count: int, among: str = _LETTERS) -> str:
    return "".join(_RNG.choices(among, k=count))


#: What stands before the secret, the secret, and what follows it.
SECRETS = {
    "AWS secret in an environment": ("AWS_SECRET_ACCESS_KEY=", _of(40), ""),
    "AWS secret in JSON": ('{"SecretAccessKey": "', _of(40), '"}'),
    "AWS secret in a string of JSON": (r'"{\"SecretAccessKey\": \"', _of(40), r'\"}"'),
    "Google OAuth secret": ("", "GOCSPX-" + _of(28), ""),
    "Google refresh token": ("", "1//0" + _of(60), ""),
    "Azure client secret": ("", _of(3) + "8Q~" + _of(34), ""),
    "Azure signature": ("https://a.net/b?sp=r&sig=", _of(43) + "%3D", ""),
    "Groq": ("", "gsk_" + _of(52), ""),
    "xAI": ("", "xai-" + _of(80), ""),
    "Replicate": ("", "r8_" + _of(37), ""),
    "Perplexity": ("", "pplx-" + _of(48), ""),
    "NVIDIA": ("", "nvapi-" + _of(64), ""),
    "LangSmith": ("", f"lsv2_pt_{_of(32, _HEX)}_{_of(10, _HEX)}", ""),
    "OpenRouter": ("", "sk-or-v1-" + _of(64, _HEX), ""),
    "Slack app": ("", f"xapp-1-A{_of(10)}-{_of(13, string.digits)}-{_of(64, _HEX)}", ""),
    "Stripe webhook": ("", "whsec_" + _of(32), ""),
    "Discord webhook": ("https://discord.com/api/webhooks/123456789012345678/", _of(68), ""),
    "password without a user": ("redis://:", "p4ssw0rdXyz", "@redis.host.io:6379"),
    "basic authorization": ("Authorization: Basic ", "YW5uYTpoajcyUWsheExvbmdQdw==", ""),
    "bearer in JSON": ('{"Authorization": "Bearer ', _of(40), '"}'),
    "a service's key by its setting": ("COHERE_API_KEY=", _of(40), ""),
    "Shopify": ("", "shpat_" + _of(32, _HEX), ""),
    "DigitalOcean": ("", "dop_v1_" + _of(64, _HEX), ""),
    "Docker": ("", "dckr_pat_" + _of(27), ""),
    "Vault": ("", "hvs." + _of(90), ""),
    "Databricks": ("", "dapi" + _of(32, _HEX), ""),
    "Linear": ("", "lin_api_" + _of(40), ""),
    "Notion": ("", "ntn_" + _of(46), ""),
    "Airtable": ("", f"pat{_of(14)}.{_of(64, _HEX)}", ""),
    "Figma": ("", "figd_" + _of(40), ""),
    "Postman": ("", f"PMAK-{_of(24, _HEX)}-{_of(34, _HEX)}", ""),
    "Grafana": ("", f"glsa_{_of(32)}_{_of(8, _HEX)}", ""),
    "Sentry": ("", "sntrys_" + _of(120), ""),
    "Doppler": ("", "dp.pt." + _of(43), ""),
    "Mailgun": ("", "key-" + _of(32, _HEX), ""),
    "Terraform": ("", f"{_of(14)}.atlasv1.{_of(67)}", ""),
    "Atlassian": ("", "ATATT3xFfGF0" + _of(180), ""),
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_found_as_its_issuer_writes_it(name: str) -> None:
    before, secret, after = SECRETS[name]
    assert redact(f"Use {before}{secret}{after} here.") == f"Use {before}[SECRET]{after} here."
    [found] = find_private(f"{before}{secret}{after}")
    assert secret[-12:] not in found.masked


def test_an_encrypted_private_key_is_a_private_key() -> None:
    lines = "\n".join(_of(64) for _ in range(6))
    key = f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{lines}\n-----END ENCRYPTED PRIVATE KEY-----"
    assert redact(f"It is {key} now") == "It is [SECRET] now"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("ring +39 06 698 12345 now", "+39 06 698 12345"),
        ("ring +49 151 2345 6789.", "+49 151 2345 6789"),
        ("ring +1 (415) 555\u20112671 now", "+1 (415) 555\u20112671"),
        ("ring 0049 151 23456789 now", "0049 151 23456789"),
        ("ring 001 415 555 2671", "001 415 555 2671"),
        ('{"phone": "0151 23456789"}', "0151 23456789"),
        ("Tel. 0151/23456789", "0151/23456789"),
        ("tel:0891234567.", "0891234567"),
        ("Mobile: 07911 123456", "07911 123456"),
        ("+55 11 91234-5678", "+55 11 91234-5678"),
        ("+91-9876543210", "+91-9876543210"),
        ("+86 138 0013 8000", "+86 138 0013 8000"),
    ],
)
def test_a_phone_number_is_found_whole(text: str, number: str) -> None:
    [found] = find_private(text)
    assert found.kind == "phone"
    assert text[found.start : found.end] == number
    assert sum(map(str.isdigit, found.masked)) == 2


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("anna.o'brien@firma.ie", "[EMAIL]"),
        ("'anna@firma.de'", "'[EMAIL]'"),
        ("联系anna@firma.de吧", "联系[EMAIL]吧"),
        ("用户@例子.广告", "[EMAIL]"),
        ("?to=anna%40firma.de&x", "?to=[EMAIL]&x"),
        (r"{\"to\": \"anna\u0040firma.de\"}", r"{\"to\": \"[EMAIL]\"}"),
        ("müller@straße.de", "[EMAIL]"),
    ],
)
def test_an_address_is_masked_without_its_neighbours(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "SK12345678901234567890123456789012",
        "MY_SETTING_KEY=the-name-of-a-file-that-is-very-long-indeed",
        "HF_TOKEN=your_token_here_0123456789abcdefghij",
        "Authorization: Bearer <token that you were given>",
        "Authorization: Bearer ${ACCESS_TOKEN_OF_2026_09}",
        "cell 0123 of the table, phone 0.5 2000 3000",
        "in telescope 0123456789",
        "00 12 34 56 78 and 007 123 456",
        "+40.7128 -74.0060, 4111 1111 1111 1111, 978-3-16-148410-0",
        "550e8400-e29b-41d4-a716-446655440000 at 2024-03-15T10:11:12+0000",
        "A[1:3]+1234567 and x^{2}+1234567890, sum 2 + 39 06 698",
        "docker pull img@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "npm i @angular/core@12.0.1, git@github.com:foo/bar.git, key-value-pairs",
        "the glass_of_water, do_v1, hvac, path, patent, lin_api",
    ],
)
def test_what_only_looks_private_is_not(text: str) -> None:
    assert find_private(text) == []
