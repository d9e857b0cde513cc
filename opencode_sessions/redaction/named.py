"""What is secret for the name beside it: assignments, flags, headers, cookies, links.

A finder yields the value alone, so that the code around it stays as it is. A value is left where it
plainly is none: a variable, a call, a placeholder, the name of a thing.
"""

import re
from collections.abc import Iterator

# A name ends in what it is, whatever stands before: `DB_PASSWORD`, `client-secret`, `githubToken`.
# In small letters: the text is searched in them, as that is several times faster than (?i).
NAME = (
    r"(?:(?<!by)(?<!com)pass(?:word|wd|phrase|code)?|passwd|pwd|secret|token|credentials?|api[_-]?key"
    r"|(?:access|account|auth|client|db|encryption|hmac|master|private|secret|service|shared"
    r"|signing|storage|session|license)[_-]?(?:access[_-]?)?key(?:[_-]?id)?"
    r"|auth|bearer|cookie|otp|pin[_-]?code)"
    r"(?:[_-]?(?:value|string|base64|base|b64|id|hash|\d))?"
)
_OPEN = r"(?:\\*[\"'`])"
# name = "value", "name": "value", name: str = "value", name => 'value', also with escaped quotes.
QUOTED = re.compile(
    rf"(?P<name>{NAME}){_OPEN}?\]?(?:\s?:\s?[\w\[\]. |]{{1,30}})?\s{{0,8}}(?:=>|:=|[:=])\s{{0,8}}"
    rf"[rbfu]{{0,2}}(?P<quote>{_OPEN})(?P<value>(?:(?!(?P=quote))[^\r\n]){{4,4000}})(?P=quote)"
)
# NAME=value of a shell or an env file, `name: value` of YAML, `name=value;` of a connection string.
BARE = re.compile(
    rf"(?P<name>{NAME})(?:=|:[ \t]{{0,4}}|[ \t]{{1,3}}=[ \t]{{1,3}})"
    r"(?P<value>[^\s\"'`;&,<>(){}\[\]|]{6,2000})(?=[\s\"'`;&,<|)}\]]|$)"
)
# --password value, -token=value.
FLAG = re.compile(
    rf"(?:^|[\s\"'])--?(?:[\w-]{{0,30}}?)(?P<name>{NAME})(?:=|\s+)[\"']?"
    r"(?P<value>[^\s\"'`;|&<>(){}]{4,2000})"
)
# <password>value</password>, define('DB_PASSWORD', 'value'), setPassword("value").
ELEMENT = re.compile(rf"<[\w.:-]{{0,30}}?(?P<name>{NAME})>(?P<value>[^<\r\n]{{4,400}})</")
CALL = re.compile(
    rf"\b(?:(?:define|setenv)\(\s?[\"']\w{{0,60}}?|set\w{{0,30}}?)(?P<name>{NAME})"
    r"(?:[\"'],|\()\s?(?P<quote>[\"'])(?P<value>(?:(?!(?P=quote))[^\r\n]){4,400})(?P=quote)"
)
IS_NAME = re.compile(rf"(?P<name>{NAME})$")
COMMANDS = (
    re.compile(
        r"\b(?:curl|wget|http)\b[^\n]{0,400}?\s(?:-u|--user|--proxy-user|-a|--auth)[ =]?[\"']?"
        r"[^\s:\"']{1,80}:(?P<value>[^\s\"'$@]{3,200})"
    ),
    re.compile(
        r"\b(?:mysql|mysqldump|mariadb|mongo|mongosh|sshpass)\b[^\n]{0,300}?\s-p ?[\"']?"
        r"(?P<value>(?!assword|ort)[^\s\"'$]{4,200})"
    ),
    re.compile(
        r"\b(?:docker|podman|helm|npm)\s+login\b[^\n]{0,300}?\s-p\s+[\"']?"
        r"(?P<value>[^\s\"'$]{4,200})"
    ),
    re.compile(r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(?P<value>\S{3,200})"),  # .netrc
    re.compile(r"(?i)\bIDENTIFIED\s+(?:WITH\s+\w+\s+)?BY\s+[\"'](?P<value>[^\"'\n]{3,200})[\"']"),
    re.compile(
        r"(?i)\b(?:ROLE|USER)\s+\S+\s[^;\n]{0,120}?\bPASSWORD\s+[\"'](?P<value>[^\"'\n]{3,200})[\"']"
    ),
    re.compile(  # .pgpass
        r"^[\w.-]{1,100}:(?:\d{2,5}|\*):[\w*-]{1,60}:[\w*.-]{1,60}:(?P<value>[^\s:]{4,200})$", re.M
    ),
)
# OPENWEATHER_KEY=value: of an environment, where a key of a table would have a name of words.
KEY = re.compile(r"\b[A-Z][A-Z0-9_]{0,60}_KEY=[\"']?(?P<value>[A-Za-z0-9+/_-]{20,200}={0,2})(?!\w)")
# RFC 9110: the scheme stays, what it proves goes.
HEADER = re.compile(
    r"(?i)\b(?:proxy-)?authorization[\"'\]]{0,2}\s*[:=]\s*[bfr]?[\"'`]?"
    r"(?:(?:basic|bearer|token|digest|apikey|bot|negotiate|ntlm|aws4-hmac-sha256)\s+)?"
    r"(?P<value>[^\s\"'`\\,;{}$<]{6,4000})"
)
BEARER = re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/-]{12,4000}={0,2})")
COOKIE = re.compile(
    r"(?i)\b(?:set-)?cookie[\"']?\s*:\s*[\"']?"
    r"(?P<value>[\w.-]{1,60}=[^\s\"'\\;]{1,2000}(?:;\s*[\w.-]{1,60}=[^\s\"'\\;]{1,2000}){0,40})"
)
QUERY = re.compile(
    r"(?i)[?&](?:[\w-]{0,30}(?:token|key|secret|password|passwd|pwd|auth|signature|credential)"
    r"|sig|code|x-amz-[\w-]+)=(?P<value>[^&\s\"'`<>#\\]{6,2000})"
)

