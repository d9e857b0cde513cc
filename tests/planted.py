"""Secrets of every kind we know, made up, and how they come to stand in a session."""

import base64
import contextlib
import html
import json
import random
import re
import string
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


class Planted(NamedTuple):
    """What must be gone (`secret`), and the line it stands in."""

    kind: str
    secret: str
    line: str


def _made(seed: str, count: int, letters: str = LETTERS) -> str:
    return "".join(random.Random(seed).choices(letters, k=count))


def _jwt() -> str:
    parts = ['{"alg":"HS256","typ":"JWT"}', '{"sub":"4711","name":"Ana"}']
    encoded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, _made("jwt", 43)])


def private_key(seed: str = "pem", name: str = "RSA PRIVATE KEY", lines: int = 6) -> str:
    body = "\n".join(_made(f"{seed}{n}", 64, LETTERS + "+/") for n in range(lines))
    return f"-----BEGIN {name}-----\n{body}\n-----END {name}-----"


def token(kind: str, beginning: str, count: int, letters: str = LETTERS, end: str = "") -> Planted:
    secret = f"{beginning}{_made(kind, count, letters)}{end}"
    return Planted(kind, secret, f"curl -H 'X-Given: {secret}' localhost:8080")


TOKENS = [
    token("anthropic", "sk-ant-api03-", 93),
    token("openai", "sk-proj-", 74),
    token("openai-old", "sk-", 48),
    token("openrouter", "sk-or-v1-", 64, HEX),
    token("groq", "gsk_", 52),
    token("huggingface", "hf_", 34),
    token("github", "ghp_", 36),
    token("github-fine", "github_pat_", 82),
    token("gitlab", "glpat-", 20),
    token("npm", "npm_", 36),
    token("index", "pypi-AgEIcHlwaS5vcmc", 70),
    token("docker", "dckr_pat_", 27),
    token("aws-id", "AKIA", 16, string.ascii_uppercase + string.digits),
    token("google", "AIza", 35),
    token("google-oauth", "GOCSPX-", 28),
    token("azure", "abc8Q~", 34),
    token("digitalocean", "dop_v1_", 64, HEX),
    token("databricks", "dapi", 32, HEX),
    token("vault", "hvs.", 90),
    token("slack", "xoxb-123456789012-", 24),
    token("stripe", "sk_live_", 24),
    token("sendgrid", "SG.", 22, end="." + _made("sg", 43)),
    token("twilio", "SK", 32, HEX),
    token("telegram", "123456789:AA", 33),
    token("shopify", "shpat_", 32, HEX),
    token("linear", "lin_api_", 40),
    token("figma", "figd_", 40),
    token("tailscale", "tskey-auth-", 17, end="-" + _made("ts", 32)),
    token("age", "AGE-SECRET-KEY-1", 58, string.ascii_uppercase + string.digits),
    Planted("jwt", _jwt(), f"session={_jwt()}"),
    token("crypt", "$6$saltsalt$", 86),
]  # fmt: skip


def named(kind: str, secret: str, line: str) -> Planted:
    return Planted(kind, secret, secret.join(line.rsplit("SECRET", 1)))


