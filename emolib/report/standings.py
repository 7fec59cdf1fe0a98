"""Where our model stands: its row beside published ones, as the README shows them.

Figures of ours come from a score file that notebook 7 wrote; published ones from the
paper's tables. Nothing here computes a score.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from emolib import DataError, files
from emolib.evaluation import score_files
from emolib.report import style

MODEL = "Emo-SmolLM2-135M"
SCORES = "figures/data/emo_smollm2_answers_scores.csv"
FIGURE = "figures/emo_smollm2_standings"
NOTE = "Published figures: Liu et al. 2024, Tables 5 and 6."
PUBLISHED = (
    "EmoLLaMA-chat-13B", "EmoLLaMA-7B", "Leaderboard(1)", "BERT-base", "GPT-4", "GPT4",
    "ChatGPT", "Vicuna", "VADER",
)  # fmt: skip
_SHOWN = {"GPT4": "GPT-4", "Leaderboard(1)": "SemEval-2018's best"}
_HEADS = {"jaccard": "Jaccard", "f1_micro": "micro F1", "f1_macro": "macro F1"}
_HEADS |= {"accuracy": "acc.", "pearson": ""}
COLUMNS = {
    5: [*((t, "pearson") for t in ("EI-reg", "EI-oc", "V-reg", "V-oc"))]
    + [("E-c", name) for name in ("jaccard", "f1_micro", "f1_macro")],
    6: [*((f"V-{t}", "pearson") for t in ("A", "M", "NYT", "T"))]
    + [("SST", "pearson"), *((f"EmoBank-{x}", "pearson") for x in "VAD")]
    + [(t, m) for t in ("GoEmotions", "SST5", "TDT") for m in ("accuracy", "f1_macro")],
}
_LARGER = ("EmoLLaMA-chat-13B", "EmoLLaMA-7B", "GPT-4", "ChatGPT", "Vicuna", "VADER")
_LARGER = ("SemEval-2018's best", *_LARGER)
_MARKS = dict(zip(_LARGER, ("D", "s", "p", "^", "v", "<", "x"), strict=True))


def collect(ours: pd.DataFrame, number: int) -> pd.DataFrame:
    """Our rows, then the published ones, of Table 5 or 6: model, task, metric, value.

    With low and high, missing for published figures. `ours`: rows of one of our score
    files. The Jaccard index of SemEval's best system stands in the paper's column
    "accuracy", which for the paper's own models is another figure and is left out.
    """
    theirs = score_files.read_published(number)
    theirs = theirs[theirs["model"].isin(PUBLISHED)]
    official = (theirs["model"] == "Leaderboard(1)") & (theirs["metric"] == "accuracy")
    theirs.loc[official, "metric"] = "jaccard"
    theirs = theirs.assign(
        model=pd.Categorical(theirs["model"], PUBLISHED)
    ).sort_values("model", kind="stable")
    theirs["model"] = theirs["model"].astype(str).replace(_SHOWN)
    wanted = pd.MultiIndex.from_tuples(COLUMNS[number])
    parts = []
    for part in (ours, theirs):
        found = pd.MultiIndex.from_frame(part[["task", "metric"]]).isin(wanted)
        names = ["model", "task", "metric", "value", "low", "high"]
        parts.append(part.loc[found, names])
    if parts[0].empty:
        raise DataError(f"no score of ours on the sub-tasks of Table {number}")
    return pd.concat(parts, ignore_index=True)


def format_markdown(ours: pd.DataFrame, number: int) -> str:
    """The standings as a Markdown table; ours with its 95 % interval below the value.

    Bold: the best of a column. A dash: no figure. Rows of ours that differ from the
    first one in none of the columns are left out.
    """
    rows = collect(ours, number)
    own = list(dict.fromkeys(ours["model"]))
    told = {
        model: part.set_index(["task", "metric"])["value"].sort_index()
        for model, part in rows[rows["model"].isin(own)].groupby("model")
    }
    same = [model for model in own[1:] if told[model].equals(told[own[0]])]
    rows = rows[~rows["model"].isin(same)]
    best = rows.groupby(["task", "metric"])["value"].max()
    heads = [head(task, name) for task, name in COLUMNS[number]]
    lines = [f"| model | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for model in dict.fromkeys(rows["model"]):
        part = rows[rows["model"] == model].set_index(["task", "metric"])
        cells = []
        for pair in COLUMNS[number]:
            if pair not in part.index:
                cells.append("–")
                continue
            cell = part.loc[pair]
            text = f"{cell['value']:.3f}"
            text = f"**{text}**" if cell["value"] == best[pair] else text
            if model in own:
                text += f"<br>[{cell['low']:.3f}, {cell['high']:.3f}]"
            cells.append(text)
        shown = f"**{model}**" if model in own else model
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def head(task: str, metric: str) -> str:
    """What a column of a task's metric is called."""
    return f"{task} {_HEADS[metric]}".strip()


