"""Stanford Sentiment Treebank (Socher et al. 2013): a score in [0, 1] per sentence.

The archive spreads it over four files: sentences, their split, the phrases' ids, and a score per
phrase. Where the phrase list is missing, sst_test.tsv (sentence and score of the test split)
serves. SST-5's five classes are cut from the scores, as the archive's README says.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task, describe_class

_SPLITS = {"train": "1", "test": "2", "dev": "3"}
_CUTS = (0.2, 0.4, 0.6, 0.8)  # a class ends with its cut: [0, 0.2], (0.2, 0.4], ...
_CODES = {"-LRB-": "(", "-RRB-": ")", "\\/": "/", "\\*": "*"}


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Sentences of the publisher's split in the archive's order, brackets restored."""
    sentences = _read_table(folder.find("datasetSentences.txt"), "\t")
    splits = _read_table(folder.find("datasetSplit.txt"), ",")
    sentences = {k: _restore(s) for k, s in sentences.items() if splits.get(k) == _SPLITS[split]}
    has_phrases = list(folder.root.rglob("dictionary.txt"))
    scored = (_score_by_phrases if has_phrases else _score_by_test_file)(sentences, split, folder)
    for where, name, text, score in scored:
        yield where, name, None, text, _write_gold(task, score, where)


def _read_table(path: Path, separator: str) -> dict[str, str]:
    """First field -> second, without the header line."""
    table = {}
    for number, line in enumerate(checks.read_lines(path)[1:], start=2):
        left, found, right = line.partition(separator)
        if line and not (left and found and right.strip()):
            raise DataError(f"{path}:{number}: expected two fields, found {line[:60]!r}")
        if line:
            table[left] = right
    return table


def _restore(text: str) -> str:
    for code, sign in _CODES.items():
        text = text.replace(code, sign)
    return text


def _score_by_phrases(sentences: dict, split: str, folder: checks.Folder) -> Iterator[tuple]:
    """(where, id, text, score); the phrase list has the accents that sentences lost."""
    path, labels = folder.find("dictionary.txt"), folder.find("sentiment_labels.txt")
    pairs = [line.rsplit("|", 1) for line in checks.read_lines(path) if "|" in line]
    phrases, scores = {_fold(pair[0]): pair for pair in pairs}, _read_table(labels, "|")
    for name, text in sentences.items():
        phrase, code = phrases.get(_fold(text), (None, None))
        if code not in scores:
            raise DataError(f"{path}: no scored phrase for sentence {name} of SST")
        yield f"{labels}, phrase {code}", name, _restore(phrase), scores[code]


def _fold(text: str) -> str:
    """What the two files have in common: one lost accents or coded them twice."""
    with suppress(UnicodeError):
        text = text.encode("cp1252").decode("utf-8")
    letters = unicodedata.normalize("NFKD", _restore(text))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _score_by_test_file(sentences: dict, split: str, folder: checks.Folder) -> Iterator[tuple]:
    if split != "test":
        needed = "the archive's dictionary.txt, which gives each phrase its id"
        raise DataError(f"{folder.root}: SST's {split} split needs {needed}")
    path = folder.find("sst_test.tsv")
    lines = checks.read_lines(path)[1:]
    if len(lines) != len(sentences):
        expected = f"{folder.paths[0]} has {len(sentences)} in the test split"
        raise DataError(f"{path}: {len(lines)} sentences, {expected}")
    for number, (name, line) in enumerate(zip(sentences, lines, strict=True), start=2):
        where = f"{path}:{number}"
        row = checks.name_fields(line.split("\t"), ["sentence", "score"], where)
        yield where, name, row["sentence"], row["score"]


def _write_gold(task: Task, score: str, where: str) -> str:
    score = float(checks.check_score(score.strip(), (0.0, 1.0), where))
    if task.kind == "score":
        return f"{score:.6g}"  # 0.83333, also where a copy says 0.8333299999
    return describe_class(task, sum(score > cut for cut in _CUTS))