NAMED = [
    named("password", "hunter2!Blue", 'db_password = "SECRET"'),
    named("password-env", "Tr0ub4dorAnd3", "export PGPASSWORD=SECRET"),
    named("password-yaml", "n0tSoGoodOne", "  password: SECRET"),
    named("password-flag", "S0meFlagValue", "mysqladmin --password SECRET status"),
    named("password-curl", "c4rlUserPass", "curl -u ana:SECRET localhost"),
    named("password-sql", "sqlR0lePass", "CREATE USER app WITH PASSWORD 'SECRET';"),
    named("aws-secret", _made("aws", 40, LETTERS + "+/"), 'aws_secret_access_key = "SECRET"'),
    named("api-key", _made("key", 32, HEX), 'headers = {"api-key": "SECRET"}'),
    named("bearer", _made("bearer", 40), "Authorization: Bearer SECRET"),
    named("basic", base64.b64encode(b"ana:opensesame77").decode(), "Authorization: Basic SECRET"),
    named("cookie", f"sid={_made('cookie', 32)}", "Cookie: SECRET"),
    named("cookie-after", _made("cookie2", 24), "Cookie: a=b; session=SECRET"),
    named("token-tight", _made("tight", 30), "token:SECRET"),
    named("key-base", _made("base", 32, HEX), "SECRET_KEY_BASE=SECRET"),
    named("key-env", _made("env", 32, HEX), "OPENWEATHER_KEY=SECRET"),
    named("password-xml", "opensesame", "<password>SECRET</password>"),
    named("password-php", "opensesame8", "define('DB_PASSWORD', 'SECRET');"),
    named("password-set", "opensesame9", 'user.setPassword("SECRET")'),
    named("signature", _made("sig", 44), "http://localhost/blob?sv=2024&sig=SECRET"),
    named("account-key", _made("azk", 86, LETTERS + "+/") + "==", "Account=x;AccountKey=SECRET;"),
    named("netrc", "netrcPassw0rd", "machine localhost login ana password SECRET"),
    named("connection", "app:pr0dPassw0rd@db7.acme-internal.net", "postgresql://SECRET:5432/shop"),
    named("connection-signs", "app:pr0d/Pa?s@s#1:x@db7.acme-internal.net",
          "DSN=postgresql+asyncpg://SECRET:5432/shop"),
    named("connection-at", "app:p@ss/w0rd@db7.acme-internal.net", "mysql://SECRET/shop"),
    named("connection-of", "pr0d/Pa@ssw0rd", "amqp://${MQ_USER}:SECRET@${MQ_HOST}:5672/v"),
    named("connection-port", "app:12345/xY9z", "postgres://SECRET@localhost/shop"),
    named("connection-web", "ana:tok/en@9z@git.acme.io", "https://SECRET/shop.git"),
    named("connection-redis", ":r3disPass@cache-3.acme.io", "redis://SECRET:6379/0"),
    named("sentry", _made("dsn", 32, HEX), "SENTRY=https://SECRET@o42.ingest.localhost/17"),
    named("webhook", f"services/T{_made('t', 8)}/B{_made('b', 8)}/{_made('w', 24)}",
          "https://hooks.slack.com/SECRET"),
    named("email", "ana.nowak@acme-widgets.com", "Reported-by: Ana <SECRET>"),
    named("home", "ananowak", "cat /home/SECRET/notes.md"),
    named("home-mac", "anan", "open /Users/SECRET/Desktop/x.png"),
    named("home-windows", "Ana Nowak", r"type C:\Users\SECRET\notes.txt"),
    named("host", "build7.acme-internal.net", "curl https://SECRET/health"),
    named("host-local", "anas-macbook.local", "ping anas-macbook.local"),
    named("host-prompt", "ana-thinkpad", "ana@SECRET:~/app$ ls"),
    named("address", "10.20.30.41", "listening on SECRET:8080"),
]  # fmt: skip
GIVEN = [named("given", "Project Falcon", "notes on SECRET"),
         named("given-joined", "project-falcon", "git clone localhost:SECRET.git")]  # fmt: skip
NAMES = ["Project Falcon"]
ALL = [*TOKENS, *NAMED, *GIVEN]


def wrapped(line: str) -> dict[str, str]:
    """The line in all that one meets it in."""
    half = len(line) // 2
    return {
        "plain": line,
        "json": json.dumps({"text": line}),
        "json in json": json.dumps({"text": json.dumps({"text": f'say "{line}"\n'})}),
        "unicode escapes": "".join(f"\\u{ord(letter):04x}" for letter in line),
        "link": f"http://localhost/?q={quote(line, safe='')}",
        "base64": base64.b64encode(line.encode()).decode(),
        "base64 in lines": base64.encodebytes(f"{line}\n{'#' * 90}".encode()).decode(),
        "colours": f"\x1b[31m{line[:half]}\x1b[0m\x1b[1m{line[half:]}\x1b[0m",
        "diff": f"@@ -1 +1,2 @@\n context\n+{line}\n",
        "read": f"<file>\n00001| # config\n00002| {line}\n</file>",
        "html": html.escape(line),
        "zero width": f"{line[:half]}\u200b{line[half:]}",
    }  # fmt: skip


def readings(text: str) -> set[str]:
    """The text, and what anybody can read in it: unescaped, decoded, without colours."""
    found, waiting = {text}, [text]
    while waiting and len(found) < 200:
        one = waiting.pop()
        plain = re.sub(r"\x1b\[[0-9;]*m|\u200b", "", one)
        unescaped = re.sub(
            r"\\(?:u([0-9a-f]{4})|(.))",
            lambda m: chr(int(m[1], 16)) if m[1] else {"n": "\n", "t": "\t"}.get(m[2], m[2]),
            one,
        )
        more = [plain, unescaped, unquote(one), html.unescape(one)]
        for run in re.findall(r"[A-Za-z0-9+/\n]{16,}={0,2}", one):
            with contextlib.suppress(ValueError):
                more.append(base64.b64decode(run, validate=False).decode())
        for new in more:
            if new not in found:
                found.add(new)
                waiting.append(new)
    return found


def left(texts: Iterable[str]) -> list[tuple[str, str]]:
    """The kinds of secrets that can still be read in these texts, each with where."""
    blob = "\n".join(reading for text in {*texts} for reading in readings(text))
    return [
        (planted.kind, blob[max(at - 60, 0) : at + 30])
        for planted in ALL
        if (at := blob.casefold().find(planted.secret.casefold())) >= 0
    ]
