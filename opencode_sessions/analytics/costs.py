"""What sessions cost: each model request counted once, with and without subagents, and per file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..store import MONEY
from .counting import MUTATIONS, SHELL_MADE, Flags, Floats, Numbers, grouped, numbered, places_of
from .files import LINES
from .frames import Frames
from .lineage import WHO, ancestry, of_sessions, oldest_first, parents
from .results import AMOUNT, COUNT, gives, tidy

TOKENS = MONEY[1:]
# A fork copies a message with all of this, under another id.
SAME = ["time", "duration_s", "provider", "model", *MONEY]
STEP = [
    *("message_id", "session_id", "seq", "time", "duration_s", "provider", "model"),
    *("is_fork_copy", "is_undone", "is_compaction", *MONEY),
]
READ = ["message_id", "file_path", "output_bytes", "pruned_at"]
CONTEXT = ["tokens_input", "tokens_cache_read", "tokens_cache_write"]
BYTES_A_TOKEN = 4
CONVERSATION = "<conversation>"
# What a token of input, output, reasoning, cache read and cache write costs, against one of input:
# about what most providers ask, for models whose prices nobody gave.
PRICES = (1.0, 5.0, 5.0, 0.1, 1.25)


@gives(
    session_id="category",
    opencode_session_id="category",
    parent_session_id="category",
    root_session_id="category",
    project="category",
    title="str",
    model="category",
    requests=COUNT,
    requests_unknown=COUNT,
    own_cost_usd=AMOUNT,
    inclusive_cost_usd="float64",
    copied_cost_usd=AMOUNT,
    undone_cost_usd=AMOUNT,
    reported_cost_usd=AMOUNT,
    **{f"own_{name}": COUNT for name in TOKENS},
    **{f"inclusive_{name}": "Int64" for name in TOKENS},
)
def session_costs(frames: Frames) -> pd.DataFrame:
    """What each session cost, alone and with its subagents: one row a session, the oldest first.

    A model request counts once: what a fork copied counts where it happened, and only if that is
    not in these frames, in the earliest session that has a copy. So the own costs of all sessions
    add up to those of all different requests, which opencode's own numbers do not: there a fork's
    copies count again, and subagents are left out. A request that was undone later was paid for.
    Source: what opencode stored of each request.

    Returns:
        session_id, opencode_session_id, parent_session_id, root_session_id, project, title, model:
            as in `frames.sessions`;
        requests, requests_unknown (Int64): the session's own model requests, and those of them
            whose cost is not known;
        own_cost_usd (float64, US dollars): their cost, 0 without any, NA where none's is known;
        inclusive_cost_usd (float64, US dollars): with all sessions below it; NA where none's is;
        copied_cost_usd (float64, US dollars): of fork copies that do not count here;
        undone_cost_usd (float64, US dollars): of the own cost, what went into undone turns;
        reported_cost_usd (float64, US dollars): opencode's sum;
        own_tokens_*, inclusive_tokens_* (Int64, tokens): in the same way: input (without what the
            cache gave), output (without reasoning), reasoning, cache_read, cache_write.

    >>> costs = session_costs(frames)[["title", "own_cost_usd", "inclusive_cost_usd"]].round(3)
    >>> costs[costs["title"].str.startswith("Review")]
                                      title  own_cost_usd  inclusive_cost_usd
    12            Review before the release         0.112               0.442
    14  Review geometry (@general subagent)         0.109               0.109
    15  Review storage (@reviewer subagent)         0.062               0.062
    16      Review web (@reviewer subagent)         0.055               0.055
    """
    frames = of_sessions(frames)
    sessions, ids = oldest_first(frames)
    requests = frames.messages[frames.messages["role"].eq("assistant")]
    session = numbered(requests["session_id"], ids)
    counts = is_original(requests, session)
    is_undone = counts & requests["is_undone"].to_numpy(bool)
    is_known = requests["cost_usd"].notna().to_numpy(bool)
    table = sessions[[*WHO, "title", "model", "reported_cost_usd"]].copy()

    def total(name: str, of: Flags) -> Floats:
        values = requests[name].to_numpy("float64", na_value=0)
        return np.bincount(session[of], values[of], len(ids)).astype("float64")

    def number(of: Flags) -> Numbers:
        return np.bincount(session[of], minlength=len(ids))

    table["requests"], table["requests_unknown"] = number(counts), number(counts & ~is_known)
    table["copied_cost_usd"] = total("cost_usd", ~counts)
    table["undone_cost_usd"] = total("cost_usd", is_undone)
    below, above = ancestry(parents(sessions, ids))
    for name in MONEY:
        is_known = counts & requests[name].notna().to_numpy(bool)
        nothing = (number(counts) > 0) & (number(is_known) == 0)
        own = np.where(nothing, np.nan, total(name, is_known))
        table[f"own_{name}"] = own
        known = pd.Series(own[below]).groupby(above).sum(min_count=1)
        table[f"inclusive_{name}"] = known.reindex(range(len(ids))).array
    return tidy(table, session_costs)


def is_original(requests: pd.DataFrame, session: Numbers) -> Flags:
    """Whether each message is the one of its copies that counts; `session` numbers by age.

    A copy counts if nothing it was copied from is there, and it is the earliest.
    """
    is_copy = requests["is_fork_copy"].to_numpy(bool)
    counts = ~is_copy
    # Only what happened at the time of some copy can be its original.
    near = requests["time"].isin(requests["time"][is_copy]).to_numpy(bool) | is_copy
    rows = np.flatnonzero(near)
    alike = requests[SAME].iloc[rows].assign(_session=session[rows])
    # Two equal messages of one session are two: the first is a copy of the first.
    same, _ = grouped(alike, [*SAME, "_session"])
    alike["_nth"] = alike.groupby(same).cumcount().to_numpy()
    same, _ = grouped(alike, [*SAME, "_nth"])
    order = np.lexsort((session[rows], is_copy[rows]))
    first = order[~pd.Series(same[order]).duplicated().to_numpy()]
    counts[rows[first]] = True
    return counts


@gives(
    session_id="category",
    project="category",
    file_path="str",
    estimate_usd=AMOUNT,
    written_usd=AMOUNT,
    read_usd=AMOUNT,
)
def cost_by_file(
    frames: Frames, *, prices: Mapping[str, Sequence[float]] | None = None
) -> pd.DataFrame:
    """An estimate of what each file cost in each session; files and the rest add up to its cost.

    The cost of a model request is split by price over its input, output, reasoning, and what it
    read from and wrote to the cache. The output's share goes to the files that the request wrote or
    tried to, by lines: what those cost that were put in and taken out. The shares of input and
    cache go to the files whose contents, as reads gave them, were in the context then, by their
    tokens among the context's (a token is four bytes): those read before in the session, copies of
    a fork among them, since the last compaction, and not pruned. All else is `<conversation>`:
    prompts, answers, reasoning, the outputs of other tools. Up to 0.5, where a message is a whole
    turn, what was read earlier in the turn is not seen either. Source: this package's.

    Args:
        frames: all frames of the sessions.
        prices: by model, what input, output, reasoning, cache read and cache write cost, in any
            unit; 1 : 5 : 5 : 0.1 : 1.25 where it says none.

    Returns, sorted by session, the costliest first, no number NA:
        session_id, project (category); file_path (str): as it was then called, or "<conversation>";
        estimate_usd (float64, US dollars): the parts of `session_costs`' own cost, summing up to it
            where any is known; sessions of none have no row;
        written_usd, read_usd (float64, US dollars): of that, for writing it, and for having read it
            in the context; 0 for the conversation.

    Raises:
        ValueError: a model has more or fewer prices than these five.

    >>> costs = cost_by_file(frames).head(4)
    >>> costs[["file_path", "estimate_usd", "written_usd", "read_usd"]].round(4)
               file_path  estimate_usd  written_usd  read_usd
    0     <conversation>        0.3844       0.0000    0.0000
    1    trailmap/gpx.py        0.0394       0.0096    0.0298
    2    trailmap/cli.py        0.0158       0.0065    0.0093
    3  tests/test_gpx.py        0.0082       0.0062    0.0020
    """
    for model, given in (prices or {}).items():
        if len(given) != len(PRICES):
            raise ValueError(f"prices of {model!r} are {len(PRICES)} numbers, not {len(given)}.")
    frames = of_sessions(frames)
    sessions, ids = oldest_first(frames)
    steps = frames.messages[STEP][frames.messages["role"].eq("assistant").to_numpy(bool)]
    session = numbered(steps["session_id"], ids)
    order = np.lexsort((steps["seq"], session))
    steps, session = steps.iloc[order], session[order]
    cost = np.where(is_original(steps, session), steps["cost_usd"].to_numpy("float64"), np.nan)
    spent = _spent(steps, np.nan_to_num(cost), prices or {})
    parts = pd.concat(
        [_written(frames, steps, spent), _read(frames, steps, session, spent)], ignore_index=True
    )
    parts["session"] = session[parts.pop("step")]
    of_files = parts.groupby(["session", "file_path"], observed=True).sum().reset_index()
    of_files["estimate_usd"] = of_files["written_usd"] + of_files["read_usd"]
    whole = pd.Series(cost).groupby(session).sum(min_count=1).dropna().rename_axis("session")
    rest = whole.sub(of_files.groupby("session")["estimate_usd"].sum(), fill_value=0)
    conversation = rest.rename("estimate_usd").reset_index().assign(file_path=CONVERSATION)
    table = pd.concat([of_files.astype({"file_path": "str"}), conversation], ignore_index=True)
    table = table[table["session"].isin(whole.index)].fillna({"written_usd": 0, "read_usd": 0})
    table = table.sort_values(["session", "estimate_usd"], ascending=[True, False])
    who = sessions[["session_id", "project"]].iloc[table["session"]].reset_index(drop=True)
    return tidy(who.join(table.reset_index(drop=True)), cost_by_file)


def _spent(
    steps: pd.DataFrame, cost: Floats, prices: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """What each request's context and output cost, and how many tokens the context was of."""
    tokens = {name: steps[name].to_numpy("float64", na_value=0) for name in TOKENS}
    models = steps["model"].astype("category").cat
    price = np.array([*(prices.get(model, PRICES) for model in models.categories), PRICES])
    price = price[models.codes]  # no model is -1, and so the last
    worth = {name: tokens[name] * price[:, place] for place, name in enumerate(TOKENS)}
    whole = sum(worth.values())
    a_unit = np.divide(cost, whole, out=np.zeros(len(cost)), where=whole > 0)
    return pd.DataFrame(
        {
            "context_usd": sum(worth[name] for name in CONTEXT) * a_unit,
            "output_usd": worth["tokens_output"] * a_unit,
            "context": sum(tokens[name] for name in CONTEXT),
        }
    )


