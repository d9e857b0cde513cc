"""What a shell command is for, as far as its text tells: to look, or to check the work.

Read by patterns, one pass over many commands: quoted text is taken out first, so that what is
searched for is not taken for what is run.
"""

import re
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

# What may stand before a program's name.
BEFORE = (
    r"(?:\w+=\S*\s+|(?:time|env|nice|command|exec|sudo|xvfb-run|npx|pnpx|bunx|yarn|poetry\s+run"
    r"|uv\s+run|pipenv\s+run|pdm\s+run|rye\s+run|hatch\s+run|bundle\s+exec|pnpm\s+exec"
    r"|timeout\s+\S+|python[\d.]*\s+-m|py\s+-m|(?:\S*/)?(?:bin|Scripts)/python[\d.]*\s+-m)\s+)*"
    r"(?:\S*/)?"
)
CHECKERS = "|".join(
    [
        r"py\.?test|tox|nox|unittest|doctest|coverage\s+run|ruff(?:\s+(?:check|format\s+--check))?",
        r"mypy|pyright|basedpyright|flake8|pylint|black\s+--check|isort\s+--check|bandit|compileall",
        r"py_compile|pre-commit\s+run|jest|vitest|mocha|ava|playwright\s+test|cypress\s+run|eslint",
        r"tsc|biome\s+(?:check|lint|ci)|prettier\s+(?:-c|--check)|oxlint|stylelint|webpack|rollup",
        r"(?:vite|next|turbo|nx|ng|hugo|mkdocs|sphinx)[\s-]+(?:build|test|lint)|sphinx-build",
        r"(?:npm|pnpm|yarn|bun|deno)\s+(?:run\s+|run-script\s+)?"
        r"(?:t|test|tests|lint|build|check|typecheck|type-check|ci|verify|validate)(?::\S+)?",
        r"node\s+--test|deno\s+(?:test|lint|check)|go\s+(?:test|vet|build)|golangci-lint",
        r"staticcheck|cargo\s+(?:\+\S+\s+)?(?:test|t|check|c|clippy|build|b|nextest)|rustc",
        r"(?:g?make|just|task|ninja|rake|ctest|bazel|buck2?|meson|scons)(?:\s+(?:-\S+|\w+=\S*))*"
        r"(?:\s+(?:test\S*|check\S*|lint\S*|build\S*|all|ci|verify|compile))?\s*(?:$|[|&;\n])",
        r"cmake\s+--build|(?:\./)?(?:mvnw?|gradlew?)\s+.*\b(?:test|check|build|verify|compile\w*)",
        r"dotnet\s+(?:test|build)|swift\s+(?:test|build)|xcodebuild|rspec|rubocop|phpunit|phpstan",
        r"psalm|mix\s+(?:test|compile|credo|dialyzer)|sbt\s+.*\b(?:test|compile)|stack\s+(?:test|build)",
        r"cabal\s+(?:test|build)|dart\s+(?:test|analyze)|flutter\s+(?:test|analyze|build)|zig\s+build",
        r"gcc|g\+\+|clang(?:\+\+)?|javac|kotlinc|shellcheck|hadolint|yamllint|ansible-lint",
        r"terraform\s+(?:validate|plan)|tflint|helm\s+lint|docker\s+build|bats|bash\s+-n|node\s+--check",
    ]
)
CHECKING = rf"(?:^|[|&;(\n]|\b(?:do|then|else)\s)\s*{BEFORE}(?:{CHECKERS})(?:\s|$|[|&;)])"


def looks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command only looks at things: every program in it reads, none writes a file."""

    def told(texts: "pd.Series[Any]") -> "pd.Series[bool]":
        is_look = texts.str.fullmatch(LOOKING)
        return is_look & ~texts.str.contains(FIND_WRITES, regex=True)

    return _each(commands, told)


def checks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command runs tests, a linter, a type checker, a compiler or a build."""
    return _each(commands, lambda texts: texts.str.contains(CHECKING, regex=True))


def _each(commands: "pd.Series[Any]", told: Any) -> Flags:
    """What is told of each different command, for all of them; False where there is none."""
    code, texts = pd.factorize(commands)
    said = pd.Series(texts, dtype="str").str.replace(QUOTED, "Q", regex=True)
    flags: Flags = np.append(told(said).to_numpy(bool), False)[code]
    return flags
