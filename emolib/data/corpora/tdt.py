"""Target-dependent Twitter sentiment (Dong et al. 2014): three lines per example.

The tweet with $T$ where its target was, the target, and -1, 0 or 1.
"""

from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task

_MASK = "$T$"


def read(task: Task, split: str, root: Path) -> tuple[checks.Rows, list[Path]]:
    """Tweets in file order with their target put back; the id is the example's number.

    There is no dev split.
    """
    path = checks.find(root, f"{split}.raw")
    lines, rows = checks.read_lines(path), []
    if len(lines) % 3:
        raise DataError(
            f"{path}:{len(lines)}: {len(lines)} lines, expected three per example: the file is"
            " truncated"
        )
    for start in range(0, len(lines), 3):
        text, target, polarity = (line.strip() for line in lines[start : start + 3])
        if _MASK not in text or not target:
            raise DataError(
                f"{path}:{start + 1}: expected a text with {_MASK} and, on the next line, its"
                " target"
            )
        if polarity not in map(str, task.classes):
            raise DataError(f"{path}:{start + 3}: polarity {polarity!r}, expected -1, 0 or 1")
        rows.append((f"{start // 3}", None, text.replace(_MASK, target), polarity))
    return rows, [path]