def _written(frames: Frames, steps: pd.DataFrame, spent: pd.DataFrame) -> pd.DataFrame:
    """The cost of each request's output over the files it wrote: step, file_path, written_usd."""
    events = frames.file_events
    # What commands changed, the model did not write.
    is_told = events["event_type"].isin(MUTATIONS) & ~events["evidence"].isin(SHELL_MADE)
    events = events[["message_id", "file_path", "end_line", *LINES]][is_told.to_numpy(bool)]
    step = places_of(events["message_id"], steps["message_id"])
    events, step = events[step >= 0], step[step >= 0]
    added, removed, end = (
        events[name].to_numpy("float64", na_value=np.nan) for name in (*LINES, "end_line")
    )
    # A write whose lines are not known is as long as the file it made.
    lines = np.where(np.isnan(added + removed), end, added + removed)
    size = np.fmax(lines, 1)
    share = size / np.bincount(step, size, minlength=len(steps))[step]
    written = share * spent["output_usd"].to_numpy()[step]
    path = events["file_path"].array
    return pd.DataFrame({"step": step, "file_path": path, "written_usd": written, "read_usd": 0.0})


def _read(
    frames: Frames, steps: pd.DataFrame, session: Numbers, spent: pd.DataFrame
) -> pd.DataFrame:
    """The cost of contexts over the files they held: step of the read, file_path, read_usd.

    A context starts anew with each session and after each compaction. What a read put into it is
    paid for with each request that follows, until it is pruned, so a read costs its tokens times
    what a token cost meanwhile: the difference of one running sum over all requests. An undone turn
    saw what was before it, but nothing that follows saw the undone turn.
    """
    events = frames.file_events
    is_read = events["event_type"].eq("read") & events["status"].eq("completed")
    events = events[READ][is_read.to_numpy(bool)]
    step = places_of(events["message_id"], steps["message_id"])
    events, step = events[step >= 0], step[step >= 0]
    tokens = events["output_bytes"].to_numpy("float64", na_value=0) / BYTES_A_TOKEN
    compacts, is_undone = (steps[name].to_numpy(bool) for name in ("is_compaction", "is_undone"))
    ends = np.append(session[1:] != session[:-1], True)[: len(steps)] | compacts
    last = np.flatnonzero(ends)[np.cumsum(ends) - ends]  # of each step's context
    until = np.minimum(last[step], _last_before(events["pruned_at"], step, steps, session))
    undone = is_undone[step]

    def held(reads: Flags) -> Floats:
        """Tokens of these reads in each request's context."""
        size, many = tokens[reads], len(steps) + 1
        come, go = (np.bincount(at[reads] + 1, size, many) for at in (step, until))
        return np.cumsum(come - go)[:-1].astype("float64")

    context = held(~undone) + np.where(is_undone, held(undone), 0)
    whole = np.maximum(spent["context"].to_numpy(), context)
    cost = spent["context_usd"].to_numpy()
    a_token = np.divide(cost, whole, out=np.zeros(len(steps)), where=whole > 0)
    paid, paid_undone = np.cumsum(a_token), np.cumsum(np.where(is_undone, a_token, 0))
    later = np.where(undone, paid_undone[until] - paid_undone[step], paid[until] - paid[step])
    path = events["file_path"].array
    return pd.DataFrame(
        {"step": step, "file_path": path, "written_usd": 0.0, "read_usd": tokens * later}
    )


def _last_before(
    moments: "pd.Series[Any]", step: Numbers, steps: pd.DataFrame, session: Numbers
) -> Numbers:
    """The last step of its session that began before each moment, `step` itself at least.

    Past all steps where the moment is NaT.
    """
    times = (steps["time"], moments)
    clock, moment = ((of - steps["time"].min()).dt.total_seconds().to_numpy() for of in times)
    longest = np.nanmax([0, *(of.max() for of in (clock, moment) if len(of))]) + 1
    starts = np.fmax.accumulate(session * longest + clock)
    before = np.searchsorted(starts, session[step] * longest + moment) - 1
    return np.where(np.isnan(moment), len(steps), np.maximum(before, step)).astype("int64")
