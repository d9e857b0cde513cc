"""A stand-in for a language model: it plays a script, so that a real opencode works offline.

It listens on 127.0.0.1 in this process and speaks OpenAI's chat completions, streamed. A script is
``{prompt: [step, ...]}``: a request is answered with the next step of the prompt found in its
newest user message, and with "Done." when all have been played. A step may hold ``text``, ``tools``
(a list of ``(name, input)``) and ``hang``, an event: the answer is not ended before it is set.
"""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Step = dict[str, Any]
LAST: Step = {"text": "Done."}
LONGEST_HANG_S = 120


class FakeModel(ThreadingHTTPServer):
    """The server; the n-th step it plays has the call ids ``call_<n>_0``, ``call_<n>_1`` and on.

    `before_step` is called with n while opencode waits, when all calls before it are done.
    """

    daemon_threads = True

    def __init__(
        self, script: dict[str, list[Step]], before_step: Callable[[int], None] = lambda _: None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.before_step = script, before_step
        self.turn = threading.Lock()
        self.played: list[tuple[str, int]] = []  # the prompt, and which of its steps
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "FakeModel":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def next_step(self, said: str) -> tuple[int, Step]:
        with self.turn:
            prompt = next(prompt for prompt in self.script if prompt in said)
            number = sum(played == prompt for played, _ in self.played)
            self.before_step(len(self.played))
            self.played.append((prompt, number))
            steps = self.script[prompt]
            return len(self.played) - 1, steps[number] if number < len(steps) else LAST


class Handler(BaseHTTPRequestHandler):
    """One request for an answer."""

    server: FakeModel

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "tools" in asked:
            said = [_text(m["content"]) for m in asked["messages"] if m["role"] == "user"]
            number, step = self.server.next_step(said[-1])
        else:  # opencode wants a title for the session
            number, step = -1, {"text": "Untitled"}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for chunk in _chunks(number, step):
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
            if "hang" in step:
                step["hang"].wait(LONGEST_HANG_S)
            end = {
                "index": 0,
                "delta": {},
                "finish_reason": "tool_calls" if "tools" in step else "stop",
            }
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            self.wfile.write(f"data: {json.dumps(_chunk(end) | {'usage': usage})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # opencode went away while the answer hung, as it was told to


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "\n".join(c.get("text", "") for c in content)


def _chunks(number: int, step: Step) -> Iterator[dict[str, Any]]:
    yield _chunk({"index": 0, "delta": {"role": "assistant", "content": step.get("text", "")}})
    for index, (name, given) in enumerate(step.get("tools", [])):
        call = {
            "index": index,
            "id": call_id(number, index),
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(given)},
        }
        yield _chunk({"index": 0, "delta": {"tool_calls": [call]}})


def _chunk(choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "answer", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]}


def call_id(number: int, index: int = 0) -> str:
    """The id of a call, as opencode stores it too."""
    return f"call_{number:04d}_{index}"
