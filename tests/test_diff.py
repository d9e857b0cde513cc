"""What an agent changed, as HTML: every line is there or counted, and none of it is markup."""

import re
import unicodedata
from html.parser import HTMLParser

import pytest
from bs4 import BeautifulSoup
from conftest import Recording
from hypothesis import example, given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.showing import colours, diff, panels
from opencode_sessions.showing.diff import diff_html, read_lines
from opencode_sessions.shown import escaped, visible

OURS = {"table", "tr", "td", "pre", "ins", "del", "span"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202eexe.txt\x1b[31m\x00"

SIGN = re.compile(r"⟨U\+[0-9A-F]{4,6}⟩|[␀-␡]")

# Lines a diff is made of, and anything at all: surrogates, controls, markup.
lines = st.one_of(
    st.text(st.characters(), max_size=30),
    st.sampled_from(
        ["@@ -1,2 +1,3 @@", "@@ -0,0 +1 @@", "--- a", "+++ b", "+x", "-x", " x", "\\ No"]
    ),
)
texts = st.lists(lines, max_size=20).map("\n".join)
kinds = st.sampled_from(["diff", "content", "new file", "new text"])
paths = st.sampled_from([None, "a.py", "a.md", "a.html", "a.js", "a.json", "Makefile", "a.what"])


class Page(HTMLParser):
    """The rows of a diff: each its class, and what stands in its cells."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append((dict(attrs)["class"] or "", []))
        elif tag == "td":
            self.rows[-1][1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][1][-1] += data

    def count(self, kind: str) -> int:
        return sum(name == kind for name, _ in self.rows)


@given(texts, kinds, st.integers(0, 12), paths)
@example(HOSTILE, "diff", 9, "a.html")
@example("-a\n-b\n+b\n+a\n c\n-d\n+d", "diff", 9, None)
@example(f"@@ -1 +1 @@\n-{HOSTILE}\n+{HOSTILE} ", "diff", 9, "a.py")
def test_any_text_in_no_markup_out_and_every_line_accounted_for(
    text: str, kind: diff.Kind, limit: int, path: str | None
) -> None:
    html = diff_html(text, kind, limit, path)
    page = Page(html)
    assert page.tags <= OURS
    assert page.attributes <= {"class", "colspan", "aria-label"}
    hides = {c for c in html if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert hides <= {"\t"}
    html.encode()

    read = read_lines(text, kind)
    left_out = _lines(text) - len(read)
    if kind == "diff" and not diff.has_hunks(text):  # what is removed and added again is one line
        for sign in "-+":
            marked = sum(line.startswith(sign) for line in text.split("\n"))
            assert marked - sum(line.mark == sign for line in read) == left_out
    else:
        assert left_out == 0 or kind == "diff"  # its headers
    shown = page.rows[: min(limit, len(read))]
    for line, (_, cells) in zip(read, shown, strict=False):
        assert cells[0] == str(line.old or "")
        assert cells[1] == str(line.new or "")
        assert cells[3] == visible(line.text, keep="\t")
    if hidden := len(read) - len(shown):
        assert page.rows[-1][1][0].startswith(f"{hidden} more lines are not shown")
    assert len(page.rows) == len(shown) + bool(hidden)


@given(st.text(st.characters(), max_size=40))
def test_what_is_escaped_shows_and_hides_nothing(text: str) -> None:
    assert not set(escaped(text)) & set("<>\"'")
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in visible(text))
    left = SIGN.sub("", visible(text))
    assert left == "".join(c for c in SIGN.sub("", text) if visible(c) == c)


def test_signs_say_which_character_they_stand_for() -> None:
    assert visible("a\x1b[1m\x00\x7f") == "a␛[1m␀␡"
    assert visible("txt.\u202eexe\u200b") == "txt.⟨U+202E⟩exe⟨U+200B⟩"
    assert visible("a\tb\n", keep="\t") == "a\tb␊"


def test_lines_are_numbered_by_the_hunks() -> None:
    text = "--- a\n+++ b\n@@ -3,3 +3,4 @@ def f\n a\n--- not a header\n+one\n+two\n b\n"
    assert [(line.mark, line.old, line.new, line.text) for line in read_lines(text)] == [
        ("@", None, None, "@@ -3,3 +3,4 @@ def f"),
        (" ", 3, 3, "a"),
        ("-", 4, None, "-- not a header"),
        ("+", None, 4, "one"),
        ("+", None, 5, "two"),
        (" ", 5, 6, "b"),
    ]


def test_a_line_that_replaces_another_has_the_changed_words_marked() -> None:
    html = diff_html("@@ -1 +1 @@\n-width: int = 5,\n+width: int = 3,")
    assert "width: int = <del>5</del>," in html
    assert "width: int = <ins>3</ins>," in html
    assert "<del>" not in diff_html("@@ -1 +1 @@\n-one two\n+(something else)")


def test_code_has_its_colours_within_the_marked_words() -> None:
    text = '@@ -1,2 +1,2 @@\n # note\n-def f(a=1):\n+def f(a="x"):\n'
    html = diff_html(text, path="src/units.py")
    assert "<span class='ocs-c'># note</span>" in html
    assert "<span class='ocs-k'>def</span> <span class='ocs-d'>f</span>" in html
    assert "<del><span class='ocs-n'>1</span></del>" in html
    assert "<ins><span class='ocs-s'>&quot;x&quot;</span></ins>" in html
    assert Page(html).rows[3][1][3] == 'def f(a="x"):'
    assert "<span" not in diff_html(text, path="notes.unknown")
    assert "<span" not in diff_html(text)


def test_an_exported_page_keeps_the_indentation() -> None:
    html = diff_html("@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 2\n", path="a.py")
    exported = str(BeautifulSoup(html, "html.parser"))  # as nbconvert makes a page
    assert Page(exported).rows == Page(html).rows
    assert Page(exported).rows[-1][1][3] == "    return 2"


def test_the_old_and_the_new_text_are_read_apart() -> None:
    removed_quotes = '@@ -1,2 +1,1 @@\n-"""\n def f():\n'
    assert "<span class='ocs-k'>def</span>" in diff_html(removed_quotes, path="a.py")


def test_too_much_code_is_shown_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "LETTERS_READ", 10)
    assert "<span" in diff_html("def f", "content", path="a.py")
    assert "<span" not in diff_html("def f(): ...", "content", path="a.py")


def test_long_texts_and_long_lines_are_cut_and_counted() -> None:
    text = "@@ -1,2 +1,600 @@\n" + "-old\n" * 2 + "+new\n" * 600
    page = Page(diff_html(text))
    assert (page.count("del"), page.count("add")) == (2, diff.LINES_SHOWN - 3)
    assert page.rows[-1][1] == ["203 more lines are not shown, 203 added"]
    assert "… 8,000 characters more" in diff_html("x" * 10_000, "content")


def test_every_change_of_a_recording_shows_the_lines_it_counts(trailmap: Recording) -> None:
    events = ocs.read_opencode(trailmap.database, diffs=True).file_events
    counted = events[events["diff"].notna() & events["additions"].notna()]
    assert len(counted) > 400
    for row in counted.to_dict("records"):
        lines = read_lines(row["diff"], panels.kind_of(row))
        assert sum(line.mark == "+" for line in lines) == row["additions"]
        assert sum(line.mark == "-" for line in lines) == row["deletions"]


def test_failed_edits_show_what_was_asked_for(trailmap: Recording) -> None:
    events = ocs.read_opencode(trailmap.database, diffs=True).file_events
    failed = events[(events["event_type"] == "edit") & (events["status"] != "completed")]
    assert set(failed["status"]) == {"error", "denied"}
    for row in failed.to_dict("records"):
        html = panels.change_html(row, 1, 1)
        assert "asked for and not done" in html
        assert escaped(row["error"][:60], keep="\n") in html
        lines = read_lines(row["diff"], panels.kind_of(row))
        page = Page(diff_html(row["diff"], panels.kind_of(row)))
        asked = {
            sign: [line[1:] for line in row["diff"].split("\n") if line[0] == sign] for sign in "-+"
        }
        for sign, other, of in (("-", "+", "del"), ("+", "-", "add")):
            kept = [line.text for line in lines if line.mark not in (other, "@")]
            assert kept == asked[sign]
            assert (page.count(of) > 0) == bool({*asked[sign]} - {*asked[other]})


SOME_LINES = st.lists(st.sampled_from(["", "a", "b", "c()", "-d", "+e", "@@ f"]), max_size=12)


@given(st.lists(SOME_LINES, min_size=4, max_size=4))
def test_of_an_edit_without_a_place_both_texts_stay_whole(edits: list[list[str]]) -> None:
    """Two edits of a call, each its old lines and then its new ones."""
    old, new = edits[0] + edits[2], edits[1] + edits[3]
    marked = [mark + line for mark, lines in zip("-+-+", edits, strict=True) for line in lines]
    lines = read_lines("\n".join(marked))
    assert [line.text for line in lines if line.mark != "+"] == old
    assert [line.text for line in lines if line.mark != "-"] == new


def test_of_an_edit_without_a_place_what_stays_is_one_line() -> None:
    text = "-def f(a):\n-    return a\n+def f(a):\n+    check(a)\n+    return a + 1"
    assert [line.mark for line in read_lines(text)] == [" ", "-", "+", "+"]
    many = diff.LINES_COMPARED + 1
    assert len(read_lines("-a\n" * many + "+a\n" * many)) == 2 * many  # too long to compare


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"event_type": "write", "diff": "- a list\n+ of things"}, "content"),
        ({"event_type": "write", "diff": "@@ -1 +1 @@\n-a\n+b"}, "diff"),
        ({"event_type": "write", "diff": "--- a\n", "file_path": "fix.patch"}, "content"),
        ({"event_type": "write", "diff": "a", "is_new_file": True}, "new file"),
        ({"event_type": "write", "diff": "@@ -0,0 +1 @@\n+a", "tool": "apply_patch"}, "diff"),
        ({"event_type": "edit", "diff": "return total\n"}, "new text"),
        ({"event_type": "edit", "diff": "-a\n+b"}, "diff"),
        ({"event_type": "edit", "diff": "Index: a\n@@ -1 +1 @@\n-a\n+b"}, "diff"),
    ],
)
def test_the_text_of_a_change_is_read_as_what_it_is(event: dict[str, object], kind: str) -> None:
    row = {"tool": event["event_type"], "file_path": "a.py", "is_new_file": False}
    assert panels.kind_of(row | event) == kind


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and text != "")
