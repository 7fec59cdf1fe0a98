import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from emolib.data.rows import to_dataset, to_frame

LINES = [
    {"task": "V-reg", "emotion": None, "text": "a"},
    {"task": "EI-reg", "emotion": "joy", "text": "b"},
]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_rows_go_from_either_shape_to_either(missing):
    frame = pd.DataFrame(LINES).astype(object)
    frame["emotion"] = pd.Series([missing, "joy"], dtype=object)
    frame.index = [7, 3]  # as after a selection
    for rows in (frame, Dataset.from_list(LINES)):
        assert to_frame(rows).to_dict("records") == LINES
        assert to_frame(rows).index.tolist() == [0, 1]
        assert to_dataset(rows).to_list() == LINES
    assert frame.index.tolist() == [7, 3]


def test_missing_emotions_alone_stay_none(sample_aeb):
    frame = sample_aeb.to_pandas().query("task == 'TDT'")
    assert set(to_dataset(frame)["emotion"]) == {None}


def test_dataset_is_not_copied():
    rows = Dataset.from_list(LINES)
    assert to_dataset(rows) is rows
