"""Target-dependent Twitter sentiment (Dong et al. 2014): three lines per example.

The tweet with $T$ where its target was, the target, and -1, 0 or 1.
"""

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task

_MASK = "$T$"


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Tweets in file order with their target put back; the id is the example's number.

    There is no dev split.
    """
    path = folder.find(f"{split}.raw")
    lines = checks.read_lines(path)
    if len(lines) % 3:
        problem = f"{len(lines)} lines, expected three per example: the file is truncated"
        raise DataError(f"{path}:{len(lines)}: {problem}")
    for start in range(0, len(lines), 3):
        text, target, polarity = (line.strip() for line in lines[start : start + 3])
        if _MASK not in text or not target:
            wanted = f"a text with {_MASK} and, on the next line, its target"
            raise DataError(f"{path}:{start + 1}: expected {wanted}")
        if polarity not in map(str, task.classes):
            raise DataError(f"{path}:{start + 3}: polarity {polarity!r}, expected -1, 0 or 1")
        text = text.replace(_MASK, target)
        yield f"{path}:{start + 1}", f"{start // 3}", None, text, polarity
