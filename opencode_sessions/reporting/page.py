"""The page around the sessions: one file, which asks nothing of anybody.

Its Content-Security-Policy lets run what hashes to our own script, and load nothing at all: were
ever a text of an agent's to reach it as markup, it would still do nothing.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from ..showing.panels import STYLE
from ..shown import escaped, number_of

STATIC = Path(__file__).parent / "static"
TIMELINE = Path(__file__).parents[1] / "widgets" / "static" / "timeline.js"
KEYS = (
    ("/", "search"),
    ("j k", "next, previous event"),
    ("n p", "next, previous turn"),
    ("e", "next failure"),
    ("o", "open all, close all"),
    ("t", "light or dark"),
    ("Esc", "leave the search"),
)


VERSION = version("opencode-sessions")


@cache
def script() -> str:
    """The timeline's own script and the page's, as one module."""
    own = (STATIC / "report.js").read_text(encoding="utf-8")
    return f"{TIMELINE.read_text(encoding='utf-8')}\n{{\n{own}}}\n"


@cache
def _style() -> str:
    return STYLE + (STATIC / "report.css").read_text(encoding="utf-8")


def page_html(
    heading: str, about: str, body: str, notes: Sequence[str], replaced: pd.DataFrame | None
) -> str:
    """The whole page; heading and notes are text, `about` and `body` HTML."""
    code = script()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " base-uri 'none'; form-action 'none'"
    )
    keys = "".join(f"<dt>{keys}</dt><dd>{does}</dd>" for keys, does in KEYS)
    about = f"<p class='soft'>{about}</p>" if about else ""
    said = "".join(f"<p class='note'>{escaped(note)}</p>" for note in notes if note)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='referrer' content='no-referrer'>"
        f"<meta name='generator' content='opencode_sessions {VERSION}'>"
        f"<title>{escaped(heading)}</title><style>{_style()}</style></head><body class='ocs'>"
        "<nav aria-label='Search'><div class='bar'><a href='#top' class='home'>"
        f"{escaped(heading)}</a><div class='search' role='search'>"
        "<input type='search' id='search' placeholder='search  /' aria-label='Search this page'"
        " autocomplete='off' spellcheck='false'>"
        "<output id='hits' aria-live='polite'></output></div>"
        "<div class='tools'><button id='fold' title='Open all, close all (o)'>open all</button>"
        "<button id='theme' title='Light or dark (t)'>dark</button></div></div></nav>"
        f"<main id='top'><header class='top'><h1>{escaped(heading)}</h1>"
        f"{about}{said}</header>{body}{_replaced_html(replaced)}"
        f"<footer class='soft'><details><summary>Keys</summary><dl>{keys}</dl></details>"
        f"<p>Made by opencode_sessions {VERSION}. This page loads nothing and sends nothing."
        "</p></footer></main>"
        f"<script type='module'>{code}</script></body></html>\n"
    )


def _replaced_html(replaced: pd.DataFrame | None) -> str:
    """What was taken out before anybody else saw it."""
    if replaced is None:
        return ""
    if replaced.empty:
        nothing = "<p class='note'>Nothing was found.</p>"
        return f"<section id='replaced'><h2>Replaced</h2>{nothing}</section>"
    marks = replaced.groupby(["kind", "mark"], as_index=False)["count"].sum()
    total = marks.groupby("kind").agg(different=("mark", "size"), times=("count", "sum"))
    rows = "".join(
        f"<tr><th scope='row'>{escaped(str(kind))}</th>"
        f"<td>{number_of(different, 'different one')}</td><td>{number_of(times, 'place')}</td></tr>"
        for kind, different, times in total.itertuples()
    )
    return (
        "<section id='replaced'><h2>Replaced</h2><p class='soft'>The same mark stands for the"
        " same secret. What one was cannot be told from it.</p>"
        f"<table class='plain'>{rows}</table></section>"
    )
