"""A validation as a report: HTML with its figures inside, Markdown, and CSV files.

`found` is what `annotation.validate` gives, everywhere here.
"""

import base64
import html
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from emolib import files
from emolib.report import style
from emolib.report.validation_plots import NAMES, draw

_MEANINGS = (
    "Correlations, kappa and alpha are 1 where the tool and the raters agree in everything, and 0"
    " where they agree as if by chance. Precision is the share of texts marked by the tool that"
    " the raters marked too, recall the share of those marked by the raters that the tool found;"
    " F1 is their harmonic mean. Errors of scores are shares of the scale: 0.1 is a tenth of it."
    " Intervals are 95 % percentile bootstrap intervals over texts (1,000 draws)."
)
_FITTED = (
    "The fitted rows use a scale, cut points or a threshold fitted to these ratings. Their figures"
    " come from ten-fold cross-validation: each text was left out when its answer was fitted. A fit"
    " is kept where it beats the tool as it is by the mean absolute error (scores), weighted kappa"
    " (classes) or F1 (labels). A straight line mends the level of scores, not their correlation."
)
_CSS = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;font-size:14px;margin:1rem 0;display:block;overflow-x:auto}"
    "th,td{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #ddd}img{max-width:100%}"
    "blockquote{border-left:3px solid #888;margin:1rem 0;padding:0 1rem}"
)


def write(found, folder: str | Path) -> Path:
    """report.html's path, in `folder` beside report.md, four CSV files, and the figures.

    The texts that differ most stand in the report and in disagreements.csv: it is as private as
    they are.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    figures = {}
    for pair in found.pairs:
        path = folder / "figures" / f"{pair.column}.png"
        axes = draw(found, pair.title)
        figures[pair.title] = style.save(axes, path)[1]
        plt.close(axes.figure)
    for name in ("measures", "raters", "widths"):
        files.write_csv(folder / f"{name}.csv", getattr(found, name), "%.4f")
    files.write_csv(folder / "disagreements.csv", found.worst, "%.4f")
    blocks = _list_blocks(found, figures)
    files.write_text(folder / "report.md", _write_markdown(blocks))
    files.write_text(folder / "report.html", _write_html(blocks))
    return folder / "report.html"


def describe(found) -> str:
    """The paragraph for a methods section, with the figures in it."""
    about = found.about
    model = about.get("name") or about.get("model", "an earlier run of emolib")
    version = f"emolib {about['emolib']}" if about.get("emolib") else "emolib"
    adapter = (
        f", adapter weights {about['adapter_weights']}" if about.get("adapter_weights") else ""
    )
    when = f", {about['annotated'][:10]}" if about.get("annotated") else ""
    n = max(len(points) for points in found.points.values())
    text = [f"Texts were annotated automatically with {model} ({version}{adapter}{when}). "]
    text += [f"We compared the annotations with human ratings of {n} texts. "]
    text += [_describe_column(found, pair) for pair in found.pairs]
    if found.measures["fit"].nunique() > 1:
        text += ["Fitted figures come from ten-fold cross-validation. "]
    text += ["Intervals are 95 % percentile bootstrap intervals over texts."]
    return "".join(text)


def _describe_column(found, pair) -> str:
    rows = found.measures[found.measures["column"] == pair.title]
    name, parts = pair.main, []
    for fit, part in rows.groupby("fit", sort=False):
        part = part.set_index("measure")
        if np.isnan(value := part.loc[name, "value"]):
            continue
        low, high = part.loc[name, ["low", "high"]]
        others = [m for m in part.index if m in ("spearman", "precision", "recall", "matthews")]
        more = "".join(f", {NAMES.get(m, m)} {part.loc[m, 'value']:.2f}" for m in others)
        what = "" if fit == "as it is" else "after fitting "
        parts.append(f"{what}{NAMES[name]} was {value:.2f} [{low:.2f}, {high:.2f}]{more}")
    n = len(found.points[pair.title])
    raters = found.raters.set_index("column").loc[pair.title]
    if not parts:
        return f"For {pair.title} (n = {n}) no agreement could be computed. "
    text = f"For {pair.title} (rated {pair.scale}; n = {n}) {'; '.join(parts)}"
    if raters["raters"] > 1:
        text += f"; Krippendorff's alpha was {raters['alpha_raters']:.2f} among the"
        text += f" {raters['raters']:.0f} raters and {raters['alpha_tool']:.2f} between the tool"
        text += " and a rater"
    return text + ". "


def _list_blocks(found, figures: dict) -> list[tuple]:
    """The report in order: ("h1" or "h2" or "p" or "quote", text), ("table", frame), ..."""
    blocks = [("h1", "The tool beside your ratings")]
    if found.notes:
        blocks += [("h2", "Read this first"), ("list", found.notes)]
    blocks += [("h2", "For the methods section"), ("quote", describe(found))]
    blocks += [("h2", "Agreement"), ("p", _MEANINGS)]
    if found.measures["fit"].nunique() > 1:
        blocks.append(("p", _FITTED))
    blocks += [("table", _shape_measures(found.measures)), ("list", _describe_widths(found))]
    if found.raters["raters"].max() > 1:
        raters = found.raters.rename(columns=lambda name: name.replace("_", ", "))
        words = "The tool beside the raters' own agreement: alpha among the raters and of the tool"
        words += " with one of them (the table above has it with their mean); r of one rater, or of"
        words += " the tool, with the mean of the others. These have no intervals."
        blocks += [("h2", "Several raters"), ("p", words), ("table", raters)]
    for title, path in figures.items():
        blocks += [("h2", title), ("figure", path)]
        worst = found.worst[found.worst["column"] == title].drop(columns="column")
        if len(worst):
            what = "The texts on which the tool and the raters differ most (on the raters' scale"
            blocks += [("p", f"{what} from 0 to 1, or in classes):"), ("table", worst.head(10))]
    about = [f"{name}: {value}" for name, value in found.about.items() if value is not None]
    return blocks + [("h2", "What this was made from"), ("list", about)] * bool(about)


def _describe_widths(found) -> list[str]:
    """What twice as many ratings would bring, a sentence per column."""
    said = []
    for pair in found.pairs:
        n = len(found.points[pair.title])
        rows = found.widths[found.widths["column"] == pair.title].set_index("n")["width"]
        if 2 * n in rows.index and not rows[[n, 2 * n]].isna().any():
            text = (
                f"{pair.title}: the interval of {NAMES[pair.main]} is {rows[n]:.2f} wide with {n}"
            )
            said.append(f"{text} texts; with {2 * n} it would be about {rows[2 * n]:.2f}.")
    return said


def _shape_measures(measures: pd.DataFrame) -> pd.DataFrame:
    """A row per column and measure, two decimals, the interval as one cell."""
    ends = zip(measures["low"].map(_spell), measures["high"].map(_spell), strict=True)
    table = measures[["column", "fit", "measure", "value"]].assign(
        measure=measures["measure"].replace(NAMES),
        interval=[f"{low} to {high}" if low else "" for low, high in ends],
        n=measures["n"],
    )
    return table if measures["fit"].nunique() > 1 else table.drop(columns="fit")


def _spell(value: float) -> str:
    """Two decimals: no nan, no -0.00."""
    return "" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")


def _round(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers to two decimals, as text."""
    numbers = list(table.select_dtypes("float"))
    return table.assign(**{name: table[name].map(_spell) for name in numbers}).astype(str)


