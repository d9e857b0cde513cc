"""From sessions to answers: frames in, tidy frames out, each module one question."""

from .frames import Frames, load

__all__ = ["Frames", "load"]
