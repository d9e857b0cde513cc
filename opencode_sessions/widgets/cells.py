"""A cell that is run again leaves one widget: the ones its last run made are closed first."""

import sys
from typing import Any, Protocol


class _Closable(Protocol):
    def close(self) -> None: ...


_made: dict[str, list[_Closable]] = {}  # by the id of the cell that made them


def close_with_cell(widget: _Closable) -> None:
    """Closes the widget when the notebook cell that is running now is run again."""
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    cell_id = _running_cell(shell)
    if shell is not None and cell_id is not None:
        _made.setdefault(cell_id, []).append(widget)
        shell.events.register("pre_run_cell", _close_earlier)  # registers once


def _close_earlier(info: Any) -> None:
    for widget in _made.pop(info.cell_id, []):
        widget.close()


def _running_cell(shell: Any) -> str | None:
    """The id of the cell that runs; None outside a notebook, and where a frontend sends none."""
    if not hasattr(shell, "get_parent"):
        return None
    cell_id: str | None = (shell.get_parent().get("metadata") or {}).get("cellId")
    return cell_id
