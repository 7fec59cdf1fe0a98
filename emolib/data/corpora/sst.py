"""Stanford Sentiment Treebank (Socher et al. 2013): a score in [0, 1] per sentence.

The archive spreads it over four files: sentences, their split, the phrases' ids, and a score per
phrase. Where the phrase list is missing, sst_test.tsv (sentence and score of the test split)
serves. SST-5's five classes are cut from the scores, as the archive's README says.
"""

import unicodedata
from contextlib import suppress
from pathlib import Path

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task, describe_class

_SPLITS = {"train": "1", "test": "2", "dev": "3"}
_CUTS = (0.2, 0.4, 0.6, 0.8)  # a class ends with its cut: [0, 0.2], (0.2, 0.4], ...
_CODES = {"-LRB-": "(", "-RRB-": ")", "\\/": "/", "\\*": "*"}


def read(task: Task, split: str, root: Path) -> tuple[checks.Rows, list[Path]]:
    """Sentences of the publisher's split in the archive's order, brackets restored."""
    paths = [checks.find(root, name) for name in ("datasetSentences.txt", "datasetSplit.txt")]
    sentences, splits = _read_table(paths[0], "\t"), _read_table(paths[1], ",")
    sentences = {k: _restore(s) for k, s in sentences.items() if splits.get(k) == _SPLITS[split]}
    if list(root.rglob("dictionary.txt")):
        scored = _score_by_phrases(sentences, root, paths)
    else:
        scored = _score_by_test_file(sentences, split, root, paths)
    return [(k, None, s.strip(), _write_gold(task, score, x)) for k, s, score, x in scored], paths


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


def _score_by_phrases(sentences: dict, root: Path, paths: list) -> list[tuple]:
    """(id, text, score, where); the phrase list has the accents that sentences lost."""
    paths += [checks.find(root, name) for name in ("dictionary.txt", "sentiment_labels.txt")]
    pairs = [line.rsplit("|", 1) for line in checks.read_lines(paths[2]) if "|" in line]
    phrases = {_fold(pair[0]): pair for pair in pairs}
    scores, scored = _read_table(paths[3], "|"), []
    for name, text in sentences.items():
        phrase, code = phrases.get(_fold(text), (None, None))
        if code not in scores:
            raise DataError(f"{paths[2]}: no scored phrase for sentence {name} of SST")
        scored.append((name, _restore(phrase), scores[code], f"{paths[3]}, phrase {code}"))
    return scored


def _fold(text: str) -> str:
    """What the two files have in common: one lost accents or coded them twice."""
    with suppress(UnicodeError):
        text = text.encode("cp1252").decode("utf-8")
    letters = unicodedata.normalize("NFKD", _restore(text))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _score_by_test_file(sentences: dict, split: str, root: Path, paths: list) -> list[tuple]:
    if split != "test":
        raise DataError(
            f"{root}: SST's {split} split needs the archive's dictionary.txt, which gives each"
            " phrase its id"
        )
    paths.append(checks.find(root, "sst_test.tsv"))
    lines, scored = checks.read_lines(paths[2])[1:], []
    if len(lines) != len(sentences):
        raise DataError(
            f"{paths[2]}: {len(lines)} sentences, {paths[0]} has {len(sentences)} in the test split"
        )
    for number, (name, line) in enumerate(zip(sentences, lines, strict=True), start=2):
        where = f"{paths[2]}:{number}"
        row = checks.split_fields(line, ["sentence", "score"], where)
        scored.append((name, row["sentence"], row["score"], where))
    return scored


def _write_gold(task: Task, score: str, where: str) -> str:
    score = float(checks.check_score(score.strip(), (0.0, 1.0), where))
    if task.kind == "score":
        return f"{score:.6g}"  # 0.83333, also where a copy says 0.8333299999
    return describe_class(task, sum(score > cut for cut in _CUTS))
