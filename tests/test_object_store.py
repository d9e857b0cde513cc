"""An export to object stores, one that speaks S3 and one as Google's: servers on loopback."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from conftest import Recording
from fsspec.core import url_to_fs
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames

NAMES = ("sessions", "messages", "tool_calls", "file_events")
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
GOOGLE = {
    "GOOGLE_CLOUD_PROJECT": "x",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # else it asks for a bucket's kind by TLS
}


@pytest.fixture(scope="module")
def stores() -> Iterator[Mapping[str, Mapping[str, str]]]:
    """What finds each store, in a process's environment. One for all tests: drivers remember."""
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    google = create_server("127.0.0.1", 0, in_memory=True)
    google.start()
    ports = s3.get_host_and_port()[1], google._api._httpd.server_address[1]
    endpoints = [f"http://127.0.0.1:{port}" for port in ports]
    yield {
        "s3": KEYS | {"AWS_ENDPOINT_URL": endpoints[0]},
        "gs": GOOGLE | {"STORAGE_EMULATOR_HOST": endpoints[1]},
    }
    google.stop()
    s3.stop()


@pytest.fixture(params=["s3", "gs"])
def bucket(
    stores: Mapping[str, Mapping[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> str:
    """The URL of a folder in a bucket of one's own."""
    for name, value in stores[request.param].items():
        monkeypatch.setenv(name, value)
    url = f"{request.param}://team-{uuid4()}"
    store, name = url_to_fs(url)
    store.mkdir(name)
    return f"{url}/sessions"


def assert_equal(back: Frames, frames: Frames) -> None:
    for name in NAMES:
        pd.testing.assert_frame_equal(getattr(back, name), getattr(frames, name))


async def test_an_export_grows_there_by_what_is_new(bucket: str, trailmap: Recording) -> None:
    async with ocs.OpencodeSessionService() as svc:
        await svc.import_opencode(trailmap.database, progress=False)
        frames = await svc.frames()
        first = await ocs.export(svc, bucket)
        again = await ocs.export(svc, bucket)
    assert (first.sessions, first.unchanged) == (20, 0)
    assert (again.sessions, again.unchanged) == (0, 20)
    assert_equal(ocs.read_export(bucket), frames)


def test_bucket_that_is_none_is_named(bucket: str, trailmap: Recording) -> None:
    nowhere = bucket.replace("team-", "nobody-")
    with pytest.raises(ocs.ExportError, match=f"{nowhere} cannot be written to"):
        ocs.export(ocs.read_opencode(trailmap.database), nowhere)
    with pytest.raises(ocs.ExportError, match=f"no export in {nowhere}"):
        ocs.read_export(nowhere)


async def test_exporters_at_once_lose_nothing(
    bucket: str, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    """Two have sessions of their own, and two have the same."""
    names = {"ana": "trailmap-1.18.33", "ben": "opencode-1.3.2", "eve": "opencode-1.3.2"}
    for name, recording in names.items():
        async with ocs.open(tmp_path / f"{name}.db") as svc:
            await svc.import_opencode(
                recordings[recording].database, origin="one", progress=False, shell=False
            )
    command = [sys.executable, "-m", "opencode_sessions.cli", "export", "--to", bucket]
    running = [
        await asyncio.create_subprocess_exec(
            *command, "--db", str(tmp_path / f"{name}.db"), "--exporter", name
        )
        for name in names
    ]
    async with asyncio.timeout(120):
        assert [await process.wait() for process in running] == [0, 0, 0]
    async with ocs.OpencodeSessionService() as svc:
        for recording in {*names.values()}:
            await svc.import_opencode(
                recordings[recording].database, origin="one", progress=False, shell=False
            )
        assert_equal(ocs.read_export(bucket), await svc.frames())
