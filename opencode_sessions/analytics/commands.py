"""What a shell command is for, as far as its text tells: to look, or to check the work.

Read by patterns, one pass over many commands: quoted text is taken out first, so that what is
searched for is not taken for what is run. Arrow's patterns take no longer for a text that an agent
made up; Python's, which pandas takes for nearly all patterns, may never end.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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
OPTIONS = r"(?:\s+-\S+(?:\s+[^\s\-|&;()<>]\S*)?)*"  # with or without a value each
# What may stand before a program's name.
BEFORE = (
    r"(?:\w+=\S*\s+|(?:!|time|env|nice|nohup|command|exec|sudo|xvfb-run|npx|pnpx|bunx|uvx|yarn"
    r"|pipx\s+run|poetry\s+run|pipenv\s+run|pdm\s+run|rye\s+run|hatch\s+run|bundle\s+exec|pnpm\s+exec"
    r"|uv\s+run(?:\s+(?:-q|-v|--(?:all|no|dev|frozen|locked|isolated|active|offline|quiet)[\w-]*"
    r"|(?:-p|--(?:with|extra|group|only|python|package|directory|project|env-file)[\w-]*)[\s=]+\S+))*"
    rf"|(?:docker|podman)(?:-compose|\s+compose{OPTIONS})?\s+(?:exec|run){OPTIONS}"
    r"\s+[^\s\-|&;()<>]\S*"  # the container, or the image
    rf"|kubectl\s+exec(?:\s+{WORD})+\s+--"
    r"|timeout\s+\S+|python[\d.]*\s+-m|py\s+-m|(?:\S*/)?(?:bin|Scripts)/python[\d.]*\s+-m)\s+)*"
    r"(?:\S*/)?"
)
TARGETS = r"(?:test\S*|check\S*|lint\S*|build\S*|all|ci|verify|compile)"
SCRIPTS = r"(?:t|tests?|lint|build|check|typecheck|type-check|verify|validate)(?::\S+)?"
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
        r"(?:(?:[\w.-]*[_.-])?tests?|tests?[_.-][\w.-]*)\.(?:py|[mc]?js|ts|rb|php|pl|t|sh)",
    ]
)
CHECKING = (
    rf"(?:^|[|&;(\n]|\b(?:if|while|until|do|then|else)\s)\s*{BEFORE}(?:{CHECKERS})(?:\s|$|[|&;)])"
)
# What another shell is to run.
SHELL = r"\b(?:ba|da|z)?sh\s+(?:-\w+\s+)*-\w*c\s+(?:'([^']*)'|\"((?:\\[\s\S]|[^\"\\])*)\")"
HEREDOC = re.compile(r"(?<!<)<<-?\s*['\"]?(\w+)")


def looks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command only looks at things: every program in it reads, none writes a file."""

    def told(texts: Any) -> Any:
        said = _unquoted(texts)
        is_look = pc.match_substring_regex(said, rf"\A(?:{LOOKING})\z")
        return pc.and_not(is_look, pc.match_substring_regex(said, FIND_WRITES))

    return _each(commands, told)


def checks(commands: "pd.Series[Any]") -> Flags:
    """Whether each command runs tests, a linter, a type checker, a compiler or a build."""
    return _each(commands, lambda texts: pc.match_substring_regex(_as_run(texts), CHECKING))


def _each(commands: "pd.Series[Any]", told: Callable[[Any], Any]) -> Flags:
    """What is told of each different command, for all of them; False where there is none."""
    code, texts = pd.factorize(commands)
    one = pa.array(texts.to_numpy(object), pa.large_string())  # of pandas' own it may be several
    found = told(one).to_numpy(zero_copy_only=False)
    flags: Flags = np.append(found, False)[code]
    return flags


def _as_run(texts: Any) -> Any:
    """Commands as far as they run something: what another shell is to run, as if it stood here.

    Without texts between their lines, without quoted ones, and without programs that are asked
    about themselves.
    """

    def without(some: Any) -> Any:
        return pa.array(map(_without_heredocs, some.to_pylist()), pa.large_string())

    texts = _where(texts, "<<", without)
    texts = _where(texts, "sh -", partial(_replaced, pattern=SHELL, meant=r"; \1\2 ;"))
    texts = _unquoted(texts)
    for asked in ("--version", "--help"):
        itself = partial(_replaced, pattern=rf"\S+\s+{asked}\b", meant="Q")
        texts = _where(texts, asked, itself)
    return texts


def _where(texts: Any, mark: str, rewritten: Callable[[Any], Any]) -> Any:
    """The texts, those that hold a mark rewritten."""
    has = pc.match_substring(texts, mark)
    return pc.replace_with_mask(texts, has, rewritten(texts.filter(has)))


def _replaced(texts: Any, pattern: str, meant: str) -> Any:
    return pc.replace_substring_regex(texts, pattern=pattern, replacement=meant)


def _unquoted(texts: Any) -> Any:
    return _replaced(texts, QUOTED, "Q")


def _without_heredocs(command: str) -> str:
    """The command's lines without those up to the word that a `<<` names, if it comes."""
    lines = command.split("\n")
    words = {line.strip() for line in lines}
    kept: list[str] = []
    ends: list[str] = []
    for line in lines:
        if ends:
            ends = ends[line.strip() == ends[0] :]
        else:
            kept.append(line)
            ends = [word for word in HEREDOC.findall(line) if word in words]
    return "\n".join(kept)
