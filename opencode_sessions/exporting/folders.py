"""The folder an export goes to: on a disk, or wherever fsspec reaches.

A file is there whole or not at all. On a disk it is written under a name that every reader passes
over, and renamed; an object store shows an object when all of it has arrived.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from ..errors import ExportError
from .layout import MANIFEST

# A put is there whole or not at all; a move would be a copy.
OBJECT_STORES = {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"}
AT_ONCE = 16  # files of an object store that are read at a time: each takes its while
FIRST_ANSWER = 60.0  # seconds; a driver that finds no network or no credentials asks for minutes
PASSED_OVER = ("_", ".")  # what a name begins with that Spark, Arrow and this package read past
ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.]+:/(?!/)")  # s3:/team is no folder anybody wants
Found = TypeVar("Found")


class Folder(Protocol):
    """What an export needs of a place."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    @property
    def at_once(self) -> int:
        """How many files are best read at a time."""

    def files(self, under: str) -> list[str]:
        """The files below a folder of it, by their names from here, sorted."""

    def read(self, name: str) -> bytes | None:
        """What is in a file; None if there is none."""

    def open(self, name: str) -> Any:
        """A file to read pieces of.

        Raises:
            OSError: there is none, or it cannot be read.
        """

    def url(self, name: str) -> str:
        """A file's address, as Spark reaches it."""

    def write(self, name: str, data: Any) -> None:
        """Puts a file there, all of it at once; what was there under this name is replaced."""

    def remove(self, name: str) -> None:
        """Removes a file that is there."""


def folder_at(
    target: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> Folder:
    """The folder that a path or URL names.

    Raises:
        ExportError: it names nothing, is a file, or cannot be reached.
    """
    text = os.fspath(target)
    if not text or ONE_SLASH.match(text):
        raise ExportError(f"{text!r} is neither a folder nor a URL (s3://, gs://, ...).")
    if text.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        text = unquote(urlsplit(text).path)
    if "://" in text:
        return _Remote(text, storage_options or {})
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise ExportError(f"{path} is a file. An export is a folder: name that.")
    return _Local(path)


def each(folder: Folder, files: Sequence[str], read: Callable[[str], Found]) -> Iterator[Found]:
    """What is read of each file of a folder, in their order, some of them at a time."""
    with ThreadPoolExecutor(folder.at_once) as threads:
        yield from threads.map(read, files)


class _Local:
    at_once = os.cpu_count() or 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    def files(self, under: str) -> list[str]:
        found = (file for file in (self._path / under).rglob("*") if file.is_file())
        return _shown(file.relative_to(self._path).as_posix() for file in found)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def open(self, name: str) -> Any:
        return (self._path / name).open("rb")

    def url(self, name: str) -> str:
        return f"file://{(self._path / name).absolute().as_posix()}"

    def write(self, name: str, data: Any) -> None:
        file = self._path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        under_way = file.with_name(f".{file.name}.{uuid4().hex[:8]}")
        try:
            with under_way.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(under_way, file)
        finally:
            under_way.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)


class _Remote:
    at_once = AT_ONCE

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ExportError(
                f"{url} needs fsspec: `pip install 'opencode-sessions[remote]'`."
            ) from error
        self.place = url

        def reach() -> tuple[Any, str]:
            fs, root = url_to_fs(url, **storage_options)
            with suppress(FileNotFoundError):
                fs.cat_file(f"{root.rstrip('/')}/{MANIFEST}")
            return fs, root

        with self._errors():
            self._fs, self._root = _in_time(reach)
        protocol = self._fs.protocol
        names = {protocol} if isinstance(protocol, str) else {*protocol}
        self._puts_at_once = not names.isdisjoint(OBJECT_STORES)

    def files(self, under: str) -> list[str]:
        self._fs.invalidate_cache()  # others write here as well
        root = self._root.rstrip("/") + "/"
        try:
            with self._errors():
                found = self._fs.find(root + under)
        except FileNotFoundError:
            return []
        return _shown(str(file).removeprefix(root) for file in found)

    def read(self, name: str) -> bytes | None:
        try:
            with self._errors():
                return bytes(self._fs.cat_file(self._at(name)))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> Any:
        return self._fs.open(self._at(name), "rb")

    def url(self, name: str) -> str:
        return f"{self.place.rstrip('/')}/{name}"

    def write(self, name: str, data: Any) -> None:
        try:
            with self._errors():
                self._write(self._at(name), bytes(data))
        except FileNotFoundError as error:  # there is no such bucket
            raise ExportError(f"{self.place} cannot be written to: {error}") from error

    def _write(self, file: str, data: bytes) -> None:
        if self._puts_at_once:
            self._fs.pipe_file(file, data)
            return
        above, _, last = file.rpartition("/")
        self._fs.makedirs(above, exist_ok=True)
        under_way = f"{above}/.{last}.{uuid4().hex[:8]}"
        try:
            self._fs.pipe_file(under_way, data)
            self._fs.mv(under_way, file)
        except BaseException:
            if self._fs.exists(under_way):
                self._fs.rm_file(under_way)
            raise

    def remove(self, name: str) -> None:
        with self._errors():
            if self._fs.exists(self._at(name)):
                self._fs.rm_file(self._at(name))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What a driver raises, which may be anything, as one error that names the place."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            said = str(error) or type(error).__name__
            raise ExportError(f"{self.place} cannot be reached: {said}") from error

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _shown(files: Iterable[str]) -> list[str]:
    """Those of these files that neither have nor lie under a name that is passed over, sorted."""
    return sorted(
        file for file in files if not any(n.startswith(PASSED_OVER) for n in file.split("/"))
    )


def _in_time(ask: Callable[[], Found]) -> Found:
    """The answer to the first question of a store, which may not be there.

    Raises:
        TimeoutError: there was none.
    """
    answer: Future[Found] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()  # so that a program can end before it does
    try:
        return answer.result(FIRST_ANSWER)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {FIRST_ANSWER:g} s") from error
