"""What commands are for, by their text: against the shell reader, and one by one."""

import pandas as pd
import pytest
from conftest import RECORDINGS, Recording
from hypothesis import given
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics.commands import checks, looks
from opencode_sessions.shell import read_command

LOOKING = [
    "ls",
    "ls -la src; cat a.py",
    "cat a.py | head -20 | wc -l",
    "cd src && git status --short",
    "git log --oneline -5 2>/dev/null",
    'grep -rn "a|b; rm x" . 2>&1 | sort -u',
    "/usr/bin/find . -name '*.py' -type f",
    "sed -n 1,20p a.py",
    "ls \\\n  -la a\\ b",
    r"find . \( -name a \)",
    r'grep "a\"; rm x" a.py',
]
NOT_LOOKING = [
    "",
    "pytest",
    "cat a > b",
    "ls && rm x",
    "cat $(git ls-files)",
    "cat `which x`",
    "find . -name '*.pyc' -delete",
    "find . -exec rm {} +",
    "sort -o a a",
    "sed -i s/a/b/ a",
    "git checkout a.py",
    "git commit -am x",
    "echo x | tee a",
    "python -c 'print(1)'",
    "(ls)",
    "ls &",
    "ls\nrm x",
    "ls \\\\\nrm x",
    r"echo \"; rm x; echo \"",
]
CHECKING = [
    "pytest",
    "python -m pytest -q -x tests/test_a.py",
    "cd app && python3.12 -m pytest",
    "PYTHONPATH=. timeout 60 pytest | tail -5",
    "uv run ruff check .",
    ".venv/bin/python -m mypy src",
    "ruff format --check .",
    "npm test",
    "npm run test:unit -- --watch=false",
    "pnpm -s lint || true; yarn build",
    "npx tsc --noEmit",
    "go test ./...",
    "cargo clippy --all-targets",
    "make",
    "make -j4 test",
    "make check && echo done",
    "./gradlew :app:test",
    "mvn -q verify",
    "dotnet build",
    "for f in *.sh; do shellcheck $f; done",
    "bash -n run.sh",
    "git stash && cargo test; git stash pop",
    "python manage.py test shop",
    "php artisan test",
    "make -C web",
    "make -C web test",
    "make lint test",
    "npm --prefix web test",
    "npm -w web run lint",
    "npm run ci",
    "pnpm -r test",
    "yarn workspace web build",
    "turbo run build",
    "cargo fmt --check",
    "cargo fmt --all -- --check",
    "ruff format src --check",
    "black . --check",
    "uv run --extra dev pytest",
    "uv run --frozen --with hypothesis pytest -q",
    "docker compose exec -T web pytest",
    "docker run --rm -v .:/w -w /w python:3.12 python -m pytest",
    "kubectl exec -it web-0 -- pytest",
    "./run_tests.sh",
    "bash scripts/test.sh && echo done",
    "cd app && python -X dev tests/test_a.py -v",
    "node a.test.mjs",
    "bash -lc 'npm test'",
    'sh -c "cd app && pytest -k \\"a or b\\""',
    "cat > a.py <<'EOF'\nit's\nEOF\npytest",
    "python - <<A <<B\npytest\nA\nmake\nB\ntsc",
    "x=$((1 << y))\npytest",
    "if pytest; then ls; fi",
    "! nohup uvx pytest",
]
NOT_CHECKING = [
    "",
    "grep -rn pytest .",
    "cat pytest.ini",
    "pip install pytest",
    "git commit -m 'pytest passes'",
    'echo "npm test"',
    "make clean",
    "make install",
    "python app.py test",
    "ls tests",
    "npm install",
    "npm run dev",
    "go run .",
    "cargo run",
    "vim make.py",
    "mytest",
    "npm ci",
    "npm run cite",
    "ruff format .",
    "cargo fmt",
    "prettier --write .",
    "pytest --version",
    "make --help",
    "uv run --with pytest python app.py",
    "python latest.py",
    "python -m black tests/test_a.py",
    "python test_a",
    "cat run_tests.sh",
    "docker compose up web",
    "docker run --rm redis",
    "bash -lc 'npm install'",
    "cat <<EOF\npytest\nEOF",
    "cat > x.sh <<'end'\nALL\npytest\nend\nls",
    "docker run --name pytest postgres",
    "docker exec db cat pytest",
    "docker exec app pip install pytest",
    "docker run --rm gcc ls",
    "docker run -it mypy sh",
    "docker compose exec web apt-get install -y shellcheck",
    "yarn check-in",
    "python train_test_split.py",
    "python load-test-data.py",
    "cat > run.sh <<'EOF' && ls\nnpm test\nEOF\nchmod +x run.sh",
]


def told(function: object, *commands: str) -> list[bool]:
    return list(function(pd.Series(commands, dtype="str")))  # type: ignore[operator]


@pytest.mark.parametrize("command", LOOKING)
def test_looking(command: str) -> None:
    assert told(looks, command) == [True]


@pytest.mark.parametrize("command", NOT_LOOKING)
def test_not_looking(command: str) -> None:
    assert told(looks, command) == [False]


@pytest.mark.parametrize("command", CHECKING)
def test_checking(command: str) -> None:
    assert told(checks, command) == [True]


@pytest.mark.parametrize("command", NOT_CHECKING)
def test_not_checking(command: str) -> None:
    assert told(checks, command) == [False]


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_only_looks_changes_nothing_as_the_shell_reader_has_it(
    name: str, recordings: dict[str, Recording]
) -> None:
    frames = ocs.read_opencode(recordings[name].database, shell=False)
    commands = frames.file_events["command"].dropna().reset_index(drop=True)
    for command, only_looks in zip(commands, looks(commands), strict=True):
        read = read_command(command, "/home/dev")
        assert only_looks == (read.is_whole and not read.changes), command


@given(
    st.lists(st.sampled_from([*LOOKING, *NOT_LOOKING, *CHECKING]), max_size=3),
    st.sampled_from([" ; ", "\n"]),
)
def test_several_commands_look_only_if_each_does(commands: list[str], between: str) -> None:
    (found,) = told(looks, between.join(commands))
    programs = {*commands} - {""}  # some shells run an empty command, which does nothing
    assert found == (bool(programs) and programs <= {*LOOKING})
    if commands:
        assert told(checks, " && ".join(commands))[0] >= bool({*commands} & {*CHECKING[:5]})


@pytest.mark.parametrize(
    "command",
    [
        "npm " + "-a " * 5_000,
        "docker compose " + "-f --x " * 3_000,
        "docker run x " * 2_000,
        "npm --loglevel -x " + "--include=dev " * 3_000 + "install foo",
        "cat > a.py <<'eof'\n" + "x = 1 << y\n" * 9_000 + "eof\n",
        "cat <<EOF\n" * 10_000,
        "ls" + "\n" * 50_000,
    ],
)
def test_long_commands_are_read_in_their_time(command: str) -> None:
    """Patterns that go back over what they have read would not end here."""
    assert told(checks, command) == [False]
    assert told(looks, command)[0] == command.startswith("ls")


def test_no_command_is_neither() -> None:
    nothing = pd.Series([None, "ls", None], dtype="str")
    assert list(looks(nothing)) == [False, True, False]
    assert list(checks(nothing)) == [False, False, False]
