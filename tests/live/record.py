"""Records sessions at unusual places with a real opencode, and what really happened in them.

    python tests/live/record.py subfolder tests/data/places

The recording goes to ``subfolder-<opencode's version>.tar.xz``, opencode's data folder without its
logs, and the truth to ``subfolder-<version>.truth.json.xz``. The truth comes from the script below
and from the files on the disk, hashed before every step of the model; nothing in it comes from
opencode. All of it happens below ``/home/dev``, which must not be there yet and is removed in the
end.
"""

import hashlib
import json
import lzma
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_llm import FakeModel, call_id
from lab import LIFETIME_S, MODELS, Lab, Server, opencode

ROOT = Path("/home/dev")
REAL = ROOT / "disk" / "orchard"  # the repository
LINK = ROOT / "orchard"  # a symbolic link to it
NOTES = ROOT / "notes"  # outside of the repository
FILES = {
    "README.md": "# Orchard\n\nTrees and what they bear.\n",
    "docs/guide.md": "# Guide\n\nPick when ripe.\n",
    "services/api/app.py": "NAME = 'api'\nPORT = 8000\nDEBUG = True\n",
    "services/api/settings.py": "LIMIT = 10\nTIMEOUT = 5\n",
    "services/api/old.py": "print('old')\n",
    "services/web/page.html": "<h1>Orchard</h1>\n<p>Apples</p>\n<p>Pears</p>\n",
    "services/web/style.css": "h1 { color: green }\n",
}
OUTSIDE = {"todo.md": "- prune\n", "secret.md": "nothing to see\n"}


@dataclass(frozen=True)
class Did:
    """What a call does to one file; `path` is seen from the repository, or absolute."""

    event_type: str
    path: str | None = None
    moved_to: str | None = None
    named: str | None = None  # as the call says it


@dataclass(frozen=True)
class Act:
    """One call of a tool, what is to come of it, and its status as opencode is to store it."""

    tool: str
    given: dict[str, Any]
    did: tuple[Did, ...]
    status: str = "completed"


def read(given: str, path: str, status: str = "completed") -> Act:
    return Act("read", {"filePath": given}, (Did("read", path, named=given),), status)


def edit(given: str, path: str, old: str, new: str) -> Act:
    text = {"filePath": given, "oldString": old, "newString": new}
    return Act("edit", text, (Did("edit", path, named=given),))


def write(given: str, path: str, text: str) -> Act:
    return Act("write", {"filePath": given, "content": text}, (Did("write", path, named=given),))


def bash(command: str, status: str = "completed") -> Act:
    given = {"command": command, "description": "Runs a command"}
    return Act("bash", given, (Did("bash"),), status)


def patch(text: str, *did: Did, status: str = "completed") -> Act:
    return Act("apply_patch", {"patchText": f"*** Begin Patch\n{text}\n*** End Patch"}, did, status)


@dataclass(frozen=True)
class Session:
    """Prompts and what the model does about each; a prompt that speaks of a patch is a gpt-5's."""

    title: str
    folder: Path
    turns: dict[str, list[Act]]
    is_killed: bool = False


@dataclass
class Recording:
    """What is recorded under one name."""

    sessions: list[Session]
    trees: list[dict[str, str]] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)

    def look(self, _: int) -> None:
        """Remembers every file as it is now."""
        tree = {}
        for folder in (REAL, NOTES):
            for file in sorted(folder.rglob("*")):
                name = file.relative_to(REAL) if folder == REAL else file
                if file.is_file() and ".git" not in file.parts:
                    data = file.read_bytes()
                    tree[str(name)] = hashlib.sha256(data).hexdigest()
                    self.contents[tree[str(name)]] = data.decode()
        self.trees.append(tree)