def _write_markdown(blocks: list[tuple]) -> str:
    lines = []
    for kind, what in blocks:
        if kind == "table":
            cells = _round(what).map(lambda cell: " ".join(cell.replace("|", "\\|").split()))
            lines.append(cells.to_markdown(index=False, disable_numparse=True))
        elif kind == "figure":
            lines.append(f"![{what.stem}](figures/{what.name})")
        elif kind == "list":
            lines.append("\n".join(f"- {each}" for each in what))
        else:
            lines.append({"h1": "# ", "h2": "## ", "quote": "> ", "p": ""}[kind] + what)
    return "\n\n".join(lines) + "\n"


def _write_html(blocks: list[tuple]) -> str:
    parts = []
    for kind, what in blocks:
        if kind == "table":
            parts.append(_round(what).to_html(index=False, border=0))
        elif kind == "figure":
            data = base64.b64encode(what.read_bytes()).decode()
            parts.append(f'<img alt="{html.escape(what.stem)}" src="data:image/png;base64,{data}">')
        elif kind == "list":
            parts.append("<ul>" + "".join(f"<li>{html.escape(x)}</li>" for x in what) + "</ul>")
        else:
            name = {"quote": "blockquote"}.get(kind, kind)
            parts.append(f"<{name}>{html.escape(what)}</{name}>")
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Validation</title>'
    head += f'<meta name="viewport" content="width=device-width"><style>{_CSS}</style>'
    return head + "\n".join(parts) + "</html>\n"
