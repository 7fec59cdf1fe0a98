"""The paper's tables with our rows beside the published ones.

`build_scores` and `build_sizes` make a `Table`; pandas renders it for a notebook (`style`) and as
Markdown, LaTeX and HTML (`write`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from emolib import DataError, files
from emolib.data import prompts
from emolib.evaluation.score_files import COLUMNS, PAPER, read_csv
from emolib.tasks import AAID, METRIC_NAMES, TASKS

DASH = "–"
_BOLD, _ITALIC = "font-weight: bold", "font-style: italic"
_BOTH = f"{_BOLD}; {_ITALIC}"

_CAPTION = (
    "Table {number} (AEB-{part}). Published rows: Liu et al. 2024, Table {number}; they"
    " have no intervals. Our rows: value, [95 % bootstrap interval], n where not every"
    " item was asked. Bold: column's best; italic: best of ours; dash: none. {remark}"
)
_REMARKS = {
    5: "E-c: the accuracy the paper prints is no Jaccard index; ours is one and has a column of its"
    " own (papers/emollms_kdd2024/notes.md).",
    6: "GoEmotions accuracy: ours counts texts whose labels are met exactly; the paper does not"
    " define its own (papers/emollms_kdd2024/notes.md).",
}
_SIZE_CAPTIONS = {
    1: "Table 1 (AAID). Rows of the training data: published (Liu et al. 2024, Table 1,"
    " its four emotions added up) and ours. Bold: they differ.",
    3: "Table 3 (AEB). Items of the benchmark: published (Liu et al. 2024, Table 3) and"
    " ours. EmoBank is one data set there and three sub-tasks here. Bold: they differ.",
}


@dataclass(frozen=True)
class Table:
    """Cells as text (a line break parts value, interval and n), both with two rows of heads.

    `marks` has the shape of `cells` and holds CSS, "" for none.
    """

    name: str
    caption: str
    cells: pd.DataFrame
    marks: pd.DataFrame


def build_scores(scores: pd.DataFrame, number: int) -> Table:
    """Table 5 (AEB-1) or 6 (AEB-2) from frames as `score_files` reads them.

    Published rows first, as in print. A model without a score in this table has no row, a
    column without any is left out. DataError for another number.
    """
    if number not in COLUMNS:
        raise DataError(f"no table of scores {number}: there are {sorted(COLUMNS)}")
    pairs = list(zip(scores["task"], scores["metric"], strict=True))
    columns = [pair for pair in COLUMNS[number] if pair in pairs]
    rows = scores[[pair in columns for pair in pairs]]
    rows = rows.sort_values("origin", ascending=False, kind="stable")
    names = ["origin", "model", "kind"]
    about = rows[names].drop_duplicates(ignore_index=True)
    rows = rows.assign(text=[*map(_show, rows.itertuples())])
    rows["shown"] = [round(value, 3) for value in rows["value"]]
    wide = rows.pivot(index=names, columns=["task", "metric"], values=["text", "shown"])
    wide = wide.reindex(pd.MultiIndex.from_frame(about))
    cells, values = wide["text"][columns].fillna(DASH), wide["shown"][columns].astype(float)
    ours = (about["origin"] == "ours").to_numpy()
    caption = _CAPTION.format(number=number, part=number - 4, remark=_REMARKS[number])
    caption += "" if ours.any() else " We have no score on these sub-tasks yet."
    about.columns = [("", "from"), ("", "model"), ("", "kind")]
    heads = [(task, _head(task, metric)) for task, metric in columns]
    parts = cells.to_numpy(), _mark(values, ours)
    return _assemble(f"table{number}", caption, about, heads, *parts)


def count_sizes(folder: str | Path = PAPER) -> pd.DataFrame:
    """Rows of AAID (Table 1) and items of AEB (Table 3), published beside ours.

    Columns table, task, split, published, ours. Ours are `tasks.TASKS`' sizes, which the tests
    hold against the corpora, so that no corpus is needed here.
    """
    tables = (read_csv(files.place(folder) / f"table{n}.csv", ["tasks"]) for n in (1, 3))
    # A published row may name several tasks.
    first, third = (x.assign(task=x["tasks"].str.split()).explode("task") for x in tables)
    printed = first.groupby("task").sum(numeric_only=True)
    rows = [
        (1, name, f"{form} {split}", printed.loc[name, f"{form}_{split}"], size * times)
        for name in AAID
        for form, times in (("raw", 1), ("instruction", len(prompts.instructions(name))))
        for split, size in TASKS[name].sizes.items()
        if split != "test"
    ]
    printed = zip(third["task"], third["size"], strict=True)
    rows += [(3, name, "test", theirs, TASKS[name].items) for name, theirs in printed]
    return pd.DataFrame(rows, columns=["table", "task", "split", "published", "ours"])


def build_sizes(sizes: pd.DataFrame, number: int) -> Table:
    """Table 1 (AAID) or 3 (AEB) of what `count_sizes` counted; DataError for another."""
    rows = sizes[sizes["table"] == number]
    if rows.empty:
        raise DataError(f"no table of sizes {number}: there are 1 and 3")
    splits, names = (list(dict.fromkeys(rows[name])) for name in ("split", "task"))
    pairs = {(r.task, r.split): (r.published, r.ours) for r in rows.itertuples()}
    lines = [[pairs[name, split] for split in splits] for name in names]
    cells = [[f"{n:,}" for pair in line for n in pair] for line in lines]
    marks = [["" if a == b else _BOLD for a, b in line for _ in "ab"] for line in lines]
    heads = [(split, side) for split in splits for side in ("published", "ours")]
    about, caption = pd.DataFrame({("", "task"): names}), _SIZE_CAPTIONS[number]
    return _assemble(f"table{number}", caption, about, heads, cells, marks)


def style(table: Table) -> Styler:
    """The table as pandas shows it in a notebook and writes it as HTML."""
    look = [
        {"selector": "caption", "props": "text-align: left; font-size: 90%"},
        {"selector": "th, td", "props": "text-align: left; font-size: 80%"},
        {"selector": "td", "props": "white-space: nowrap; vertical-align: top"},
    ]
    # str, since the escaped text is a Markup whose own replace would escape the <br>.
    styler = _dress(table, "html", lambda text: str(text).replace("\n", "<br>"))
    return styler.set_caption(table.caption).set_table_styles(look).set_uuid(table.name)


def format_latex(table: Table) -> str:
    """The table as LaTeX, no wider than the page; its first line names the packages."""
    text = _dress(table, "latex", _stack).to_latex(
        hrules=True, convert_css=True, environment="table*", multicol_align="c",
        label=f"tab:{table.name}", position_float="centering",
        caption=table.caption.replace("%", r"\%").replace("_", r"\_"),
    )  # fmt: skip
    begin, end = r"\begin{adjustbox}{max width=\textwidth}", r"\end{adjustbox}"
    text = text.replace(r"\begin{tabular}", begin + "\n" + r"\begin{tabular}")
    text = text.replace(r"\end{tabular}", r"\end{tabular}" + "\n" + end)
    return "% \\usepackage{booktabs, multirow, adjustbox}\n" + text


def format_markdown(table: Table) -> str:
    """The table as Markdown: one row of heads, `<br>` inside cells, caption below."""
    texts = table.cells.map(lambda text: text.replace("|", r"\|").replace("\n", "<br>"))
    ends = table.marks.replace({_BOTH: "***", _BOLD: "**", _ITALIC: "*"})
    shown = ends + texts + ends
    shown.columns = [" ".join(pair).strip() for pair in shown.columns]
    # Without disable_numparse 0.720 would lose its zero.
    return f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{table.caption}\n"


def write(table: Table, folder: str | Path) -> list[Path]:
    """Writes NAME.md, NAME.tex (booktabs) and NAME.html into `folder`; their paths.

    Same table, same bytes; each file whole or not at all.
    """
    folder = files.place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"md": format_markdown(table), "tex": format_latex(table)}
    texts["html"] = style(table).to_html(doctype_html=True)
    for end, text in texts.items():
        files.write_text(folder / f"{table.name}.{end}", text)
    return [folder / f"{table.name}.{end}" for end in texts]


def _dress(table: Table, form: str, lines) -> Styler:
    styler = table.cells.style.hide(axis="index").format(lines, escape=form)
    styler = styler.format_index(escape=form, axis=1)
    return styler.apply(lambda _: table.marks, axis=None)


def _assemble(name: str, caption: str, about, heads: list, *parts) -> Table:
    """`parts`: cells and marks, rows for the columns `heads`; those of `about` have no marks."""
    columns = pd.MultiIndex.from_tuples([*about.columns, *heads])
    sides = zip((about, np.full(about.shape, "")), parts, strict=True)
    return Table(name, caption, *(pd.DataFrame(np.hstack(s), columns=columns) for s in sides))


def _head(task: str, metric: str) -> str:
    _, _, emotion = metric.partition(".")
    return emotion or ("average" if TASKS[task].emotions else METRIC_NAMES[metric])


def _show(row) -> str:
    if row.origin == "published":
        return f"{row.value:.3f}"
    text = f"{row.value:.3f}\n[{row.low:.3f}, {row.high:.3f}]"
    return text + (f"\nn = {row.n:.0f}" if row.partial else "")


def _mark(values: pd.DataFrame, ours: np.ndarray) -> np.ndarray:
    """CSS of each cell: bold for a column's best as printed, italic for our best."""
    best = values == values.max()
    mine = (values == values[ours].max()) & ours[:, None]
    return np.select([best & mine, best, mine], [_BOTH, _BOLD, _ITALIC], "")


def _stack(text: str) -> str:
    """A LaTeX cell of several lines."""
    lines = text.replace(DASH, "--").split("\n")
    # The empty group: a [ right after a line break would be read as its option.
    joined = r"\\{}".join(lines)
    return rf"\shortstack{{{joined}}}" if len(lines) > 1 else joined
