"""What adapters tuned on profiles reach on SemEval-2018, rules chosen on the development sets.

    python papers/emo_smollm2/compare_profiles.py TABLE.csv RUN [RUN ...] [--test]

Writes a row for each adapter, set, task and figure, with bootstrap intervals. Needs the corpora
(EMOLIB_DATA). A minute and a half per adapter on two cores, five more with `--test`.
"""

from argparse import ArgumentParser

import pandas as pd
from tqdm.auto import tqdm

from emolib import DataError, files, models
from emolib.data import corpora
from emolib.evaluation import decision_rules, item_errors, judgements, metrics
from emolib.inference import profile
from emolib.tasks import AAID


def compare(runs: list[str], test: bool = False, data: str = "official") -> pd.DataFrame:
    """Scores of the adapters in `runs` on the development sets, and on the test sets if asked.

    Columns: adapter, set, and those of `metrics.tabulate` but model. Classes and labels are decided
    by rules that the same adapter's answers about the development sets chose.
    """
    sets = ("dev", "test") if test else ("dev",)
    read = {each: [corpora.read(task, each, data) for task in AAID] for each in sets}
    rows = {each: pd.concat(frames, ignore_index=True) for each, frames in read.items()}
    found = []
    for run in runs:
        model, tokenizer = models.load(run)
        model, rules = models.merge(model), None
        for name, frame in rows.items():
            judged = judgements.add_gold(predict(model, tokenizer, frame, f"{run} {name}"), frame)
            rules = rules or decision_rules.choose(judged)[0]
            compared = item_errors.compare(frame, decision_rules.decide(judged, rules))
            scores = metrics.tabulate(compared, run).rename(columns={"model": "adapter"})
            found.append(scores.assign(set=name))
    return pd.concat(found, ignore_index=True)


def predict(model, tokenizer, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Judgements of a frame's items, each text read once."""
    texts = frame.drop_duplicates("id")
    with tqdm(total=len(texts), desc=name) as bar:
        answers = profile.predict(
            model,
            tokenizer,
            list(texts["text"]),
            report=lambda share: bar.update(round(share * len(texts)) - bar.n),
        )
    return profile.judge(texts["id"], *answers).merge(frame[judgements.KEYS], on=judgements.KEYS)


if __name__ == "__main__":
    parser = ArgumentParser(description="Scores of adapters tuned on profiles.")
    parser.add_argument("table", metavar="TABLE.csv")
    parser.add_argument("runs", metavar="RUN", nargs="+")
    parser.add_argument("--test", action="store_true", help="the test sets too")
    given = parser.parse_args()
    try:
        table = compare(given.runs, given.test)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    files.write_csv(given.table, table)
    main = table[~table["metric"].str.contains(".", regex=False)]
    print(main.pivot_table("value", ["set", "task", "metric"], "adapter").round(4).to_string())
