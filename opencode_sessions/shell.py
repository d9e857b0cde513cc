"""What a shell command says it changes: the files it names as written, deleted or moved.

A reading of the text, nothing is run: quotes, here-documents, pipes, lists and `cd` are followed;
a path that only the shell could know (a variable, a glob, a substitution) is left out, not guessed.
git commands that bring other people's or older work (`checkout`, `pull`, `merge`, `stash`) change
files without anybody being their author. A model wrote the command: nothing here raises, and the
time it takes grows with the length of the text.
"""

import posixpath
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from .in_place import IN_PLACE, InPlace
from .programs import GIT_BRINGS, GIT_READS, READS, WRITING_OPTIONS
from .shell_text import NotUnderstood, Redirect, Simple, Word, simple_commands

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
        for count, command in enumerate(simple_commands(text)):
            if count == MOST_COMMANDS:
                raise NotUnderstood
            reader.read(command)
    except NotUnderstood:
        reader.is_whole = False
    changes = tuple(reader.changes.values())
    return Command(changes, reader.is_whole, reader.brings_work)


# An agent runs the same tests again and again, and each neighbour of a session asks what it ran.
_read_kept = lru_cache(COMMANDS_KEPT)(_read)


COMMAND_FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin")
KEYWORDS = {"!", "do", "elif", "else", "if", "then", "time", "until", "while", "{"}
OPENING = {"case", "for", "function", "if", "select", "until", "while"}
CLOSING = {"done", "esac", "fi"}
WRAPPERS = {"command": 0, "env": 0, "nice": 0, "nohup": 0, "sudo": 0, "timeout": 1, "exec": 0}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")


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

    def read(self, command: Simple) -> None:
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

    def _without_keywords(self, words: list[Word]) -> list[Word]:
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
        elif name in IN_PLACE:
            self._in_place(IN_PLACE[name](args))
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
            writing = WRITING_OPTIONS.get(name)
            if writing and any(arg is not None and writing.match(arg) for arg in args):
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
        elif name not in GIT_READS or any((arg or "").startswith("--output") for arg in args):
            self.is_whole = False

    def _in_place(self, told: InPlace) -> None:
        self._each("edit", told.files)
        self._each("write", told.copies)
        if not told.is_whole:
            self.is_whole = False

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

    def _redirect(self, redirect: Redirect) -> None:
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
