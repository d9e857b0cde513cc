"""What keys and tokens look like: one row a format, with who says so.

A format is known by how it begins, and each row names what must be in a text before the pattern is
tried at all. A random string without a name or a beginning is left alone: in code it is a hash, an
id or a checksum far more often than a key. What stands beside a name ("password = ...") is the
matter of `named`.

The formats are the issuers' own; where an issuer publishes none, as the open rule sets of Gitleaks
and CredSweeper have them. Neither is a dependency: CredSweeper brings thirty packages and a model,
and detect-secrets knows a third of these, line by line, without the body of a private key; its last
release is of May 2024.
"""

import re
from typing import NamedTuple

# A token ends where its alphabet does; what stands before it must be no letter of a longer word.
START, END = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


class Format(NamedTuple):
    """A kind of secret, the pattern of it, what a text must have for it, and who says so."""

    kind: str
    pattern: re.Pattern[str]
    needs: tuple[str, ...]
    source: str


def _token(pattern: str, *needs: str, source: str = "", kind: str = "token") -> Format:
    return Format(kind, re.compile(f"{START}(?:{pattern}){END}"), needs, source)


def _key(pattern: str, *needs: str, source: str = "") -> Format:
    return _token(pattern, *needs, source=source, kind="key")


GITHUB = "github.blog/2021-04-05-behind-githubs-new-authentication-token-formats"
PAYPAL = "developer.paypal.com"
GITLAB = "docs.gitlab.com/security/tokens"
AWS = "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"
GOOGLE = "docs.cloud.google.com/docs/authentication/api-keys"
SLACK = "docs.slack.dev/authentication/tokens"
AWS_KEYS = ("AKIA", "ASIA", "ABIA", "ACCA", "A3T")
DISCORD = "discord.com/developers/docs"
DOCKER = "docs.docker.com"
STRIPE = "docs.stripe.com/keys"
VAULT = "developer.hashicorp.com/vault/docs/concepts/tokens"
MAC = "github.com/rescrv/libmacaroons"

