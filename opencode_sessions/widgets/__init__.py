"""Widgets: sessions and what they did to files, to look through in a notebook."""

from .explorer import SessionExplorer, explore
from .timeline import FileTimeline

__all__ = ["FileTimeline", "SessionExplorer", "explore"]
