"""What a shell command says it changes: the files it names as written, deleted or moved.

A reading of the text, nothing is run: quotes, here-documents, pipes, lists and `cd` are followed;
a path that only the shell could know (a variable, a glob, a substitution) is left out, not guessed.
git commands that bring other people's or older work (`checkout`, `pull`, `merge`, `stash`) change
files without anybody being their author. A model wrote the command: nothing here raises, and the
time it takes grows with the length of the text.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

ChangeType = Literal["write", "edit", "delete", "move"]

LONGEST_COMMAND = 200_000
LONGEST_KEPT, COMMANDS_KEPT = 2000, 2000
LONGEST_PATH = 4096
MOST_COMMANDS = 2000


class NamedChange(NamedTuple):
    """A change a command names, by normal, absolute paths.

    `is_sure` is False where it depends on what the disk holds or on how an earlier command ended.
    """

    event_type: ChangeType
    path: str
    new_path: str | None = None
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """What is known of a command by its text.

    `is_whole`: it changes no other file than those it names. `brings_work`: it changes files to
    what somebody made elsewhere or before, which is nobody's change here.
    """

    changes: tuple[NamedChange, ...] = ()
    is_whole: bool = True
    brings_work: bool = False

    def names(self, path: str) -> bool:
        """Whether it names this path, or a folder that it is in, as changed."""
        return any(
            is_below(path, named)
            for change in self.changes
            for named in (change.path, change.new_path)
            if named is not None
        )


def is_below(path: str, folder: str) -> bool:
    """Whether a path is this folder or in it, both normal."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def read_command(text: str, directory: str | None) -> Command:
    """What a command run in this directory changes, as far as its text tells.

    Relative paths need the directory: without one they are left out.
    """
    if len(text) > LONGEST_COMMAND:
        return Command(is_whole=False)
    return (_read if len(text) > LONGEST_KEPT else _read_kept)(text, directory)


def _read(text: str, directory: str | None) -> Command:
    reader = _Reader([_joined(None, directory or "")])
    try:
        for count, command in enumerate(_commands(text)):
            if count == MOST_COMMANDS:
                raise _NotUnderstood
            reader.read(command)
    except _NotUnderstood:
        reader.is_whole = False
    changes = tuple(reader.changes.values())
    return Command(changes, reader.is_whole, reader.brings_work)


# An agent runs the same tests again and again, and each neighbour of a session asks what it ran.
_read_kept = lru_cache(COMMANDS_KEPT)(_read)


# Text to tokens


class _NotUnderstood(Exception):
    """The rest of the text cannot be read."""


class _Word(NamedTuple):
    """A word; `text` is None where only the shell could say what it is."""

    text: str | None
    has_substitution: bool = False


class _Redirect(NamedTuple):
    mark: str
    target: _Word


class _Simple(NamedTuple):
    """One simple command, with the operator before it."""

    operator: str
    words: list[_Word]
    redirects: list[_Redirect]


TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\\\r?\n)"
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<heredoc>\d*<<-?(?!<))"
    r"|(?P<redirect>&>>|&>|\d*(?:>>|>\||>&|<&|<>|<<<|>(?!\()|<(?!\()))"
    r"|(?P<operator>\n|&&|\|\||;;|;|\|&|\||&|\(|\))"
)
PIECE = re.compile(
    r"(?P<plain>[^\s'\"\\$`;&|<>()*?\[\]{}]+)"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>[^"\\$`]*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<variable>\$(?:\w+|\{[^}'\"`$]*\}|[@*\#?$!-]))"
    r"|(?P<glob>[*?\[\]{}])"
    r"|(?P<dollar>\$(?![('\"{]))",
    re.DOTALL,
)
IN_QUOTES = re.compile(r'[^"\\$`]+|\\.|\$(?!\()|(?P<open>\$\()|(?P<tick>`)|(?P<end>")', re.DOTALL)
IN_PARENTHESES = re.compile(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|(?P<open>\()|(?P<close>\))|[^()]")
BRACKETS = ("[", "]", "[[", "]]")


def _commands(text: str) -> Iterator[_Simple]:
    """The simple commands of the text, in order."""
    position, operator = 0, ";"
    words: list[_Word] = []
    redirects: list[_Redirect] = []
    mark: str | None = None
    heredocs: list[tuple[str, bool]] = []
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            start = position
            word, position = _word(text, position)
            if mark in ("<<", "<<-"):
                heredocs.append((word.text or "", _is_quoted(text[start:position])))
                mark = None
            elif mark is not None:
                redirects.append(_Redirect(mark, word))
                mark = None
            else:
                words.append(word)
            continue
        position = token.end()
        if token["redirect"] or token["heredoc"]:
            mark = token[0].lstrip("0123456789")
        elif token["operator"]:
            mark = None
            yield _Simple(operator, words, redirects)
            operator, words, redirects = token["operator"], [], []
            if operator == "\n" and heredocs:
                position = _after_heredocs(text, position, heredocs)
                heredocs = []
    yield _Simple(operator, words, redirects)


def _word(text: str, position: int) -> tuple[_Word, int]:
    pieces: list[str] = []
    start, is_known, has_substitution = position, True, False
    while position < len(text):
        piece = PIECE.match(text, position)
        if piece is None:
            end = _substitution(text, position)
            if end is None:
                break
            position, is_known, has_substitution = end[0], False, has_substitution or end[1]
            continue
        position = piece.end()
        kind = piece.lastgroup
        if kind == "plain":
            is_known = is_known and not (piece.start() == start and piece[0].startswith("~"))
            pieces.append(piece[0])
        elif kind in ("single", "double"):
            pieces.append(piece[kind])
        elif kind == "escaped":
            pieces.append(piece["escaped"].replace("\n", ""))
        elif kind == "variable":
            is_known = False
        else:
            pieces.append(piece[0])
            is_known = is_known and piece[0] in "{}$"
    if position == start:
        raise _NotUnderstood
    raw = text[start:position]
    if raw in BRACKETS:
        return _Word(raw), position
    if "{" in raw and "}" in raw and ("," in raw or ".." in raw):
        is_known = False  # {a,b} or {1..9}: several words
    return _Word("".join(pieces) if is_known else None, has_substitution), position


def _substitution(text: str, position: int) -> tuple[int, bool] | None:
    """Where the quoted text, substitution or expansion that begins here ends, and if it runs."""
    if text.startswith('"', position):
        position, runs = position + 1, False
        while inside := IN_QUOTES.match(text, position):
            position = inside.end()
            if inside["end"]:
                return position, runs
            if inside["open"]:
                position, runs = _closed(text, position), True
            elif inside["tick"]:
                position, runs = _ticked(text, position), True
        raise _NotUnderstood
    if text.startswith(("$(", "<(", ">("), position):
        return _closed(text, position + 2), True
    if text.startswith("`", position):
        return _ticked(text, position + 1), True
    if text.startswith(("$'", '$"'), position):
        end = text.find(text[position + 1], position + 2)
        if end >= 0:
            return end + 1, True
        raise _NotUnderstood
    if text.startswith(("'", '"', "$", "\\"), position):
        raise _NotUnderstood
    return None


def _closed(text: str, position: int) -> int:
    depth = 1
    while inside := IN_PARENTHESES.match(text, position):
        position = inside.end()
        depth += bool(inside["open"]) - bool(inside["close"])
        if depth == 0:
            return position
    raise _NotUnderstood


def _ticked(text: str, position: int) -> int:
    end = text.find("`", position)
    if end < 0:
        raise _NotUnderstood
    return end + 1


def _after_heredocs(text: str, position: int, heredocs: list[tuple[str, bool]]) -> int:
    for delimiter, is_quoted in heredocs:
        end = re.compile(rf"^\t*{re.escape(delimiter)}$", re.MULTILINE).search(text, position)
        body_end = end.start() if end else len(text)
        if not is_quoted and re.compile(r"\$\(|`").search(text, position, body_end):
            raise _NotUnderstood
        position = end.end() if end else len(text)
    return position


def _is_quoted(raw: str) -> bool:
    return any(mark in raw for mark in "'\"\\")


# Tokens to changes

# Commands that change no file; an option in the second list makes them do so.
READS = {
    *(":", "[", "[[", "]]", "alias", "awk", "basename", "cat", "chmod", "chown", "cksum"),
    *("cmp", "column", "comm", "curl", "cut", "date", "df", "diff", "dirname", "du", "echo"),
    *("egrep", "exit", "export", "false", "fgrep", "file", "find", "fold", "free", "grep", "head"),
    *("history", "hostname", "id", "jq", "less", "ls", "md5sum", "more", "nl", "od"),
    *("paste", "printf", "ps", "pwd", "read", "readlink", "realpath", "return", "rg", "rmdir"),
    *("seq", "set", "sha1sum", "sha256sum", "shasum", "sleep", "sort", "stat", "strings"),
    *("tac", "tail", "test", "tr", "tree", "true", "type", "uname", "uniq", "unset"),
    *("wait", "wc", "wget", "which", "whoami", "xxd", "yes"),
}
WRITING_OPTIONS = {
    "find": ("-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf", "-fls"),
    "sort": ("-o", "--output"),
    "curl": ("-o", "-O", "-J", "--output", "--remote-name"),
    "tree": ("-o",),
    "awk": ("-i",),
    "wget": ("",),
    "xxd": ("-r",),
    "uniq": ("",),
}
COMMAND_FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin")
KEYWORDS = {"!", "do", "elif", "else", "if", "then", "time", "until", "while", "{"}
OPENING = {"case", "for", "function", "if", "select", "until", "while"}
CLOSING = {"done", "esac", "fi"}
WRAPPERS = {"command": 0, "env": 0, "nice": 0, "nohup": 0, "sudo": 0, "timeout": 1, "exec": 0}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
GIT_READS = {
    *("add", "blame", "branch", "cat-file", "commit", "config", "describe", "diff", "fetch"),
    *("for-each-ref", "grep", "init", "log", "ls-files", "ls-remote", "ls-tree", "notes", "push"),
    *("reflog", "remote", "rev-list", "rev-parse", "shortlog", "show", "show-ref", "status"),
    *("tag", "var", "version", "whatchanged"),
}
GIT_BRINGS = {
    *("am", "bisect", "checkout", "checkout-index", "cherry-pick", "clone", "merge", "pull"),
    *("read-tree", "rebase", "reset", "restore", "revert", "stash", "submodule", "switch"),
    *("worktree",),
}
IN_PLACE = re.compile(r"-[nErsz]*i(.*)", re.DOTALL)
PERL_IN_PLACE = re.compile(r"-[pnlaw0-9]*i([^e]*)(e?)\Z", re.DOTALL)


@dataclass(slots=True)
class _Reader:
    """Reads one simple command after the other; `places` are the directories of open ( groups."""

    places: list[str | None]
    changes: dict[str, NamedChange] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    is_whole: bool = True
    brings_work: bool = False
    depth: int = 0
    is_maybe: bool = False

    def read(self, command: _Simple) -> None:
        """Takes up what this command changes."""
        if command.operator == "(":
            self.places.append(self.places[-1])
        elif command.operator == ")" and len(self.places) > 1:
            self.places.pop()
        if command.operator == "||":
            self.is_maybe = True
        elif command.operator in ("\n", ";", "&"):
            self.is_maybe = False
        for redirect in command.redirects:
            self._redirect(redirect)
        words = command.words
        if any(word.has_substitution for word in [*words, *(r.target for r in command.redirects)]):
            self.is_whole = False
        words = self._without_keywords(words)
        if words and words[0].text is None:
            self.is_whole = False
        elif words:
            name = words[0].text or ""
            if posixpath.dirname(name) in COMMAND_FOLDERS:
                name = posixpath.basename(name)
            self._run(name, [word.text for word in words[1:]])

    def _without_keywords(self, words: list[_Word]) -> list[_Word]:
        start = 0
        while start < len(words) and (text := words[start].text) is not None:
            if text in OPENING or text in CLOSING:
                self.depth = max(self.depth + (text in OPENING) - (text in CLOSING), 0)
                if text in ("for", "case", "select", "function"):
                    return []
            elif text in WRAPPERS:
                start += WRAPPERS[text]
                while start + 1 < len(words) and (words[start + 1].text or "").startswith("-"):
                    start += 1
            elif text not in KEYWORDS and text != "}" and not ASSIGNMENT.match(text):
                break
            start += 1
        else:
            if start < len(words):  # an assignment of what is not known, or a command that is not
                return words[start:]
        return words[start:]

    def _run(self, name: str, args: list[str | None]) -> None:
        if name in ("cd", "pushd"):
            self._cd(args)
        elif name == "popd":
            self.places[-1] = None
        elif name == "git":
            self._git(args)
        elif name == "sed":
            self._in_place(args, IN_PLACE, ("-e", "-f", "--expression", "--file"))
        elif name == "perl":
            self._perl(args)
        elif name == "tee":
            kind: ChangeType = "edit" if {"-a", "--append"} & set(args) else "write"
            self._each(kind, _operands(args))
        elif name in ("touch", "truncate"):
            if any(arg and re.match(r"-[drts]|--(?!no-create)", arg) for arg in args):
                self.is_whole = False
            else:
                self._each("write", _operands(args))
        elif name in ("rm", "unlink"):
            options = args[: args.index("--")] if "--" in args else args
            is_recursive = any(arg and re.match(r"-\w*[rRd]|--recursive", arg) for arg in options)
            self._each("delete", _operands(args), is_sure=not is_recursive)
        elif name in ("mv", "cp", "ln"):
            self._transfer(name, args)
        elif name == "mkdir":
            paths = (self._path(word) for word in _operands(args))
            self.folders.update(path for path in paths if path is not None)
        elif name in READS:
            writing = WRITING_OPTIONS.get(name, ())
            if any(
                arg is not None and arg.startswith(option) for arg in args for option in writing
            ):
                self.is_whole = False
        else:
            self.is_whole = False

    def _cd(self, args: list[str | None]) -> None:
        target = args[0] if args else None
        if target is None or target.startswith("-"):
            self.places[-1] = None
        else:
            self.places[-1] = _joined(self.places[-1], target)

    def _git(self, args: list[str | None]) -> None:
        start = 0
        while start < len(args) and (args[start] or "").startswith("-"):
            if args[start] == "-C":  # its paths are from elsewhere
                self.is_whole = False
                return
            start += 2 if args[start] == "-c" else 1
        name, args = (args[start], args[start + 1 :]) if start < len(args) else ("status", [])
        if name == "mv":
            self._transfer("mv", args)
        elif name == "rm":
            if "--cached" not in args:
                self._each("delete", _operands(args), is_sure="-r" not in args)
        elif name in GIT_BRINGS:
            self.brings_work = True
            self.is_whole = False
        elif name not in GIT_READS:
            self.is_whole = False

    def _in_place(
        self, args: list[str | None], pattern: re.Pattern[str], takes_value: tuple[str, ...]
    ) -> None:
        suffix: str | None = None
        is_in_place = has_script = False
        operands: list[str | None] = []
        rest = iter(args)
        for arg in rest:
            if arg is None or not arg.startswith("-") or arg == "-":
                operands.append(arg)
            elif arg.startswith("--in-place"):
                is_in_place, suffix = True, arg.partition("=")[2]
            elif arg in takes_value:
                has_script = True
                next(rest, None)
            elif arg.startswith(takes_value):
                has_script = True
            elif found := pattern.match(arg):
                is_in_place, suffix = True, found[1]
        if not is_in_place:
            return
        if operands and operands[0] == "":  # the suffix as BSD's sed wants it
            operands = operands[1:]
        files = operands if has_script else operands[1:]
        self._each("edit", files)
        if suffix and "*" not in suffix:
            self._each("write", [None if file is None else file + suffix for file in files])

    def _perl(self, args: list[str | None]) -> None:
        suffix = ""
        is_in_place = False
        files: list[str | None] = []
        rest = iter(args)
        for arg in rest:
            if arg is None or not arg.startswith("-"):
                files.append(arg)
            elif found := PERL_IN_PLACE.match(arg):
                is_in_place, suffix = True, found[1]
                if found[2]:
                    next(rest, None)
            elif arg.endswith("e"):
                next(rest, None)
        self.is_whole = False  # the program itself may do anything
        if is_in_place:
            self._each("edit", files)
            if suffix:
                self._each("write", [None if file is None else file + suffix for file in files])

    def _transfer(self, name: str, args: list[str | None]) -> None:
        options = [arg for arg in args if arg and arg.startswith("-")]
        operands = _operands(args)
        if len(operands) < 2 or any(re.match(r"-\w*[tT]|--target", arg) for arg in options):
            self.is_whole = False
            return
        *sources, target = operands
        is_recursive = name == "cp" and any(
            re.match(r"-\w*[rRa]|--recursive|--archive", arg) for arg in options
        )
        into = self._path(target)
        if into is None:
            if name == "mv":  # gone from where it was, all the same
                self._each("delete", sources, is_sure=False)
            self.is_whole = False
            return
        is_folder = len(sources) > 1 or into in self.folders
        is_folder = is_folder or bool(target and (target.endswith("/") or target in (".", "..")))
        for source in sources:
            path = self._path(source)
            if path is None:
                self.is_whole = False
                continue
            # "mv a.py b" may rename or move into a folder b, "mv a b" may move a folder.
            is_file = _has_suffix(path) if is_folder else _has_suffix(into)
            is_sure = is_file and not is_recursive
            new = posixpath.join(into, posixpath.basename(path)) if is_folder else into
            if name == "mv":
                self._add("move", path, new, is_sure=is_sure)
            else:
                self._add("write", new, is_sure=is_sure)

    def _redirect(self, redirect: _Redirect) -> None:
        if ">" not in redirect.mark:
            return
        text = redirect.target.text
        if redirect.mark == ">&" and text is not None and (text.isdecimal() or text == "-"):
            return
        self._each("edit" if ">>" in redirect.mark else "write", [text])

    def _each(
        self, event_type: ChangeType, words: list[str | None], *, is_sure: bool = True
    ) -> None:
        for word in words:
            path = self._path(word)
            if path is None:
                self.is_whole = False
            else:
                self._add(event_type, path, is_sure=is_sure)

    def _add(
        self, event_type: ChangeType, path: str, new: str | None = None, *, is_sure: bool = True
    ) -> None:
        """Takes up a change; of several to one path the last counts, an edit of a new file not."""
        if path.startswith("/dev/"):
            return
        before = self.changes.pop(path, None)
        if before is not None and before.event_type == "write" and event_type == "edit":
            event_type = "write"
        is_sure = is_sure and not self.is_maybe and self.depth == 0
        self.changes[path] = NamedChange(event_type, path, new, is_sure)

    def _path(self, word: str | None) -> str | None:
        """The path a word names; None if it is not known, or none."""
        if not word or "\n" in word or "\0" in word:
            return None
        path = _joined(self.places[-1], word)
        return path if path and path != "/" and not path.startswith("../") else None


def _operands(args: list[str | None]) -> list[str | None]:
    """The arguments that are no options."""
    if "--" in args:
        end = args.index("--")
        return [*_operands(args[:end]), *args[end + 1 :]]
    return [arg for arg in args if arg is None or arg == "-" or not arg.startswith("-")]


def _has_suffix(path: str) -> bool:
    name = posixpath.basename(path)
    return "." in name[1:] or name.startswith(".")


def _joined(place: str | None, path: str) -> str | None:
    """The path from this directory; None if either is not known, or it is longer than any is."""
    if not path.startswith("/"):
        if place is None:
            return None
        path = posixpath.join(place, path)
    return posixpath.normpath(path) if len(path) <= LONGEST_PATH else None