IN_SUBFOLDER = {
    "Tidy the service": [
        read("app.py", "services/api/app.py"),
        read(f"{REAL}/services/api/settings.py", "services/api/settings.py"),
        read("../../README.md", "README.md"),
        read("../..", "."),
        edit("app.py", "services/api/app.py", "DEBUG = True", "DEBUG = False"),
        edit(
            "./settings.py", "services/api/settings.py", "LIMIT = 10\n", "LIMIT = 10\nRETRY = 3\n"
        ),
        edit("../web/page.html", "services/web/page.html", "<p>Pears</p>\n", ""),
        write("handlers/health.py", "services/api/handlers/health.py", "OK = 200\n"),
        write("../../docs/api.md", "docs/api.md", "# API\n\nPort 8000.\n"),
        write(f"{REAL}/docs/guide.md", "docs/guide.md", "# Guide\n\nPick early.\n"),
        bash("echo 'made by a command' > made.txt; cat app.py > ../web/copied.py"),
        read("missing.py", "services/api/missing.py", "error"),
        read("../../../../notes/todo.md", f"{NOTES}/todo.md"),
        read(f"{ROOT}/elsewhere.md", f"{ROOT}/elsewhere.md", "denied"),
    ],
    "Now with a patch": [
        patch(
            "*** Update File: app.py\n@@\n-PORT = 8000\n+PORT = 8080\n"
            "*** Add File: handlers/ready.py\n+READY = True\n+SINCE = 1\n"
            "*** Update File: ../web/page.html\n*** Move to: ../web/index.html\n"
            "@@\n-<p>Apples</p>\n+<p>Apples, plums</p>\n"
            "*** Delete File: old.py\n"
            "*** Update File: ../../README.md\n@@\n-Trees and what they bear.\n+Trees.",
            Did("edit", "services/api/app.py"),
            Did("write", "services/api/handlers/ready.py"),
            Did("move", "services/web/page.html", "services/web/index.html"),
            Did("delete", "services/api/old.py"),
            Did("edit", "README.md"),
        ),
        patch(
            "*** Update File: ../web/style.css\n@@\n-no such line\n+never",
            Did("edit", "services/web/style.css"),
            status="error",
        ),
    ],
}
THROUGH_LINK = {
    "Tidy the service": [
        read("app.py", "services/api/app.py"),
        read("../../README.md", "README.md"),
        read("settings.py", "services/api/settings.py"),
        edit("settings.py", "services/api/settings.py", "LIMIT = 10", "LIMIT = 20"),
        write("../web/new.html", "services/web/new.html", "<p>New</p>\n"),
        bash("pwd > where.txt"),
        # by the real name
        read(f"{REAL}/services/api/app.py", "services/api/app.py"),
        edit(f"{REAL}/services/api/app.py", "services/api/app.py", "DEBUG = True", "DEBUG = 1"),
        # by the link's name
        read(f"{LINK}/docs/guide.md", "docs/guide.md"),
        edit(f"{LINK}/docs/guide.md", "docs/guide.md", "when ripe", "early"),
        write(f"{LINK}/docs/api.md", "docs/api.md", "# API\n"),
    ],
    "Now with a patch": [
        patch(
            "*** Update File: app.py\n@@\n-PORT = 8000\n+PORT = 8080\n"
            "*** Delete File: ../web/style.css\n"
            f"*** Update File: {LINK}/README.md\n@@\n-# Orchard\n+# The orchard",
            Did("edit", "services/api/app.py"),
            Did("delete", "services/web/style.css"),
            Did("edit", "README.md", named=f"{LINK}/README.md"),
        )
    ],
}
BEFORE_KILL = {
    "First all the way": [
        read("README.md", "README.md"),
        edit("README.md", "README.md", "bear", "bear in autumn"),
        write("docs/api.md", "docs/api.md", "# API\n"),
    ],
    "Then not to the end": [
        read("docs/guide.md", "docs/guide.md"),
        edit("docs/guide.md", "docs/guide.md", "ripe", "red"),
        bash("echo half > half.txt; sleep 5", "pending"),
    ],
}
RECORDINGS = {
    "subfolder": [Session("In a subfolder", REAL / "services" / "api", IN_SUBFOLDER)],
    "linked": [
        Session("Through a link", LINK / "services" / "api", THROUGH_LINK),
    ],
    "killed": [Session("Killed", REAL, BEFORE_KILL, is_killed=True)],
}


