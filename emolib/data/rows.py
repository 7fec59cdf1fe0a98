"""Rows as a data frame or as a Dataset: public functions take either."""

import pandas as pd
from datasets import Dataset

Rows = Dataset | pd.DataFrame


def to_frame(rows: Rows) -> pd.DataFrame:
    """The rows as a data frame of objects, numbered from 0; what is missing is None.

    >>> to_frame(Dataset.from_list([{"task": "V-reg", "emotion": None}]))
        task emotion
    0  V-reg    None
    """
    frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    frame = frame.reset_index(drop=True).astype(object)
    return frame.where(frame.notna(), None)


def to_dataset(rows: Rows) -> Dataset:
    """The rows as a Dataset; a Dataset comes back as it is."""
    if isinstance(rows, Dataset):
        return rows
    return Dataset.from_pandas(to_frame(rows), preserve_index=False)
