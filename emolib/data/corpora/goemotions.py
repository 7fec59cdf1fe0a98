"""GoEmotions (Demszky et al. 2020): Reddit comments with one or more of 28 labels.

Tab-separated without a header, texts quoted as in CSV. The 28 labels are merged into
Ekman's six and neutral by the authors' own mapping (their section 4 and the file
ekman_mapping.json beside the data).
"""

import csv
import io
from pathlib import Path

import pandas as pd

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task

# In the order of the publisher's label file: a line's label ids count from 0.
LABELS = [
    "admiration",
    "amusement",
    "anger",
    "annoyance",
    "approval",
    "caring",
    "confusion",
    "curiosity",
    "desire",
    "disappointment",
    "disapproval",
    "disgust",
    "embarrassment",
    "excitement",
    "fear",
    "gratitude",
    "grief",
    "joy",
    "love",
    "nervousness",
    "optimism",
    "pride",
    "realization",
    "relief",
    "remorse",
    "sadness",
    "surprise",
    "neutral",
]
_EKMAN = {
    "anger": "anger annoyance disapproval",
    "disgust": "disgust",
    "fear": "fear nervousness",
    "joy": "joy admiration amusement approval caring desire excitement gratitude love"
    " optimism pride relief",
    "sadness": "sadness disappointment embarrassment grief remorse",
    "surprise": "surprise confusion curiosity realization",
    "neutral": "neutral",
}
EKMAN = {fine: coarse for coarse, words in _EKMAN.items() for fine in words.split()}
_CODES = {str(number): EKMAN[label] for number, label in enumerate(LABELS)}


def read(task: Task, split: str, root: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Comments in file order; gold is the mapped labels, comma-separated, each once."""
    path = checks.find(root, (f"{split}.tsv",), folder="goemotions")
    lines = csv.reader(io.StringIO(checks.read_text(path)), delimiter="\t")
    rows, seen = [], {}
    for row in checks.read_rows(lines, path):
        where = f"{path}:{lines.line_num}"
        if len(row) != 3:
            raise DataError(
                f"{where}: {len(row)} tab-separated fields, expected 3 (text, labels,"
                " id)"
            )
        text, labels, name = row
        checks.check_row(name, text, seen, path, lines.line_num)
        rows.append((name, task.name, None, text.strip(), _map(labels, where), split))
    return pd.DataFrame(rows, columns=checks.COLUMNS), [path]


def _map(labels: str, where: str) -> str:
    codes = labels.split(",")
    bad = [code for code in codes if code not in _CODES]
    if bad:
        raise DataError(
            f"{where}: label {bad[0]!r:.60}, expected 0 to {len(LABELS) - 1}"
        )
    return ", ".join(dict.fromkeys(_CODES[code] for code in codes))
