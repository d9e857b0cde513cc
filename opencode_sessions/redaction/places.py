"""Whose machine it is: homes, hosts, e-mail addresses, connections.

Hosts that everybody knows stay, and so do names that mean any machine at all.
"""

import re
from collections.abc import Iterator

from .formats import words
from .named import is_random, is_template

# Two letters are a country's; the rest are those one meets.
_ENDING = (
    r"(?:[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|pro|dev|app|cloud|tech|online|site"
    r"|email|company|agency|digital|systems|software|solutions|services|group|team|works|space|xyz"
    r"|bank|health|law|legal|local|lan|internal|corp|intra|home)"
)
EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9_][\w.+%-]{0,63}@(?!\d+\.\d)"
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.){{1,6}}{_ENDING}(?![\w-])(?!\.\w)",
    re.I,
)
# Not a letter of a longer path: `src/home/x` is a folder like any other.
_ROOT = r"(?:(?<![\w.\-/\\%])|(?<=\.\./)|(?<=-[IL])|(?<=://)|(?<=:///)|(?<=localhost))"
HOMES = (
    re.compile(
        _ROOT + r"(?:/(?:private|host|mnt/[a-z]|[a-z]))?"
        r"/(?:(?:var|usr|export|data|System/Volumes/Data)/)?"
        r"(?:home|Users)/(?P<value>[^/\\\s\"'`<>:;|*?$(){}\[\],=#&%@]{1,64})"
    ),
    re.compile(
        r"(?i:[a-z]:|\\\\[\w$.-]+|/[a-z]|\bwsl\$?)[\\/]{1,4}(?:[\w$.-]{1,30}[\\/]{1,4})?"
        r"(?:Users|home|Documents and Settings)[\\/]{1,4}"
        r"(?P<value>[^\\/:*?\"'<>|\r\n\[\]]{1,64}(?=[\\/])"
        r"|[^\\/:*?\"'`<>|\s\[\],;)]{1,64})"
    ),
)
# Accounts of no person; the folder of one tells nothing.
ACCOUNTS = words(
    "all admin administrator app builder ci codespace default deno dev developer docker gitpod"
    " guest home jovyan linuxbrew main me node nobody public root runner runneradmin shared test"
    " tests tmp ubuntu ubuntu-user user username users vagrant vscode work worker workspace you"
    " yourname"
)
PLACEHOLDERS = words("pass password passwd pwd secret pw ***")  # in everybody's examples
REPOSITORIES = frozenset(("git", "hg", "svn"))
REMOTES = ("ssh", "scp", "sftp", "rsync", "mosh", "ping", "telnet", "nc ", "psql", "mysql")
DIGESTS = ("sha256", "sha512")  # image:tag@sha256:...
INNER = (".local", ".lan", ".int", ".corp", ".private", ".arpa")
HOSTLIKE = ("host", "server", "source", "endpoint", "domain", "nodename")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}\.){{0,8}}{_LABEL}"
_SCHEME = r"(?<![A-Za-z0-9])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,40})://"
_AT = (
    rf"(?P<host>\[[0-9a-fA-F:.]{{2,45}}\]|{_HOST})(?P<more>(?:,{_HOST}(?::\d+)?)*)"
    r"(?=[\s/?#:\"'`<>\\),;\]}*]|$|\.(?:\s|$))"
)
# RFC 3986: what is before the @ and the host after it.
AUTHORITY = re.compile(
    rf"{_SCHEME}(?:(?P<user>[^\s/?#@\"'`<>\\]{{0,300}}(?:@[^\s/?#@\"'`<>\\]{{1,100}})?)@)?{_AT}"
)
# As people write it: a password with signs that RFC 3986 has escaped, up to the last @ before a
# host, or before what stands for one.
LOOSE = re.compile(
    rf"{_SCHEME}(?P<user>[^\s/?#@:\"'`<>\\]{{0,100}}):"
    rf"(?P<password>(?:(?!://)[^\s\"'`<>\\]){{1,300}})@(?:{_AT}|(?=[$%{{]))"
)
PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")
DATABASES = re.compile(
    r"(?i)postgres|mysql|maria|mongo|redis|valkey|amqp|mssql|sqlserver|oracle|clickhouse|cockroach"
)
PROMPT = re.compile(
    rf"(?<![\w.@/-])(?P<user>[a-z_][\w.-]{{1,31}})@(?P<host>{_HOST})(?=:[~/]|\s[~/]\S{{0,100}}\s?[%$#])"
)
REMOTE = re.compile(
    r"\b(?:ssh|scp|sftp|rsync|mosh|ping|telnet|nc|psql -h|mysql -h)\s(?:-\S+\s+(?:\d+\s+)?)*"
    rf"(?:(?P<user>[\w.-]{{1,32}})@)?(?P<host>{_HOST}\.[A-Za-z]{{2,24}})\b"
)
INTERNAL = re.compile(
    rf"(?<![\w.@/-])(?P<host>(?:{_LABEL}\.){{1,8}}"
    r"(?:local|lan|internal|intranet|intra|corp|private|localdomain|home\.arpa))(?![\w(\[=-]|\.\w)"
)
NAMED_HOST = re.compile(  # in small letters
    r"(?<!local)(?:host|host_?name|server|data source|endpoint|domain|nodename)[\"']?"
    r"\s{0,8}[=:]\s{0,8}[\"']?"
    rf"(?:tcp:)?(?P<host>(?!self\.|this\.|args\.|os\.)(?:{_LABEL}\.){{1,8}}{_ENDING})(?=[\s\"',;:/)}}\]]|$)"
)
ADDRESS = re.compile(
    r"(?<![\w.%+-])(?P<host>(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3})(?![\w%+-]|\.\d)"
)
OPEN_ADDRESSES = re.compile(  # RFC 6890 and RFC 5737, and resolvers that everybody asks
    r"(?:127|0|255|22[4-9]|23\d)\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|.*\.0$"
    r"|1\.1\.1\.1$|8\.8\.[48]\.[48]$"
)
# Hosts that everybody knows say nothing about anybody. By their last part.
KNOWN = {
    "com": words(
        "github githubusercontent githubassets gitlab google googleapis gstatic youtube microsoft"
        " visualstudio stackoverflow stackexchange npmjs yarnpkg unpkg jsdelivr cloudflare docker"
        " amazon openai anthropic claude readthedocs medium atlassian apple mozilla oracle redhat"
        " ubuntu jetbrains nvidia facebook twitter x reddit linkedin wikipedia mysql mongodb"
        " golang sublimetext w3schools geeksforgeeks digitalocean heroku slack garmin topografix"
    ),
    "org": words(
        "python pypi pythonhosted wikipedia wikimedia mozilla apache gnu kernel debian w3 ietf"
        " iana iso npmjs nodejs rust-lang readthedocs eclipse postgresql sqlite json-schema schema"
        " opensource creativecommons openstreetmap numpy scipy pandas pydata matplotlib jupyter"
        " sphinx-doc sqlalchemy djangoproject palletsprojects pytest ecma-international unicode"
        " keepachangelog contributor-covenant editorconfig openssl llvm archive arxiv doi xmlsoap"
        " typescriptlang semver openxmlformats purl editorconfig webassembly whatwg"
    ),
    "net": words("jsdelivr php"),
    "io": words("github readthedocs gitlab npmjs shields kubernetes docker crates opentelemetry"),
    "ai": words("opencode openrouter"),
    "dev": words("go vite web opencode models flutter dart astral react pydantic deps"),
    "rs": words("docs crates"),
    "co": words("huggingface"),
    "sh": words("bun astral"),
    "land": words("deno"),
    "edu": words("mit"),
}
OPEN_HOSTS = re.compile(
    r"(?i)(?:.*\.)?(?:localhost|example|invalid|test|example\.(?:com|org|net|edu))$|\d+$|\[::1?\]$"
    r"|host\.docker\.internal$|kubernetes\.default"
)
SERVICES = words(  # as the machines of one compose file are called
    "db database postgres postgresql mysql mariadb redis mongo mongodb rabbitmq kafka host hostname"
    " elasticsearch server web api app backend frontend proxy nginx minio cache queue worker"
)