def main(name: str, folder: Path) -> None:
    found = opencode()
    if found is None:
        sys.exit("There is no opencode on PATH, and OPENCODE_BIN names none.")
    ROOT.mkdir()
    try:
        record(Recording(RECORDINGS[name]), found, folder, name)
    finally:
        shutil.rmtree(ROOT)


def record(recording: Recording, found: str, folder: Path, name: str) -> None:
    script = {
        prompt: [{"tools": [(act.tool, act.given)]} for act in acts]
        for session in recording.sessions
        for prompt, acts in session.turns.items()
    }
    with FakeModel(script, recording.look) as model:
        lab = Lab(found, ROOT / "home", model.url, (f"{NOTES}/*", f"{LINK}/*", f"{REAL}/*"))
        lab.repository(REAL, FILES)
        lab.repository(NOTES, OUTSIDE)
        LINK.symlink_to(REAL)
        for session in recording.sessions:
            with lab.serve(session.folder) as server:
                play(session, server)
    recording.look(0)
    version = lab.version()
    name = f"{name}-{version}"
    truth = {
        "opencode_version": version,
        "worktree": str(REAL),
        "link": str(LINK),
        "sessions": [told(session, model, recording) for session in recording.sessions],
        "contents": recording.contents,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(truth, indent=1, ensure_ascii=False).encode()
    (folder / f"{name}.truth.json.xz").write_bytes(lzma.compress(text, preset=9))
    with tarfile.open(folder / f"{name}.tar.xz", "w:xz", preset=9) as packed:
        packed.add(lab.data, ".", filter=lambda file: None if file.name == "./log" else file)


def play(session: Session, server: Server) -> None:
    id = server.call("/session", {"title": session.title})["id"]
    *prompts, last = session.turns
    for prompt in prompts if session.is_killed else session.turns:
        server.prompt(id, prompt, MODELS["patch" in prompt])
    if session.is_killed:
        server.prompt(id, last, is_awaited=False)
        until(lambda: (REAL / "half.txt").exists() and "running" in states(server, id))
        server.kill()


def states(server: Server, session: str) -> list[str]:
    messages = server.call(f"/session/{session}/message")
    return [p["state"]["status"] for m in messages for p in m["parts"] if p["type"] == "tool"]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIFETIME_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("It did not come to that.")
        time.sleep(0.05)


def told(session: Session, model: FakeModel, recording: Recording) -> dict[str, Any]:
    """The session's events, with each file's hash before and after the call."""
    events = []
    turns = list(session.turns)
    for number, (prompt, step) in enumerate(model.played):
        if prompt not in turns or step >= len(session.turns[prompt]):
            continue
        act = session.turns[prompt][step]
        before, after = recording.trees[number], recording.trees[number + 1]
        for did in act.did:
            path, stays = did.path or "", did.moved_to or did.path or ""
            event = {
                "turn": turns.index(prompt) + 1,
                "call_id": call_id(number),
                "tool": act.tool,
                "status": act.status,
                "event_type": did.event_type,
                "named": did.named,
                "command": act.given.get("command"),
                "path": did.path,
                "moved_to": did.moved_to,
                "before": before.get(path),
                "after": after.get(stays),
            }
            if did.event_type == "bash":
                paths = sorted(before.keys() | after.keys())
                event["changed"] = [p for p in paths if before.get(p) != after.get(p)]
            changes = did.event_type in ("edit", "write", "delete", "move")
            if act.status == "completed" and changes == (event["before"] == event["after"]):
                raise RuntimeError(f"The disk says otherwise: {event}")
            events.append(event)
    return {"title": session.title, "folder": str(session.folder), "events": events}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