def draw(ours: pd.DataFrame, model: str) -> Axes:
    """Our `model`, with intervals, and published ones on every sub-task; lower panel.

    One line per sub-task and metric, one mark per model, AEB-1 above AEB-2.
    """
    heights = [len(COLUMNS[5]), len(COLUMNS[6])]
    figure, panels = plt.subplots(
        2, 1, figsize=(7, 6.4), sharex=True, height_ratios=heights
    )
    colors = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for axes, number in zip(panels, (5, 6), strict=True):
        rows = collect(ours[ours["model"] == model], number)
        places = {pair: n for n, pair in enumerate(COLUMNS[number])}
        for other, mark in _MARKS.items():
            part = rows[rows["model"] == other]
            at = [
                places[pair] for pair in zip(part["task"], part["metric"], strict=True)
            ]
            color = colors[1 + list(_MARKS).index(other) % (len(colors) - 1)]
            axes.plot(part["value"], at, mark, color=color, label=other, markersize=5)
        own = rows[rows["model"] == model]
        at = [places[pair] for pair in _pair(own)]
        reach = [own["value"] - own["low"], own["high"] - own["value"]]
        axes.errorbar(
            own["value"], at, xerr=reach, fmt="o", color="black", markersize=6,
            label=model, zorder=3,
        )  # fmt: skip
        heads = [f"{t} {_HEADS[m] or 'r'}" for t, m in COLUMNS[number]]
        axes.set(yticks=range(len(heads)), yticklabels=heads, title=f"AEB-{number - 4}")
        axes.invert_yaxis()
        axes.set_xlim(-0.15, 1)
    panels[1].set_xlabel("score; whiskers: our 95 % interval, published ones have none")
    handles = dict(
        pair
        for axes in panels
        for pair in zip(*axes.get_legend_handles_labels()[::-1], strict=True)
    )
    order = [model, *_MARKS]
    figure.legend(
        [handles[name] for name in order], order, loc="center left",
        bbox_to_anchor=(1, 0.5), frameon=False,
    )  # fmt: skip
    figure.tight_layout()
    return panels[1]


def _pair(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["task"], rows["metric"], strict=True))


def fill(text: str, name: str, content: str) -> str:
    """`text` with what stands between <!-- name --> and <!-- /name --> replaced.

    DataError if the marks are not there once.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise DataError(f"expected one <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def write(readme: str | Path, ours: pd.DataFrame) -> None:
    """Puts both tables into the README, between their marks."""
    path = files.place(readme)
    text = path.read_text(encoding="utf-8")
    for number in (5, 6):
        text = fill(text, f"table{number}", format_markdown(ours, number))
    files.write_text(path, text)


def main() -> None:
    """Our tables in the README and our figure, redrawn from the committed scores."""
    ours = score_files.read_csv(
        files.place(SCORES), ["model", "task", "metric", "value"]
    )
    write("README.md", ours)
    style.set_style()
    style.save(draw(ours, MODEL), files.place(FIGURE), NOTE)


if __name__ == "__main__":
    main()