def is_open(host: str) -> bool:
    """Whether this is a host that everybody knows, has, or means as an example."""
    if OPEN_HOSTS.match(host) or host.lower() in SERVICES:
        return True
    if ADDRESS.fullmatch(host):
        return OPEN_ADDRESSES.match(host) is not None
    if "." not in host:
        return False
    *_, owner, last = host.lower().rstrip(".").rsplit(".", 2)
    return owner in KNOWN.get(last, ())


def places(text: str, small: str) -> Iterator[tuple[str, int, int]]:
    """Whose machine it is: users, hosts, e-mail addresses, and connections: kind, start, end."""
    if "home" in small or "users" in small or "documents and" in small:
        for pattern in HOMES:
            for found in pattern.finditer(text):
                if found["value"].casefold() not in ACCOUNTS and found["value"].strip(". "):
                    yield ("user", *found.span("value"))
    if "@" in text:
        for found in EMAIL.finditer(text):
            user, _, host = found[0].partition("@")
            if not OPEN_HOSTS.match(host) and not (user in REPOSITORIES and is_open(host)):
                yield ("email", *found.span())
        yield from _logins(PROMPT, text)
    if "://" in text:
        for found in AUTHORITY.finditer(text):
            yield from _authority(found)
        for found in LOOSE.finditer(text):
            if _is_password(found):
                yield ("connection", found.start("user"), _end(found, "password"))
    if any(word in small for word in REMOTES):
        yield from _logins(REMOTE, text)
    for pattern, hints in ((INTERNAL, INNER), (NAMED_HOST, HOSTLIKE)):
        if any(hint in small for hint in hints):
            for found in pattern.finditer(small):
                host = found["host"]
                if not is_open(host) and (pattern is NAMED_HOST or _is_machine(host)):
                    yield ("host", *found.span("host"))
    for found in ADDRESS.finditer(text):
        if not OPEN_ADDRESSES.match(found["host"]):
            yield ("host", *found.span("host"))


