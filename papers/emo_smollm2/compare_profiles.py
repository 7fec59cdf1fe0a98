"""What adapters tuned on profiles reach on SemEval-2018, all by the shipped adapter's rules.

    python papers/emo_smollm2/compare_profiles.py TABLE.csv RUN [RUN ...] [--test] [--together]

Writes a row for each adapter, set, task and figure, with bootstrap intervals. `--together` adds the
mean of all their probabilities, as an adapter called TOGETHER. Needs the corpora (EMOLIB_DATA). A
minute and a half per adapter on two cores, five more with `--test`.
"""

from argparse import ArgumentParser

import pandas as pd
from tqdm.auto import tqdm

from emolib import DataError, files, models
from emolib.data import corpora
from emolib.evaluation import decision_rules, item_errors, judgements, metrics
from emolib.inference import profile
from emolib.tasks import AAID

TOGETHER = "probabilities averaged"
RULES = {"classes": "rounded mean", "labels": "thresholds together"}  # the shipped adapter's


def compare(
    runs: list[str], test: bool = False, together: bool = False, data: str = "official"
) -> pd.DataFrame:
    """Scores of the adapters in `runs` on the development sets, and on the test sets if asked.

    Columns: adapter, set, and those of `metrics.tabulate` but model. Classes and labels are decided
    by RULES, whose thresholds are fitted to the same adapter's answers about the development sets:
    with a rule chosen for each, a difference could be the rules' alone.
    """
    sets = ("dev", "test") if test else ("dev",)
    read = {each: [corpora.read(task, each, data) for task in AAID] for each in sets}
    rows = {each: pd.concat(frames, ignore_index=True) for each, frames in read.items()}
    found, sums = [], {}
    for run in runs:
        model, tokenizer = models.load(run)
        model = models.merge(model)
        answers = {name: predict(model, tokenizer, rows[name], f"{run} {name}") for name in sets}
        found.append(score(run, rows, answers))
        for name, (digits, labels) in answers.items():
            before = sums.get(name, (0, 0))
            sums[name] = before[0] + digits, before[1] + labels
    if together:
        means = {name: tuple(each / len(runs) for each in pair) for name, pair in sums.items()}
        found.append(score(TOGETHER, rows, means))
    return pd.concat(found, ignore_index=True)


def predict(model, tokenizer, frame: pd.DataFrame, name: str) -> tuple:
    """What `profile.predict` gives for a frame's texts, each read once."""
    texts = list(frame.drop_duplicates("id")["text"])
    with tqdm(total=len(texts), desc=name) as bar:
        return profile.predict(
            model,
            tokenizer,
            texts,
            report=lambda share: bar.update(round(share * len(texts)) - bar.n),
        )


def score(adapter: str, rows: dict[str, pd.DataFrame], answers: dict[str, tuple]) -> pd.DataFrame:
    """The scores of one adapter's answers about the rows of each set, thresholds fitted to dev."""
    found, rules = [], None
    for name, frame in rows.items():
        judged = profile.judge(frame["id"].drop_duplicates(), *answers[name])
        judged = judged.merge(frame[judgements.KEYS], on=judgements.KEYS)
        judged = judgements.add_gold(judged, frame)
        rules = rules or decision_rules.fit(judged, **RULES)
        compared = item_errors.compare(frame, decision_rules.decide(judged, rules))
        scores = metrics.tabulate(compared, adapter).rename(columns={"model": "adapter"})
        found.append(scores.assign(set=name))
    return pd.concat(found, ignore_index=True)


if __name__ == "__main__":
    parser = ArgumentParser(description="Scores of adapters tuned on profiles.")
    parser.add_argument("table", metavar="TABLE.csv")
    parser.add_argument("runs", metavar="RUN", nargs="+")
    parser.add_argument("--test", action="store_true", help="the test sets too")
    parser.add_argument("--together", action="store_true", help="their mean probabilities too")
    given = parser.parse_args()
    try:
        table = compare(given.runs, given.test, given.together)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    files.write_csv(given.table, table)
    main = table[~table["metric"].str.contains(".", regex=False)]
    print(main.pivot_table("value", ["set", "task", "metric"], "adapter").round(4).to_string())
