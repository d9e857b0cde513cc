"""What is PostgreSQL's alone: its drivers, its rights, COPY, compression, a server that goes."""

from pathlib import Path

import pytest
from postgres import Server, binaries, bundled

import opencode_sessions as ocs


@pytest.mark.parametrize("form", ["postgresql://", "postgresql+asyncpg://", "postgres://"])
async def test_a_url_opens_a_store(form: str, postgres_database: str) -> None:
    url = postgres_database.replace("postgresql://", form)
    async with ocs.open(url) as service:
        await service.get_or_create_session("ses_1", "build", Path("/p"))
    async with ocs.open(url, migrate=False) as service:
        assert len(await service.sessions()) == 1


@pytest.mark.parametrize("found", [binaries, bundled], ids=["the system's", "pip's"])
def test_a_server_of_ones_own(found: object) -> None:
    place = found()  # type: ignore[operator]
    assert place
    with Server(place, durable=True) as server:
        url = server.database()
        server.execute("CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)", url=url)
        server.restart("immediate")
        assert server.execute("SELECT n FROM kept", url=url) == [(1,)]