def _logins(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, int, int]]:
    for found in pattern.finditer(text):
        if found["user"] and found["user"] not in ACCOUNTS | REPOSITORIES:
            yield ("user", *found.span("user"))
        if not is_open(found["host"]):
            yield ("host", *found.span("host"))


def _is_machine(host: str) -> bool:
    """Whether a name with an inner ending is a machine's: `threading.local` is code."""
    is_deep = host.count(".") > 1 or host.endswith((".corp", ".lan", ".arpa", ".localdomain"))
    return is_deep or re.search(r"[\d-]", host) is not None


def _is_password(found: "re.Match[str]") -> bool:
    """Whether what is between a colon and an @ is one: `unpkg.com:443/react@18` has a port."""
    password = found["password"]
    is_code = password.startswith("{") and password.endswith("}")
    if is_code or is_template(password) or password.casefold() in PLACEHOLDERS:
        return False
    is_port = PORT.match(password) and ("?" in password or not DATABASES.match(found["scheme"]))
    return not is_port and found["host"] not in DIGESTS


def _end(found: "re.Match[str]", before: str) -> int:
    """The end of a connection: of its hosts, unless everybody knows the only one."""
    is_whole = found["host"] and (found["more"] or not is_open(found["host"]))
    return found.end("more" if is_whole else before)


def _authority(found: "re.Match[str]") -> Iterator[tuple[str, int, int]]:
    user, host = found["user"], found["host"]
    if user and is_template(user):
        user = None
    if host in DIGESTS:
        return
    if user and ":" in user and user.partition(":")[2].casefold() not in PLACEHOLDERS:
        yield ("connection", found.start("user"), _end(found, "user"))
        return
    if user and ":" not in user and user not in ACCOUNTS | REPOSITORIES:
        # Alone it may be a key, as an error tracker's.
        yield ("key" if is_random(user) else "user", *found.span("user"))
    if not is_open(host):
        yield (
            "host",
            found.start("host"),
            found.end("more") if found["more"] else found.end("host"),
        )
