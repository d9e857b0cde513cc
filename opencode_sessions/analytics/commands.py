"""What a shell command is for, as far as its text tells: to look, or to check the work.

Read by patterns, one pass over many commands: quoted text is taken out first, so that what is
searched for is not taken for what is run.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..programs import GIT_READS, READS
from .counting import Flags

QUOTED = r"\\.|'[^']*'|\"(?:\\[\s\S]|[^\"\\$`])*\""
BLANK = r"(?:[^\S\n]|\\\n)"  # a line's end is a command's end
# A command's arguments: nothing that substitutes, and no redirection but into nowhere.
ARGUMENTS = rf"(?:{BLANK}+[^\s\\|&;<>()`$]+|{BLANK}*\d?>{BLANK}*/dev/null|{BLANK}*\d>&\d)*"
# These write to files or programs where told to; of find and sort `FIND_WRITES` tells when.
NO_READS = {"awk", "curl", "export", "find", "set", "sort", "wget", "xxd", "yes"}
LOOKS = "|".join(sorted(map(re.escape, READS - NO_READS)))
GIT_LOOKS = "|".join(sorted(GIT_READS - {"add", "commit", "fetch", "init", "push"}))
LOOK = (
    rf"(?:cd|sed{BLANK}+-n|git{BLANK}+(?:{GIT_LOOKS})|(?:(?:/usr)?/bin/)?(?:find|sort|{LOOKS}))"
    rf"{ARGUMENTS}"
)
FIND_WRITES = r"\s(?:-delete|-exec\w*|-ok\w*|-f(?:print|ls)\w*|-o|--output)\b"
LOOKING = rf"[\s;]*{LOOK}(?:{BLANK}*(?:\|\||\||&&|;|\n)[\s;]*{LOOK})*[\s;]*"

WORD = r"[^\s|&;()<>]+"
OPTIONS = rf"(?:\s+-\S+(?:\s+{WORD})?)*"  # with or without a value each
# What may stand before a program's name.
BEFORE = (
    r"(?:\w+=\S*\s+|(?:time|env|nice|command|exec|sudo|xvfb-run|npx|pnpx|bunx|yarn|poetry\s+run"
    r"|pipenv\s+run|pdm\s+run|rye\s+run|hatch\s+run|bundle\s+exec|pnpm\s+exec"
    r"|uv\s+run(?:\s+(?:-q|-v|--(?:all|no|dev|frozen|locked|isolated|active|offline|quiet)[\w-]*"
    r"|(?:-p|--(?:with|extra|group|only|python|package|directory|project|env-file)[\w-]*)[\s=]+\S+))*"
    rf"|(?:docker|podman)(?:-compose|\s+compose{OPTIONS})?\s+(?:exec|run)(?:\s+{WORD})+?"
    rf"|kubectl\s+exec(?:\s+{WORD})+?\s+--"
    r"|timeout\s+\S+|python[\d.]*\s+-m|py\s+-m|(?:\S*/)?(?:bin|Scripts)/python[\d.]*\s+-m)\s+)*"
    r"(?:\S*/)?"
)
TARGETS = r"(?:test\S*|check\S*|lint\S*|build\S*|all|ci|verify|compile)"
SCRIPTS = r"(?:t|tests?|lint|build|check|typecheck|type-check|verify|validate)(?:[:-]\S+)?"
CHECKERS = "|".join(
    [
        r"py\.?test|tox|nox|unittest|doctest|coverage\s+run|ruff\s+check|mypy|pyright|basedpyright",
        rf"(?:black|isort|prettier|dprint|ruff\s+format|cargo\s+fmt)(?:\s+{WORD})*\s+--check",
        r"flake8|pylint|bandit|compileall|py_compile|pre-commit\s+run|hatch\s+test|prettier\s+-c",
        r"jest|vitest|mocha|ava|playwright\s+test|cypress\s+run|eslint",
        r"tsc|biome\s+(?:check|lint|ci)|oxlint|stylelint|webpack|rollup|sphinx-build",
        r"(?:vite|next|turbo|nx|ng|hugo|mkdocs|sphinx)[\s-]+(?:run\s+)?(?:build|test|lint)",
        rf"nx\s+(?:run-many|affected)(?:\s+{WORD})*\s+(?:-t|--target)[\s=](?:build|test|lint)",
        rf"(?:npm|pnpm|yarn|bun|deno)(?:{OPTIONS}|\s+workspace\s+\S+)"
        rf"(?:\s+run(?:-script)?{OPTIONS}\s+(?:ci|{SCRIPTS})|\s+{SCRIPTS})",
        r"node\s+--test|deno\s+(?:test|lint|check)|go\s+(?:test|vet|build)|golangci-lint",
        r"staticcheck|cargo\s+(?:\+\S+\s+)?(?:test|t|check|c|clippy|build|b|nextest)|rustc",
        r"(?:g?make|just|task|ninja|rake|ctest|bazel|buck2?|meson|scons)"
        rf"(?:(?:\s+(?:-[CfjI]\s*\S+|-\S+|\w+=\S*))*\s*(?:$|[|&;\n])|(?:\s+{WORD})*?\s+{TARGETS})",
        r"cmake\s+--build|(?:\./)?(?:mvnw?|gradlew?)\s+.*\b(?:test|check|build|verify|compile\w*)",
        r"dotnet\s+(?:test|build)|swift\s+(?:test|build)|xcodebuild|rspec|rubocop|phpunit|phpstan",
        r"psalm|mix\s+(?:test|compile|credo|dialyzer)|sbt\s+.*\b(?:test|compile)|stack\s+(?:test|build)",
        r"cabal\s+(?:test|build)|dart\s+(?:test|analyze)|flutter\s+(?:test|analyze|build)|zig\s+build",
        r"gcc|g\+\+|clang(?:\+\+)?|javac|kotlinc|shellcheck|hadolint|yamllint|ansible-lint",
        r"terraform\s+(?:validate|plan)|tflint|helm\s+lint|docker\s+build|bats|bash\s+-n|node\s+--check",
        r"(?:python[\d.]*\s+\S*manage\.py|php\s+artisan|rails|composer(?:\s+run)?)\s+(?:test|check)",
        r"(?:(?:python[\d.]*|py|node|bun|ruby|php|perl|(?:ba|z)?sh)"
        r"\s+(?:-(?:[WX]\s*\w+|[^\s\-cm]\S*)\s+)*(?:\S*/)?)?"
        r"(?:[\w.-]*[_.-])?tests?(?:[_.-][\w.-]*)?\.(?:py|[mc]?js|ts|rb|php|pl|t|sh)",
    ]
)
CHECKING = rf"(?:^|[|&;(\n]|\b(?:do|then|else)\s)\s*{BEFORE}(?:{CHECKERS})(?:\s|$|[|&;)])"
# What is read otherwise than it is written: where a text holds the first, the second as the third.
UNQUOTED = ("", QUOTED, "Q")
REWRITTEN = [
    # A text between the lines of a command, up to a line of one word in capitals: no command.
    (
        "<<",
        r"<<-?\s*['\"]?\w+['\"]?([^\n]*)\n(?:[\s\S]*?\n)??\s*[A-Z_\d]+[^\S\n]*(?:\n|$)",
        r" \1\n",
    ),
    # What another shell is to run: as if it stood here.
    (
        "sh -",
        r"\b(?:ba|da|z)?sh\s+(?:-\w+\s+)*-\w*c\s+(?:'([^']*)'|\"((?:\\[\s\S]|[^\"\\])*)\")",
        r"; \1\2 ;",
    ),
    UNQUOTED,
    # A program that is asked about itself.
    ("--version", r"\S+\s+--version\b", "Q"),
    ("--help", r"\S+\s+--help\b", "Q"),
]


def looks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command only looks at things: every program in it reads, none writes a file."""

    def told(texts: "pd.Series[Any]") -> "pd.Series[bool]":
        is_look = texts.str.fullmatch(LOOKING)
        return is_look & ~texts.str.contains(FIND_WRITES, regex=True)

    return _each(commands, [UNQUOTED], told)


def checks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command runs tests, a linter, a type checker, a compiler or a build."""
    return _each(commands, REWRITTEN, lambda texts: texts.str.contains(CHECKING, regex=True))


def _each(
    commands: "pd.Series[Any]", rewritten: Sequence[tuple[str, str, str]], told: Any
) -> Flags:
    """What is told of each different command, for all of them; False where there is none."""
    code, texts = pd.factorize(commands)
    said = pd.Series(texts, dtype="str")
    for mark, pattern, meant in rewritten:
        has = said.str.contains(mark, regex=False)
        said[has] = said[has].str.replace(pattern, meant, regex=True)
    flags: Flags = np.append(told(said).to_numpy(bool), False)[code]
    return flags
