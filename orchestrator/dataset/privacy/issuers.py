"""Whose keys and tokens are known, and how each issuer writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sort:
    """How one sort of credential is found.

    `plugin` is a module and class of detect-secrets; `pattern` is used without one. `marks` are
    strings of which every text with such a credential has one. The credential is the pattern's
    last group if `in_group`, else the whole match; `exact` ones are not longer than the pattern.
    Where marks are common, texts without `shape` have none: loading a plugin takes a while.
    """

    issuer: str
    marks: tuple[str, ...]
    plugin: tuple[str, str] | None = None
    pattern: str = ""
    in_group: bool = False
    exact: bool = False
    shape: str = ""


_GITLAB_MARKS = (
    *("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glcbt-", "glimt-", "glptt-", "glagent-"),
    *("gloas-", "GR1348941"),
)
SORTS: tuple[Sort, ...] = (
    Sort("private key", ("PRIVATE KEY", "PuTTY-User-Key"), ("private_key", "PrivateKeyDetector")),
    Sort("private key", ("BEGIN ENCRYPTED PRIVATE",), pattern="BEGIN ENCRYPTED PRIVATE KEY"),
    Sort(
        "AWS key",
        ("AKIA", "ASIA", "ABIA", "ACCA", "A3T", "aws", "AWS", "Aws"),
        ("aws", "AWSKeyDetector"),
        in_group=True,
        exact=True,
        shape=r"[0-9A-Z]{16}|[0-9a-zA-Z/+]{40}",
    ),
    # As environments, settings and JSON write it; the plugin's pattern wants quotes and "aws".
    Sort(
        "AWS secret key",
        ("cret_access_key", "CRET_ACCESS_KEY", "cretAccessKey"),
        pattern=r"(?i:secret_?access_?key)[\\\"']{0,3}\s{0,3}[=:]\s{0,3}[\\\"']{0,3}"
        r"([0-9A-Za-z/+]{40})(?![0-9A-Za-z/+=])",
        in_group=True,
    ),
    Sort(
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        ("github_token", "GitHubTokenDetector"),
    ),
    Sort("GitHub token", ("github_pat_",), pattern=r"github_pat_[A-Za-z0-9_]{50,}"),
    Sort(
        "GitLab token",
        _GITLAB_MARKS,
        ("gitlab_token", "GitLabTokenDetector"),
    ),
    Sort("Hugging Face token", ("hf_", "api_org_"), pattern=r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    Sort("OpenAI key", ("T3BlbkFJ",), ("openai", "OpenAIDetector")),
    Sort(
        "API key",
        ("sk-",),
        pattern=r"sk-(?:(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{32,}|[A-Za-z0-9]{32,})",
    ),
    Sort("Google API key", ("AIza",), pattern=r"AIza[0-9A-Za-z_-]{35}"),
    Sort("Google access token", ("ya29.",), pattern=r"ya29\.[0-9A-Za-z_-]{20,}"),
    Sort(
        "Slack token",
        ("xoxa-", "xoxb-", "xoxp-", "xoxo-", "xoxs-", "xoxr-", "hooks.slack.com"),
        ("slack", "SlackDetector"),
    ),
    Sort("Slack token", ("xapp-", "xoxe"), pattern=r"(?:xapp-\d-|xoxe[.-])[A-Za-z0-9.-]{40,}"),
    Sort("Stripe key", ("sk_live_", "rk_live_"), ("stripe", "StripeDetector")),
    Sort("Stripe secret", ("whsec_",), pattern=r"whsec_[A-Za-z0-9+/=]{32,}"),
    Sort("JSON web token", ("eyJ",), ("jwt", "JwtTokenDetector")),
    # The plugin's pattern knows no password with ! or other signs of its own.
    Sort(
        "password in an address",
        ("://",),
        pattern=r"""://[^\s/:@"'\\]{0,100}:([^\s/@"'<>\\]{1,200})@""",
        in_group=True,
    ),
    Sort("npm token", ("npm_",), pattern=r"npm_[A-Za-z0-9]{36}"),
    Sort("PyPI token", ("pypi-Ag",), ("pypi_token", "PypiTokenDetector")),
    Sort("SendGrid key", ("SG.",), ("sendgrid", "SendGridDetector")),
    Sort("Square secret", ("sq0csp-",), ("square_oauth", "SquareOAuthDetector")),
    Sort("Azure storage key", ("AccountKey=",), ("azure_storage_key", "AzureStorageKeyDetector")),
    Sort(
        "Twilio key",
        ("AC", "SK"),
        ("twilio", "TwilioKeyDetector"),
        exact=True,
        shape=r"[a-z0-9]{32}",
    ),
    Sort(
        "Mailchimp key",
        ("-us",),
        ("mailchimp", "MailchimpDetector"),
        exact=True,
        shape=r"[0-9a-z]{32}-us",
    ),
    Sort("Telegram token", (":AA",), ("telegram_token", "TelegramBotTokenDetector"), exact=True),
)

