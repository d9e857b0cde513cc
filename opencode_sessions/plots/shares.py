"""Parts and rates in pictures: tools, failures, costs, and which files change together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..analytics.costs import CONVERSATION
from ..analytics.counting import columns_of, counted
from ..analytics.given import checked
from .paper import (
    COLOURS,
    FAINT,
    KINDS,
    OTHERS,
    REST,
    RULE,
    axes,
    cells,
    count_of,
    drawable,
    entitle,
    legend_below,
    name_columns,
    name_rows,
    named,
    nothing,
    say,
    short,
)

ROWS = 30  # of more, the ones with most
TOOLS = 8  # of more, those with the largest shares have a colour
WIDE = 0.07  # of the picture, for a part to say what it is
BOX: dict[str, Any] = {"boxstyle": "round,pad=0.15", "fc": "white", "lw": 0, "alpha": 0.85}
INSIDE: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": BOX}
INSIDE |= {"parse_math": False}
# What a table of rates may call them: of `rates`, and of `edit_failures`.
RATES = (("count", "total", "rate"), ("failures", "attempts", "failure_rate"))
FAILED = ("failed", "attempts")


@checked
def tool_mix(
    tool_calls: pd.DataFrame, by: str | Sequence[str] = "model", ax: Axes | None = None
) -> Axes:
    """Which tools are called how often: a bar a group, its parts the tools' shares of its calls.

    The group with most calls is on top, those past 30 are left out; the 8 tools with the largest
    share anywhere have a colour, the others are one part. A tool that is called as a kind of event
    has that one's colour. Fork copies, undone turns and the user's own calls are left out.

    Args:
        tool_calls: `frames.tool_calls` or some of its rows.
        by: one or several of its columns: "model", "agent_name", "session_id", "project", ...
        ax: where to draw; None makes a figure as tall as its rows.

    Raises:
        ValueError: `by` names no column, or these are file events, of which a call has several.
    """
    if "event_type" in tool_calls:
        raise ValueError("tool_mix() counts tool calls: `frames.tool_calls`, not file events.")
    columns = columns_of(by, tool_calls.columns)
    calls = counted(tool_calls, columns=[*columns, "tool"])
    group = _names(calls, columns)
    groups = group.value_counts()
    shown = groups.index[:ROWS]
    ax = axes(ax, len(shown) + 1)
    if calls.empty:
        return nothing(ax, "tool calls")
    count = pd.crosstab(group, calls["tool"].astype("str")).reindex(index=shown)
    share = count.div(groups[shown], axis=0)
    by_share = share.max().sort_values(ascending=False, kind="stable").index
    own = by_share[: TOOLS if len(by_share) > TOOLS + 1 else len(by_share)]
    # The one that is called most comes first in each bar.
    share = share[count[own].sum().sort_values(ascending=False, kind="stable").index]
    others = iter((*OTHERS, REST))
    looks = [KINDS[name] if name in KINDS else next(others) for name in share]
    if len(own) < len(by_share):
        share["other"] = 1 - share.sum(axis=1)
        looks.append(REST)
    left = np.zeros(len(shown))
    for name, label, (colour, hatch) in zip(share, drawable(map(str, share)), looks, strict=True):
        width = share[name].to_numpy(float)
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "lw": 0.5}
        ax.barh(range(len(shown)), width, 0.74, left, label=label, **style)
        for y in np.flatnonzero(width >= WIDE).tolist():
            ax.text(left[y] + width[y] / 2, y, label, **INSIDE)
        left += width
    for y, many in enumerate(groups[shown].tolist()):
        say(ax, 1, y, count_of(many, "call"))
    ax.set_xlim(0, 1.12)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("share of the group's tool calls")
    said = f"{count_of(len(calls), 'call')} of {count_of(len(by_share), 'tool')}"
    entitle(ax, f"{said} by {' and '.join(columns)}{_left_out(len(groups))}")
    return legend_below(name_rows(ax, list(shown)))


def failure_rates(
    table: pd.DataFrame, ax: Axes | None = None, *, said: tuple[str, str] | None = None
) -> Axes:
    """How often changes fail, and how sure that is: a dot a group, on its 95 % interval.

    Beside each: failures of attempts. Where intervals overlap widely, the data do not tell the
    groups apart. Groups are in the order of the table, those past 30 with the fewest left out.

    Args:
        table: what `edit_failures` gives, or `rates`, of whatever.
        ax: where to draw; None makes a figure as tall as its rows.
        said: what a table of `rates` counts, and of what: `("blind", "changes")`.

    Raises:
        KeyError: the table is none of these.
    """
    found = [names for names in RATES if {*names, "low", "high"} <= {*table}]
    if not found:
        raise KeyError("A table of edit_failures(...) or rates(...) is wanted.")
    above, below, rate = found[0]
    columns = [str(name) for name in table][: min(map(list(table).index, found[0]))]
    most = table[below].sort_values(ascending=False, kind="stable").index[:ROWS]
    shown = table.loc[table.index.isin(most)].reset_index(drop=True)
    ax = axes(ax, len(shown) + 1)
    if shown.empty:
        return nothing(ax, "attempts")
    y, middle = np.arange(len(shown)), shown[rate].to_numpy("float64")
    low, high = (shown[name].to_numpy("float64") for name in ("low", "high"))
    ax.hlines(y, low, high, color=FAINT, linewidth=1.6)
    ends: dict[str, Any] = {"marker": "|", "ls": "none", "color": FAINT, "ms": 8, "mew": 1.2}
    ax.plot(np.append(low, high), np.append(y, y), **ends)
    ax.plot(middle, y, "o", color="black", ms=6)
    for place, (n, of) in enumerate(zip(shown[above], shown[below], strict=True)):
        at = high[place] if of else 0
        say(ax, at, place, f"{n:,} of {of:,}" if of else "none of none")
    ax.set_xlim(0, min(max(np.nanmax(high, initial=0.01) * 1.18, 0.02), 1.15))
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if above == "failures":
        said = said or FAILED
    ratio = " / ".join(said or (above, below))
    ax.set_xlabel(f"{ratio}, with its 95 % interval (Wilson)")
    ax.grid(axis="x", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    names = f", by {' and '.join(columns)}" if columns else ""
    whole = f"{table[above].sum():,} of {table[below].sum():,}"
    whole += f" {said[1]} {said[0]}" if said else ""
    entitle(ax, f"{whole}{names}{_left_out(len(table))}")
    return name_rows(ax, list(_names(shown, columns)) if columns else ["all"] * len(shown))


@checked
def cost_per_file(costs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """An estimate of what each file cost over all sessions: for writing it, and for having read it.

    The costliest is on top; those past 30 share a row. The conversation, which is all that no file
    accounts for, is told in words: it is most of the cost. A file is a path of a project here, as
    it was called.

    Args:
        costs: what `cost_by_file` gives, or some of its rows.
        ax: where to draw; None makes a figure as tall as its rows.
    """
    is_file = costs["file_path"].ne(CONVERSATION)
    parts = ["written_usd", "read_usd"]
    files = costs[is_file].groupby(["project", "file_path"], observed=True)[parts].sum()
    order = files.sum(axis=1).sort_values(ascending=False, kind="stable").index
    files = files.loc[order].reset_index()
    own = files[:ROWS] if len(files) > ROWS + 1 else files
    labels = named(own["file_path"], files["project"])
    rest = files[len(own) :]
    ax = axes(ax, len(labels) + (len(rest) > 0))
    if files.empty:
        return nothing(ax, "costs of files")
    left = np.zeros(len(own))
    called = ("writing it", "having read it in the context")
    looks = (COLOURS[2], COLOURS[0])
    for part, label, (colour, hatch) in zip(parts, called, looks, strict=True):
        style: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "lw": 0.5}
        width = own[part].to_numpy(float)
        ax.barh(range(len(own)), width, 0.74, left, label=label, **style)
        left += width
    for y, cost in enumerate(left.tolist()):
        say(ax, cost, y, _dollars(cost))
    if len(rest):
        labels.append(f"{len(rest):,} more files")
        say(ax, 0, len(own), _dollars(rest[parts].sum().sum()))
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    ax.set_xlabel("US dollars, estimate")
    whole, talk = (costs.loc[some, "estimate_usd"].sum() for some in (slice(None), ~is_file))
    of_files = f"{_dollars(whole - talk)} for {count_of(len(files), 'file')}"
    said = f"about {of_files}, {_dollars(talk)} for the conversation around them"
    entitle(ax, f"{_dollars(whole)}: {said}")
    return legend_below(name_rows(ax, labels, len(own)))


@checked
def coupling_matrix(pairs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Which files change together: a cell a pair, the darker the closer.

    Files are in the order of their closest pair; of more than 30, the closest. A number is the
    degree in percent; an empty cell is a pair that did not reach the thresholds.

    Args:
        pairs: what `coupling` gives, or some of its rows.
        ax: where to draw; None makes a figure as tall as its rows.
    """
    pairs = pairs.astype({"project": "str", "file_path": "str", "coupled_path": "str"})
    one, other = (
        pd.MultiIndex.from_arrays([pairs["project"], pairs[path]], names=["project", "path"])
        for path in ("file_path", "coupled_path")
    )
    in_turn = np.arange(2 * len(pairs)).reshape(2, -1).ravel("F")  # each pair's two, pair by pair
    files = one.append(other).take(in_turn).unique()
    shown = files[:ROWS]
    ax = axes(ax, len(shown) + 9, width=4.5 + 0.3 * max(len(shown), 4))
    if not len(shown):
        return nothing(ax, "coupled files")
    places = np.column_stack([shown.get_indexer(one), shown.get_indexer(other)])
    is_in = (places >= 0).all(axis=1)
    degree = pairs["degree"].to_numpy(float)[is_in]
    values = np.zeros((len(shown), len(shown)))
    values[places.max(axis=1)[is_in], places.min(axis=1)[is_in]] = degree
    cells(ax, values, "degree: shared changes, % of the mean of both")
    names = shown.to_frame(index=False)
    labels = named(names["path"], names["project"])
    name_columns(ax, [short(label, 24) for label in labels])
    ax.plot([-0.5, len(shown) - 0.5], [-0.5, len(shown) - 0.5], color=FAINT, linewidth=0.8)
    said = f"{count_of(len(pairs), 'pair')} of {len(files):,} files that change together"
    entitle(ax, said + (f", the closest {ROWS} files" if len(shown) < len(files) else ""))
    return name_rows(ax, labels)


def _names(rows: pd.DataFrame, columns: list[str]) -> "pd.Series[str]":
    """What each row's group is called, as it can be drawn."""
    different = rows[columns].drop_duplicates()
    texts = different.astype("str").fillna("(none)").agg(", ".join, axis=1)
    told = different.assign(_name=[short(text) for text in drawable(texts)])
    return rows[columns].merge(told, on=columns, how="left")["_name"].set_axis(rows.index)


def _left_out(groups: int) -> str:
    return f", {ROWS} of {groups:,}" if groups > ROWS else ""


def _dollars(cost: float) -> str:
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:,.4f}"
