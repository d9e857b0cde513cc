"""Who appends: ours, the design everybody starts with, and other projects' stores.

Each stores one message with its parts, some also the three file events in it, and says so in
`stores`. A writer is a task with a session of its own.
"""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import opencode_sessions as ocs

BOTH, MESSAGE = "message, calls, events", "message"
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "The discount is applied before the tax, so the total is wrong. " * 8},
    *(
        {
            "type": "tool_use",
            "id": None,
            "name": "edit",
            "input": {"path": f"shop/cart_{n}.py", "new_string": "    total -= discount\n" * 20},
        }
        for n in range(3)
    ),
]
TEXT = json.dumps(PARTS)


class Appender(Protocol):
    """One contender."""

    name: str
    stores: str

    async def open(self, place: str, writers: int) -> None:
        """Opens an empty store, with a session for each writer."""

    async def append(self, writer: int) -> None:
        """Appends a message; it is durable afterwards."""

    async def close(self) -> None:
        """Lets go of it."""


class Ours:
    """The service; `form` is how many calls store a message with its events."""

    stores = BOTH

    def __init__(self, form: str = "one call") -> None:
        self.name, self._form = f"ours, {form}", form

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        self._service = await ocs.open(place, on_error="raise")
        said = [self._service.get_or_create_session(f"ses_{n}") for n in range(writers)]
        self._sessions = await asyncio.gather(*said)

    async def append(self, writer: int) -> None:
        """Appends."""
        session, service = self._sessions[writer], self._service
        if self._form == "one call":
            await service.persist_message(session, "assistant", PARTS, events=True)
        else:
            message = await service.persist_message(session, "assistant", PARTS)
            await service.persist_file_events(message, PARTS)

    async def close(self) -> None:
        """Closes it."""
        await self._service.close()


class Base(DeclarativeBase):
    """The three tables as applications have them."""

    type_annotation_map = {list[Any]: JSON}  # noqa: RUF012


class NaiveSession(Base):
    """A session."""

    __tablename__ = "naive_sessions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)


class NaiveMessage(Base):
    """A message."""

    __tablename__ = "naive_messages"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("naive_sessions.id"), index=True)
    role: Mapped[str]
    content: Mapped[str | None]
    parts: Mapped[list[Any]]
    created_at: Mapped[str]


class NaiveEvent(Base):
    """A file event."""

    __tablename__ = "naive_file_events"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("naive_sessions.id"), index=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("naive_messages.id"), index=True)
    event_type: Mapped[str]
    file_path: Mapped[str | None]
    diff: Mapped[str | None]
    command: Mapped[str | None]
    created_at: Mapped[str]


class Naive:
    """ORM objects, flush and commit for the message and again for its events."""

    stores = "message, events"

    def __init__(self, *, session_per_call: bool) -> None:
        self._per_call = session_per_call
        self.name = f"naive, {'a session per call' if session_per_call else 'one AsyncSession'}"

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        self._engine = _engine(place)
        async with self._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        self._db = AsyncSession(self._engine, expire_on_commit=False)
        async with AsyncSession(self._engine) as db:
            db.add_all(NaiveSession(id=f"ses_{n}") for n in range(writers))
            await db.commit()

    async def append(self, writer: int) -> None:
        """Appends."""
        session_id = f"ses_{writer}"
        if not self._per_call:
            message = await self._persist_message(self._db, session_id)
            await self._persist_file_events(self._db, message)
            return
        async with AsyncSession(self._engine, expire_on_commit=False) as db:
            message = await self._persist_message(db, session_id)
        async with AsyncSession(self._engine, expire_on_commit=False) as db:
            await self._persist_file_events(db, message)

    async def _persist_message(self, db: AsyncSession, session_id: str) -> NaiveMessage:
        text = "\n".join(part["text"] for part in PARTS if part.get("text"))
        message = NaiveMessage(
            id=new_id(),
            session_id=session_id,
            role="assistant",
            content=text,
            parts=PARTS,
            created_at=now(),
        )
        db.add(message)
        await db.flush()
        await db.commit()
        return message

    async def _persist_file_events(self, db: AsyncSession, message: NaiveMessage) -> None:
        for part in PARTS:
            if part["type"] == "tool_use":
                event = NaiveEvent(
                    id=new_id(),
                    session_id=message.session_id,
                    message_id=message.id,
                    event_type=part["name"],
                    file_path=part["input"].get("path"),
                    diff=part["input"].get("new_string"),
                    command=part["input"].get("command"),
                    created_at=now(),
                )
                db.add(event)
        await db.flush()
        await db.commit()

    async def close(self) -> None:
        """Closes it."""
        await self._db.close()
        await self._engine.dispose()