FORMATS = (
    # Models
    _key(r"sk-ant-[a-z0-9]{3,12}-[\w-]{20,200}", "sk-ant-", source="docs.claude.com/en/api"),
    _key(r"sk-or-v1-[0-9a-f]{32,80}", "sk-or-", source="openrouter.ai/docs"),
    _key(r"sk-(?:proj|svcacct|admin|None)-[\w-]{20,200}", "sk-", source="platform.openai.com/docs"),
    _key(r"sk-[A-Za-z0-9]{20,100}", "sk-", source="platform.openai.com/docs"),
    _key(r"gsk_[A-Za-z0-9]{40,60}", "gsk_", source="console.groq.com/docs"),
    _key(r"xai-[A-Za-z0-9]{60,100}", "xai-", source="docs.x.ai"),
    _key(r"pplx-[A-Za-z0-9]{32,64}", "pplx-", source="docs.perplexity.ai"),
    _key(r"r8_[A-Za-z0-9]{30,44}", "r8_", source="replicate.com/docs"),
    _key(r"tgp_v1_[\w-]{40,48}", "tgp_v1_", source="docs.together.ai"),
    _key(r"tvly-[A-Za-z0-9-]{28,48}", "tvly-", source="docs.tavily.com"),
    _token(r"(?:hf|api_org)_[A-Za-z0-9]{30,40}", "hf_", "api_org_", source="huggingface.co/docs"),
    # Code and its delivery
    _token(r"gh[pousr]_[A-Za-z0-9]{36,251}", "gh", source=GITHUB),
    _token(r"github_pat_\w{22,255}", "github_pat_", source=GITHUB),
    _token(r"gl(?:[a-z]{2,5})-[\w.-]{18,300}", "gl", source=GITLAB),
    _token(r"GR1348941[\w-]{20,50}", "GR1348941", source=GITLAB),
    _token(r"ATBB[A-Za-z0-9]{24,40}", "ATBB", source="support.atlassian.com"),
    _token(r"AT(?:ATT|CTT)3xFfG[\w=-]{50,900}", "3xFfG", source="support.atlassian.com"),
    _token(r"npm_[A-Za-z0-9]{36,255}", "npm_", source="github.blog/2021-09-23"),
    _token(r"pypi-[\w-]{50,1000}", "pypi-", source="docs.pypi, a macaroon: " + MAC),
    _token(r"rubygems_[0-9a-f]{48}", "rubygems_", source="guides.rubygems"),
    _token(r"oy2[a-z0-9]{43}", "oy2", source="learn.microsoft.com/nuget"),
    _token(r"dckr_[op]at_[\w-]{20,40}", "dckr_", source=DOCKER),
    _token(r"SWM(?:TKN|KEY)-1-[A-Za-z0-9+/-]{30,120}", "SWM", source=DOCKER),
    _token(r"CCIPAT_[A-Za-z0-9]{22}_[0-9a-f]{40}", "CCIPAT_", source="circleci.com/docs"),
    _token(r"sq[apu]_[0-9a-f]{40}", "sqa_", "sqp_", "squ_", source="docs.sonarsource.com"),
    _token(r"(?:AKCp|cmVmdGtu)[A-Za-z0-9]{50,80}", "AKCp", "cmVmdGtu", source="jfrog.com/help"),
    _token(r"sntry[su]_[\w+/=-]{40,400}", "sntry", source="docs.sentry.io"),
    _token(r"vc[pkio]_[A-Za-z0-9]{24,64}", "vc", source="vercel.com/docs"),
    _token(r"nfp_[A-Za-z0-9]{30,44}", "nfp_", source="docs.netlify.com"),
    _token(r"sgp_(?:\w{1,16}_)?[0-9a-f]{40}", "sgp_", source="sourcegraph.com/docs"),
    # Clouds
    _key(r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16}", *AWS_KEYS, source=AWS),
    _key(r"ABSK[A-Za-z0-9+/]{80,200}={0,2}", "ABSK", source=AWS),
    _key(r"AIza[\w-]{35}", "AIza", source=GOOGLE),
    _token(r"ya29\.[\w-]{20,2000}", "ya29.", source=GOOGLE),
    _token(r"GOCSPX-[\w-]{24,40}", "GOCSPX-", source=GOOGLE),
    _token(r"1//0[\w-]{40,400}", "1//0", source=GOOGLE),
    _token(r"[\w~.-]{3}[78]Q~[\w~.-]{31,34}", "Q~", source="learn.microsoft.com/entra"),
    _key(r"[A-Za-z0-9+/]{76}JQQJ9[A-Za-z0-9+/]{3,7}={0,2}", "JQQJ9", source="learn.microsoft.com"),
    _token(r"do[opr]_v1_[0-9a-f]{64}", "_v1_", source="docs.digitalocean.com"),
    _token(r"dapi[0-9a-f]{32}(?:-\d)?", "dapi", source="docs.databricks.com"),
    _token(r"HRKU-[\w-]{36,64}", "HRKU-", source="devcenter.heroku.com"),
    _key(r"LTAI[A-Za-z0-9]{12,24}", "LTAI", source="alibabacloud.com/help"),
    _key(r"AKID[A-Za-z0-9]{32,36}", "AKID", source="tencentcloud.com/document"),
    _token(r"cf(?:at|ut|k)_[A-Za-z0-9]{40,56}", "cf", source="developers.cloudflare.com"),
    _token(r"sb(?:p|_secret)_[\w-]{20,60}", "sbp_", "sb_secret_", source="supabase.com/docs"),
    _token(r"pscale_(?:tkn|oauth|pw)_[\w.-]{32,64}", "pscale_", source="planetscale.com/docs"),
    _token(r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,70}", ".atlasv1.", source=VAULT),
    _token(r"hv[bsr]\.[\w-]{24,300}", "hv", source=VAULT),
    _token(r"dp\.[a-z]{2,5}\.(?:\w+\.)?[A-Za-z0-9]{40,44}", "dp.", source="docs.doppler.com"),
    _token(r"pul-[0-9a-f]{40}", "pul-", source="pulumi.com/docs"),
    _token(r"tskey-[a-z]+-\w{10,40}(?:-\w{20,60})?", "tskey-", source="tailscale.com/kb"),
    _token(r"ops_eyJ[\w-]{100,4000}", "ops_eyJ", source="developer.1password.com"),
    _token(r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}", "glsa_", source="grafana.com/docs"),
    _token(r"glc_eyJ[\w+/=-]{60,400}", "glc_eyJ", source="grafana.com/docs"),
    _key(r"NR(?:AK|BR|II|JS|RA)-[\w-]{19,48}", "NR", source="docs.newrelic.com"),
    # Messages and money
    _token(r"xox[a-z](?:\.xox[a-z])?-[\w-]{10,250}", "xox", source=SLACK),
    _token(r"xapp-\d-[\w-]{20,200}", "xapp-", source=SLACK),
    _token(r"(?:[spr]k_(?:live|test|prod)|whsec)_[\w+/=]{16,250}", "k_", "whsec_", source=STRIPE),
    _token(r"SG\.[\w-]{16,32}\.[\w-]{16,64}", "SG.", source="twilio.com/docs/sendgrid"),
    _key(r"(?:SK|AC)[0-9a-f]{32}", "SK", "AC", source="twilio.com/docs/glossary/what-is-a-sid"),
    _key(r"key-[0-9a-z]{32}", "key-", source="documentation.mailgun.com"),
    _key(r"[0-9a-f]{32}-us\d{1,2}", "-us", source="mailchimp.com/developer"),
    _key(r"xkeysib-[0-9a-f]{64}-\w{16}", "xkeysib-", source="developers.brevo.com"),
    _token(r"\d{8,10}:AA[\w-]{32,35}", ":AA", source="core.telegram.org/bots/api"),
    _token(r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}", "M", "N", "O", source=DISCORD),
    _token(r"EAA[A-Za-z0-9]{80,400}", "EAA", source="developers.facebook.com/docs"),
    _token(r"(?:EAAA|sq0[a-z]{3}-)[\w-]{22,64}", "EAAA", "sq0", source="developer.squareup.com"),
    _token(r"shp(?:at|ca|pa|ss|tka|ua)_[0-9a-fA-F]{32,64}", "shp", source="shopify.dev/docs"),
    _token(r"access_token\$production\$\w{16}\$\w{32}", "access_token$", source=PAYPAL),
    # The work itself
    _key(r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}", "lin_", source="linear.app/developers"),
    _token(r"ntn_[A-Za-z0-9]{40,60}", "ntn_", source="developers.notion.com"),
    _token(r"secret_[A-Za-z0-9]{43}", "secret_", source="developers.notion.com"),
    _token(r"fig[du]_[\w-]{36,60}", "fig", source="developers.figma.com"),
    _key(r"PMA[KT]-[\w-]{26,64}", "PMA", source="learning.postman.com"),
    _token(r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}", "pat", source="airtable.com/developers"),
    _token(r"tfp_[\w-]{40,64}", "tfp_", source="typeform.com/developers"),
    _token(r"CFPAT-[\w-]{40,48}", "CFPAT-", source="contentful.com/developers"),
    _token(r"ph[acrsx]_[A-Za-z0-9]{40,60}", "ph", source="posthog.com/docs"),
    _token(r"sl\.(?:u\.)?[\w-]{100,1400}", "sl.", source="dropbox.com/developers"),
    # Any issuer
    _token(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*", "eyJ", source="RFC 7519"),
    _token(r"v[1-4]\.(?:local|public)\.[\w.-]{30,3000}", ".local.", ".public.", source="paseto.io"),
    _key(r"AGE-SECRET-KEY-1[0-9A-Z]{58}", "AGE-SECRET-KEY-", source="age-encryption.org/v1"),
    _key(r"(?:[xyztuv]prv)[1-9A-HJ-NP-Za-km-z]{100,112}", "prv", source="BIP 32"),
    Format(
        "password",  # its hash, which is guessed from
        re.compile(r"\$(?:1|2[abxy]|5|6|7|y|gy|apr1|argon2(?:id|i|d)|scrypt)\$[\w./$=,+-]{20,300}"),
        ("$1$", "$2", "$5$", "$6$", "$7$", "y$", "$apr1$", "$argon2", "$scrypt$"),
        "crypt(5)",
    ),
    Format(
        "webhook",
        re.compile(r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[\w/-]{20,200}"),
        ("hooks.slack.com/",),
        SLACK,
    ),
    Format(
        "webhook",
        re.compile(r"(?<=/api/webhooks/)\d{16,22}/[\w-]{40,100}"),
        ("/api/webhooks/",),
        DISCORD,
    ),
    Format(
        "webhook",
        re.compile(r"(?<=webhook\.office\.com/)webhookb2/[\w@/-]{40,300}"),
        ("webhook.office.com/",),
        "learn.microsoft.com/microsoftteams",
    ),
)  # fmt: skip

# RFC 7468, RFC 4880 and OpenSSH's; in a diff, in quotes, after line numbers; whole or cut off.
_BEGIN = r"-{4,5} ?BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_FINAL = r"-{4,5} ?END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_KEY_LINE = r"(?>[^\n]{0,16}[A-Za-z0-9+/]{40,}={0,2}[^\nA-Za-z0-9]{0,4})"
PRIVATE_KEYS = (
    Format(
        "private-key",
        re.compile(rf"{_BEGIN}(?:(?!{_BEGIN})[\s\S]){{0,40000}}?{_FINAL}"),
        ("PRIVATE KEY",),
        "RFC 7468",
    ),
    Format(  # the end is missing
        "private-key",
        re.compile(
            rf"{_BEGIN}(?:(?:[\s+>|\"',-]|\\[nr]|\d+[:|])*[A-Za-z0-9+/=]{{16,}}[^\nA-Za-z0-9]{{0,4}})*"
        ),
        ("PRIVATE KEY",),
        "RFC 7468",
    ),
    Format(  # the beginning is missing
        "private-key",
        re.compile(rf"(?:^{_KEY_LINE}\n){{1,400}}+[^\n]{{0,100}}\n?[^\n]{{0,16}}{_FINAL}", re.M),
        ("PRIVATE KEY",),
        "RFC 7468",
    ),
    Format(
        "private-key",
        re.compile(r"(?<=Private-Lines: )\d+\r?\n(?:[^\n]{0,12}[A-Za-z0-9+/=]{4,}\r?\n?){1,100}"),
        ("Private-Lines: ",),
        "PuTTY's manual, appendix C",
    ),
)  # fmt: skip
