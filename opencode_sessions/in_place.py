"""Programs that change files in place, sed and perl: which files, by their arguments."""

import re
from collections.abc import Callable
from typing import NamedTuple

Args = list[str | None]  # None for what only the shell could know

# Short options may stand together; what follows one of these is its value.
SED_OPTION = re.compile(
    r"(?:--([efi])(?:xpression|ile|n-place)=?|-[^-efil]*([efil]))(.*)", re.DOTALL
)
# A script's own `w file` or `e command`, alone or at the end of an `s/a/b/`.
SED_RUNS = re.compile(r"(?:^|[\d;{}\n/|,#$!][gpIiMm]*)\s*(?:[wWe]\s+\S|e\s*(?:$|[;}\n]))")
PERL_IN_PLACE = re.compile(r"-[pnlaw0-9]*i([^e]*)(e?)\Z", re.DOTALL)


class InPlace(NamedTuple):
    """The files that are changed, and the copies made of them before.

    `is_whole`: the program writes no other file.
    """

    files: Args
    copies: Args
    is_whole: bool


def sed(args: Args) -> InPlace:
    """What sed is told."""
    suffix: str | None = None
    is_in_place = has_script = False
    operands: Args = []
    scripts: Args = []
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            operands += rest
            break
        if arg is None or not arg.startswith("-") or arg == "-":
            operands.append(arg)
            continue
        found = SED_OPTION.match(arg)
        kind, value = (found[1] or found[2], found[3]) if found else ("", "")
        if kind == "i":
            is_in_place, suffix = True, value
        elif kind:
            said = value or next(rest, None)
            if kind in "ef":
                has_script = True
                scripts.append(said if kind == "e" else None)
    if is_in_place and operands and operands[0] == "":  # the suffix as BSD's sed wants it
        operands = operands[1:]
    scripts += [] if has_script else operands[:1]
    is_whole = not any(script is None or SED_RUNS.search(script) for script in scripts)
    files = operands if has_script else operands[1:]
    return _in_place(files if is_in_place else [], suffix, is_whole)


def perl(args: Args) -> InPlace:
    """What perl is told; the program itself may do anything."""
    suffix = ""
    is_in_place = False
    files: Args = []
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
    return _in_place(files if is_in_place else [], suffix, False)


def _in_place(files: Args, suffix: str | None, is_whole: bool) -> InPlace:
    has_copies = suffix and "*" not in suffix  # which stands for the file's name
    copies = [file and f"{file}{suffix}" for file in files] if has_copies else []
    return InPlace(files, copies, is_whole)


IN_PLACE: dict[str, Callable[[Args], InPlace]] = {"sed": sed, "perl": perl}