#: Issuers whose tokens begin with marks of their own: the marks, and what follows them.
_MARKED = (
    ("Google OAuth secret", "GOCSPX-", r"[A-Za-z0-9_-]{28}"),
    ("Google refresh token", "1//0", r"[A-Za-z0-9_-]{40,}"),
    ("Groq key", "gsk_", r"[A-Za-z0-9]{40,}"),
    ("xAI key", "xai-", r"[A-Za-z0-9]{60,}"),
    ("Replicate token", "r8_", r"[A-Za-z0-9]{37}"),
    ("Perplexity key", "pplx-", r"[A-Za-z0-9]{40,}"),
    ("NVIDIA key", "nvapi-", r"[A-Za-z0-9_-]{60,}"),
    ("LangSmith key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    ("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"[0-9a-fA-F]{32}"),
    ("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{64}"),
    ("Docker token", "dckr_", r"(?:pat|oat)_[A-Za-z0-9_-]{24,}"),
    ("Vault token", "hvs. hvb. hvr.", r"[A-Za-z0-9_-]{90,}"),
    ("Databricks token", "dapi", r"[0-9a-f]{32}(?:-\d)?"),
    ("Linear key", "lin_api_", r"[A-Za-z0-9]{40}"),
    ("Notion token", "ntn_", r"[A-Za-z0-9]{43,}"),
    ("Figma token", "figd_", r"[A-Za-z0-9_-]{40}"),
    ("Postman key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    ("New Relic key", "NRAK-", r"[A-Z0-9]{27}"),
    ("Grafana token", "glsa_ glc_", r"(?:[A-Za-z0-9]{32}_[0-9a-f]{8}|[A-Za-z0-9+/=]{50,})"),
    ("Sentry token", "sntrys_ sntryu_", r"[A-Za-z0-9+/=_-]{60,}"),
    ("Doppler token", "dp.pt. dp.st. dp.ct. dp.sa.", r"[A-Za-z0-9._-]{40,}"),
    ("age key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    ("RubyGems key", "rubygems_", r"[0-9a-f]{48}"),
    ("Heroku key", "HRKU-", r"[A-Za-z0-9_-]{36,}"),
    ("PlanetScale token", "pscale_", r"(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,}"),
    ("Supabase token", "sbp_", r"[0-9a-f]{40}"),
    ("Mailgun key", "key-", r"[0-9a-f]{32}"),
    ("Atlassian token", "ATATT3", r"[A-Za-z0-9_=-]{150,}"),
)
#: The same for tokens whose mark does not stand first, or is too common on its own.
SORTS += (
    Sort("Azure client secret", ("Q~",), pattern=r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"),
    Sort(
        "Azure signature", ("sig=",), pattern=r"[?&;]sig=([A-Za-z0-9%/+]{43,}={0,1})", in_group=True
    ),
    Sort(
        "Discord webhook",
        ("/api/webhooks/",),
        pattern=r"/api/webhooks/\d{17,20}/([A-Za-z0-9_-]{60,})",
        in_group=True,
    ),
    Sort("Airtable token", ("pat",), pattern=r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    Sort(
        "Terraform token", (".atlasv1.",), pattern=r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"
    ),
    Sort(
        "authorization",
        ("uthorization", "UTHORIZATION"),
        pattern=r"(?i:authorization)[\\\"']{0,3}\s?[:=]\s?[\\\"']{0,3}"
        r"(?i:basic|bearer|token)\s+([A-Za-z0-9+/._~-]{20,}={0,2})",
        in_group=True,
    ),
    # Settings in capitals, as environments have them, with a long value of digits and letters.
    Sort(
        "key in a setting",
        ("_KEY", "_TOKEN", "_SECRET"),
        pattern=r"[A-Z0-9]_(?:API_KEY|API_TOKEN|ACCESS_TOKEN|AUTH_TOKEN|SECRET_KEY|SECRET|TOKEN)"
        r"[\\\"']{0,3}\s?[=:]\s?[\\\"']{0,3}([A-Za-z0-9_/+=-]{32,})",
        in_group=True,
    ),
    *(
        Sort(
            issuer,
            tuple(marks.split()),
            pattern=f"(?:{'|'.join(map(re.escape, marks.split()))}){rest}",
        )
        for issuer, marks, rest in _MARKED
    ),
)
