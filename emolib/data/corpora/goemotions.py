"""GoEmotions (Demszky et al. 2020): Reddit comments with one or more of 28 labels.

Tab-separated without a header, texts quoted as in CSV. The 28 labels are merged into Ekman's six
and neutral by the authors' own mapping (their section 4; ekman_mapping.json beside the data).
"""

from emolib import DataError
from emolib.data.corpora import checks
from emolib.tasks import Task

# In the order of the publisher's label file: a line's label ids count from 0.
_LABELS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire"
    " disappointment disapproval disgust embarrassment excitement fear gratitude grief joy love"
    " nervousness optimism pride realization relief remorse sadness surprise neutral"
)
LABELS = _LABELS.split()
_EKMAN = {
    "anger": "anger annoyance disapproval",
    "disgust": "disgust",
    "fear": "fear nervousness",
    "joy": "joy admiration amusement approval caring desire excitement gratitude love optimism"
    " pride relief",
    "sadness": "sadness disappointment embarrassment grief remorse",
    "surprise": "surprise confusion curiosity realization",
    "neutral": "neutral",
}
EKMAN = {fine: coarse for coarse, words in _EKMAN.items() for fine in words.split()}
_CODES = {str(number): EKMAN[label] for number, label in enumerate(LABELS)}


def read(task: Task, split: str, folder: checks.Folder) -> checks.Rows:
    """Comments in file order; gold is the mapped labels, comma-separated, each once."""
    path = folder.find(f"{split}.tsv", part="goemotions")
    for where, fields in checks.read_csv(path, "\t", header=False):
        row = checks.name_fields(fields, ["text", "labels", "id"], where)
        codes = row["labels"].split(",")
        if bad := [code for code in codes if code not in _CODES]:
            raise DataError(f"{where}: label {bad[0]!r:.60}, expected 0 to {len(LABELS) - 1}")
        gold = ", ".join(dict.fromkeys(_CODES[code] for code in codes))
        yield where, row["id"], None, row["text"], gold
