"""Widgets: sessions and what they did to files, to look through in a notebook."""

from .explorer import SessionExplorer, explore

__all__ = ["SessionExplorer", "explore"]