# A variable, a template, or somebody's word for "put yours here".
PLACEHOLDER = re.compile(
    r"(?i)<|\$\w|your|my[-_ ]|change[-_ ]?me|place[-_ ]?holder|redacted|example|sample|dummy|insert"
    r"|todo|(?:none|null|nil|true|false|undefined|string|str|optional|required|bytes|text)\W?$"
    r"|process\.env|os\.|env\.|getenv|import\.meta|config\.|settings\.|self\.|this\.|args\."
    r"|options\.|request\.|req\.|secrets\.|var\.|vault:"
)
TEMPLATE = re.compile(r"\$[{(]|\{\{|\{\w*\}|%\(|%s|\*{3}|x{4}|X{4}|\.{3}|…")
# The names of things: snake_case, kebab-case, CamelCase, dotted.
WORDS = re.compile(
    r"[A-Za-z]?[a-z]*+(?:[ _./:=-]?[A-Z]?[a-z]++)*+\W?|[A-Z]++(?:[_-][A-Z]++)*+", re.ASCII
)
PATH = re.compile(r"(?:~\w*|\.{1,2})?/|[A-Za-z]:[\\/]")
# No token has these in it; code and patterns do.
CODE = re.compile(r"[()\[\]{}|<>\\,;\s]|\.$")
NUMBERED = re.compile(r"[A-Za-z_.-]+\d{1,2}")  # the name of a thing, and its number
# Names whose every value is a password; of the others, it has to look random.
PASSWORD = re.compile(
    r"(?i)(?:pass(?:word|wd|phrase|code)?|passwd|pwd)(?:[_-]?(?:value|string|\d))?$"
)


def values(text: str, small: str) -> Iterator[tuple[str, int, int]]:
    """Values that a name beside them gives away: kind, start, end."""
    for pattern in (QUOTED, BARE, FLAG, ELEMENT, CALL):
        at = 0
        while (found := pattern.search(small, at)) is not None:
            start, end = found.span("value")
            if kind := kind_of(found["name"], text[start:end], is_bare=pattern is BARE):
                yield kind, start, end
            at = start  # a value may hold another name with its value
    for pattern in COMMANDS:
        for found in pattern.finditer(text):
            if not is_template(found["value"]):
                yield ("password", *found.span("value"))
    for pattern in (HEADER, BEARER, QUERY, KEY):
        for found in pattern.finditer(text):
            if is_token(found["value"]):
                yield ("token", *found.span("value"))
    for found in COOKIE.finditer(text):
        pairs = (pair.partition("=")[2] for pair in found["value"].split(";"))
        if any(is_random(value) for value in pairs):
            yield ("token", *found.span("value"))


def kind_of(name: str, value: str, *, is_bare: bool = False) -> str | None:
    """What a value with a telling name is; None for a word, a variable, a call."""
    if len(value) < 4 or is_template(value) or value.endswith(("(", "[", "{")):
        return None
    is_password = PASSWORD.search(name) is not None
    kind = "password" if is_password else "token"
    if is_password and PATH.match(value):  # PWD=/srv/shop
        return None
    if is_password and not is_bare:
        said = value.casefold()
        is_word = WORDS.fullmatch(value) and (" " in value or re.search("pass|secret|token", said))
        return None if is_word else kind
    if is_password:
        return kind if is_random(value) else None
    return kind if is_token(value) and not NUMBERED.fullmatch(value) else None


def is_token(value: str) -> bool:
    """Whether a value looks random, and is no code."""
    return is_random(value) and not CODE.search(value) and not is_template(value)


def is_random(value: str) -> bool:
    """Whether a value looks as if nobody had chosen it to be read."""
    if len(value) < 8 or " " in value or WORDS.fullmatch(value) or len(set(value)) < 5:
        return False
    digits, lower, upper = (
        sum(map(test, value)) for test in (str.isdigit, str.islower, str.isupper)
    )
    if digits:
        return bool(lower or upper)
    has_sign = any(not letter.isalnum() and letter not in "_-.:/=" for letter in value)
    return (has_sign and len(value) >= 10) or (
        len(value) >= 20 and min(lower, upper) * 4 > len(value)
    )


def is_template(value: str) -> bool:
    """Whether a value stands for one that is elsewhere."""
    return bool(PLACEHOLDER.match(value) or TEMPLATE.search(value))
