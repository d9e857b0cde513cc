"""The package as a package: what it needs, what importing it costs, and what a wheel of it has."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import opencode_sessions

ROOT = Path(__file__).parents[1]
EXTRAS = ("lab", "postgres", "test")
HEAVY = {"pandas", "pyarrow", "ipywidgets", "alembic", "sqlalchemy", "matplotlib", "httpx", "rich"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def needs(project: dict[str, Any], *extras: str) -> dict[str, Requirement]:
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return {(found := Requirement(line)).name: found for line in lines}


def test_conda_asks_for_what_pip_asks_for(project: dict[str, Any]) -> None:
    _, _, dependencies = (ROOT / "environment.yml").read_text().partition("dependencies:")
    listed = re.findall(r"^  - (.*[^:])$", dependencies, re.M)
    conda = {(found := Requirement(line)).name: str(found.specifier) for line in listed}
    wanted = {name: str(need.specifier) for name, need in needs(project, "lab").items()}
    assert conda == {"python": project["requires-python"], "pip": "", **wanted}


def test_constraints_are_versions_that_the_bounds_allow(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = {
        name.lower().replace("_", "-"): version for name, version in (x.split("==") for x in lines)
    }
    for name, need in needs(project, *EXTRAS).items():
        if name != "opencode-sessions":
            assert need.specifier.contains(pinned[name]), f"{name} {pinned[name]}"


def test_every_dependency_has_a_lower_bound(project: dict[str, Any]) -> None:
    unbounded = [n for n, need in needs(project, *EXTRAS).items() if not need.specifier]
    assert unbounded == ["opencode-sessions"]  # other extras, by name


def test_the_version_is_said_once_the_same(project: dict[str, Any]) -> None:
    assert project["version"] == opencode_sessions.__version__


@pytest.mark.parametrize("name", ["opencode_sessions", "opencode_sessions.cli"])
def test_importing_is_light(name: str) -> None:
    script = f"import {name}, sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(run.stdout.split())


WHO_IMPORTS_PANDAS = """
import asyncio, sys, threading
import opencode_sessions as ocs

threads = {}


class Seen:
    def find_spec(name, *_):
        threads.setdefault(name, threading.current_thread())


async def ask():
    await getattr(ocs.OpencodeSessionService(), sys.argv[1])(*sys.argv[2:])


sys.meta_path.insert(0, Seen)
asyncio.run(ask())
print(threads["pandas"] is threading.main_thread())
"""


@pytest.mark.parametrize("asked", [["frames"], ["message", "m"], ["sessions"], ["search", "a"]])
def test_the_loop_goes_on_while_pandas_is_imported(asked: list[str]) -> None:
    command = [sys.executable, "-c", WHO_IMPORTS_PANDAS, *asked]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_layers_import_downwards_only() -> None:
    # In a process of its own: it turns off every logger that it finds.
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_service_takes_a_type_and_no_more_of_sqlalchemy() -> None:
    source = (ROOT / "opencode_sessions" / "service.py").read_text()
    imports = re.findall(r"^\s*((?:from|import) sqlalchemy.*)", source, re.M)
    assert imports == ["from sqlalchemy.ext.asyncio import AsyncSession"]


def test_the_recording_is_small() -> None:
    (recording,) = (ROOT / "opencode_sessions" / "demo").glob("*.xz")
    assert recording.stat().st_size < 1_500_000


# -- the wheel, installed where nothing of the source tree is ---------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The scripts of an environment with the wheel in it, and this one's packages behind it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", "venv", paths))
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    # Only now: pip would take the package as installed where it is visible from here.
    behind = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "behind.pth").write_text("\n".join(sorted(behind)))
    return scripts


def test_a_wheel_has_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "opencode_sessions").rglob("[!.]*.*")
        if not any(part.startswith((".", "__pycache__")) for part in file.relative_to(ROOT).parts)
    }
    wanted |= {
        f"opencode_sessions/_notebooks/{f.name}" for f in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert "opencode_sessions/_notebooks/01_first_look.ipynb" in wanted
    assert {"opencode_sessions/py.typed", "opencode_sessions/demo/README.md"} <= wanted
    assert {name for name in names if ".dist-info/" not in name} == wanted


def test_a_wheel_works_elsewhere(elsewhere: Path, tmp_path: Path) -> None:
    environ = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),  # nbconvert's templates
        "PYTHONWARNINGS": "error",
    }

    def run(*args: str) -> str:
        done = subprocess.run(
            [str(elsewhere / "opencode-sessions"), *args],
            cwd=tmp_path, env=environ, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "timeline" in run("--help")
    run("notebooks", "copies")
    copies = {file.name for file in (tmp_path / "copies").iterdir()}
    assert copies == {file.name for file in (ROOT / "notebooks").glob("*.ipynb")}

    said = run("demo", "--out", "look")
    assert "scripted replay" in said
    assert "Release 0.3.0" in said
    page = (tmp_path / "look" / "01_first_look.html").read_text()
    assert "scripted replay" in page
    assert loaded_from_elsewhere(page) == []
    assert "Clean up before 0.3" in run("sessions", "--db", "look/sessions.db")


@pytest.mark.parametrize(
    "loads", ["<script src='//x/y.js'>", '<img alt="" src="a.png">', "<style>@import '//x/y.css'"]
)
def test_a_page_that_loads_something_is_found_out(loads: str) -> None:
    assert loaded_from_elsewhere(loads)


def loaded_from_elsewhere(page: str) -> list[str]:
    """What a browser would fetch for a page: anything but a link that somebody clicks."""
    tags = re.findall(r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*>", page)
    fetched = [tag for tag in tags if re.search(r"""\b(?:src|href)=["']?(?!["']|data:)""", tag)]
    return fetched + re.findall(r"(?:@import|url\(|import\()\s*[\"']?(?:https?:)?//[^)\"']*", page)