class OpenAISQLite:
    """openai-agents' SQLiteSession."""

    name, stores = "openai-agents SQLiteSession", MESSAGE

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        from agents import SQLiteSession

        self._sessions = [SQLiteSession(f"ses_{n}", place) for n in range(writers)]

    async def append(self, writer: int) -> None:
        """Appends."""
        await self._sessions[writer].add_items([{"role": "assistant", "content": TEXT}])

    async def close(self) -> None:
        """Closes it."""
        for session in self._sessions:
            session.close()


class OpenAISQLAlchemy:
    """openai-agents' SQLAlchemySession."""

    name, stores = "openai-agents SQLAlchemySession", MESSAGE

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        from agents.extensions.memory import SQLAlchemySession

        self._engine = _engine(place)
        make = SQLAlchemySession
        self._sessions = [
            make(f"ses_{n}", engine=self._engine, create_tables=True) for n in range(writers)
        ]
        for session in self._sessions:
            await session.add_items([{"role": "user", "content": "hello"}])

    async def append(self, writer: int) -> None:
        """Appends."""
        await self._sessions[writer].add_items([{"role": "assistant", "content": TEXT}])

    async def close(self) -> None:
        """Closes it."""
        await self._engine.dispose()


class GoogleAdk:
    """google-adk's DatabaseSessionService."""

    name, stores = "google-adk DatabaseSessionService", MESSAGE

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        from google.adk.events import Event
        from google.adk.sessions import DatabaseSessionService
        from google.genai import types

        def event() -> Any:
            content = types.Content(role="model", parts=[types.Part(text=TEXT)])
            return Event(author="agent", content=content)

        self._event = event
        self._service = DatabaseSessionService(db_url=_url(place))
        create = self._service.create_session
        self._sessions = [
            await create(app_name="bench", user_id="u", session_id=f"ses_{n}")
            for n in range(writers)
        ]

    async def append(self, writer: int) -> None:
        """Appends."""
        await self._service.append_event(self._sessions[writer], self._event())

    async def close(self) -> None:
        """Closes it."""
        await self._service.close()


class LangGraph:
    """langgraph's AsyncSqliteSaver."""

    name, stores = "langgraph AsyncSqliteSaver", MESSAGE

    async def open(self, place: str, writers: int) -> None:
        """Opens it."""
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        self._checkpoint = empty_checkpoint
        self._opened = AsyncSqliteSaver.from_conn_string(place)
        self._saver = await self._opened.__aenter__()
        await self._saver.setup()

    async def append(self, writer: int) -> None:
        """Appends."""
        config = {"configurable": {"thread_id": f"ses_{writer}", "checkpoint_ns": ""}}
        checkpoint = self._checkpoint() | {"channel_values": {"messages": PARTS}}
        await self._saver.aput(config, checkpoint, {"source": "loop", "step": 1}, {})

    async def close(self) -> None:
        """Closes it."""
        await self._opened.__aexit__(None, None, None)


def _url(place: str) -> str:
    if "://" in place:
        return place.replace("postgresql://", "postgresql+asyncpg://")
    return f"sqlite+aiosqlite:///{place}"


def _engine(place: str) -> AsyncEngine:
    return create_async_engine(_url(place), pool_timeout=600)


def new_id() -> str:
    """An id as applications make them."""
    return str(uuid.uuid4())


def now() -> str:
    """This moment as text."""
    return datetime.now(UTC).isoformat()
