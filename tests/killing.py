"""A writer that says what has been stored, to be killed: what `test_killed` runs in a process."""

import asyncio
import os
import random
from multiprocessing.connection import Connection

import opencode_sessions as ocs

WRITERS = 6
CALLS = [
    {"type": "tool_use", "name": "edit", "input": {"path": f"{n}.py", "new_string": "x\n" * 200}}
    for n in range(3)
]


def write(place: str, round: int, told: Connection) -> None:
    """Writes from several tasks until it is killed; tells each row whose await has returned."""
    asyncio.run(_write(place, round, told.fileno()))


async def _write(place: str, round: int, told: int) -> None:
    def tell(what: str, id: str) -> None:
        os.write(told, f"{what} {id}\n".encode())  # short: a pipe takes it whole or not at all

    service = await ocs.open(place)
    tell("opened", "")
    chance = random.Random(round)

    async def writer(number: int, session: ocs.models.OpencodeSession) -> None:
        turn = 0
        while True:
            turn += 1
            parts = [{"text": f"{round} {number} {turn}"}, *CALLS]
            if chance.random() < 0.5:
                message = await service.persist_message(session, "user", parts, events=True)
                assert not service.pending
                tell("whole", message.id)
            else:
                message = await service.persist_message(session, "user", parts)
                assert not service.pending
                tell("message", message.id)
                await service.persist_file_events(message, parts)
                assert not service.pending
                tell("events", message.id)

    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            session = await service.get_or_create_session(f"ses_{number % 3}")
            tell("session", session.id)
            group.create_task(writer(number, session))
