"""Rules, stacked regression, calibration, kept judgements: on invented judgements."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from scipy.stats import binomtest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from emolib import DataError
from emolib.annotation import backends
from emolib.evaluation import (
    calibration,
    conformal,
    decision_rules,
    judgements,
    metrics,
    stacked_regression,
)
from emolib.report import calibration_plots
from emolib.tasks import AAID, get

HALF = 60  # items per task and emotion, in dev and in test


def invent(draw, task, number, emotion, heat=1.0):
    """A judgement whose probabilities are true at temperature 1, and its gold."""
    found = {"task": task.name, "id": f"{emotion}{number}", "emotion": emotion}
    if task.kind == "labels":
        held = {label: float(draw.beta(1, 2)) for label in task.labels}
        gold = tuple(label for label, p in held.items() if draw.random() < p)
        return found | {"probabilities": held, "gold": gold}
    values = np.linspace(0.05, 0.95, 10)
    if task.kind == "ordinal":
        values = np.array(list(task.classes), dtype=float)
    low, wide = values.min(), np.ptp(values)
    center = low + wide * draw.random()
    weights = np.exp(-(((values - center) / (0.2 * wide)) ** 2) / 2)
    true = weights / weights.sum()
    gold = draw.choice(values, p=true)
    shown = judgements.scale(true, heat)
    given = {f"{v:.6g}": float(p) for v, p in zip(values, shown, strict=True)}
    gold = int(gold) if task.kind == "ordinal" else float(gold)
    return found | {"probabilities": given, "gold": gold}


def judge(heat=1.0, seed=0, tasks=AAID, items=2 * HALF):
    draw = np.random.default_rng(seed)
    rows = [
        invent(draw, get(name), number, emotion, heat)
        for name in tasks
        for emotion in get(name).emotions or (None,)
        for number in range(items)
    ]
    table = pd.DataFrame(rows)
    return judgements.collect(table).assign(gold=table["gold"])


@pytest.fixture(scope="module")
def halves():
    whole = judge()
    odd = whole.index % 2 == 1
    return tuple(whole[each].reset_index(drop=True) for each in (odd, ~odd))


@pytest.fixture(scope="module")
def chosen(halves):
    """Rules chosen on the development half, and all their scores."""
    return decision_rules.choose(halves[0])


# Distributions


def test_collected_answers_come_in_the_order_given():
    once, again = judge(seed=1, items=3), judge(seed=2, items=3)
    again["id"] += " again"
    found = judgements.collect(once, again)
    assert found["id"].tolist() == [*once["id"], *again["id"]]
    assert found["mean"].tolist()[0] == pytest.approx(once["mean"][0])
    with pytest.raises(DataError, match="two responses to one item"):
        judgements.collect(once, once)


def test_mean_is_that_of_the_distribution():
    given = {"-1": 0.25, "0": 0.25, "1": 0.5}
    assert judgements.compute_mean("TDT", given) == pytest.approx(0.25)
    assert np.isnan(judgements.compute_mean("E-c", {"joy": 1.0}))


def test_responses_without_probabilities_are_refused():
    written = pd.DataFrame({"task": ["V-oc"], "id": ["1"], "response": ["2"]})
    with pytest.raises(DataError, match="constrained"):
        judgements.collect(written)


def test_kept_judgements_come_back_rounded(halves, tmp_path):
    dev, test = (half.drop(columns="gold") for half in halves)
    path = judgements.save(tmp_path / "x.parquet", {"dev": dev, "test": test}, a=1)
    parts, about = judgements.load(path)
    assert about == {"a": 1} and list(parts) == ["dev", "test"]
    for mine, theirs in ((parts["dev"], dev), (parts["test"], test)):
        keys = judgements.KEYS
        assert mine[keys].values.tolist() == theirs[keys].values.tolist()
        for ours, given in zip(mine["probabilities"], theirs["probabilities"], strict=True):
            assert ours == {k: pytest.approx(p, abs=6e-5) for k, p in given.items()}


def test_another_file_is_no_judgements(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no")
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        with pytest.raises(DataError, match=name):
            judgements.load(tmp_path / name)


def test_gold_is_joined_by_task_id_and_emotion():
    judged = judge(items=2).drop(columns="gold")
    rows = judged[judgements.KEYS].assign(gold="0.5")
    rows.loc[rows["task"] == "E-c", "gold"] = "joy"
    rows.loc[rows["task"].isin(["EI-oc", "V-oc"]), "gold"] = "1"
    found = judgements.add_gold(judged, rows.sample(frac=1, random_state=0))
    assert found["gold"][0] == 0.5 and found["gold"].iloc[-1] == ("joy",)
    with pytest.raises(DataError, match="no gold for"):
        judgements.add_gold(judged, rows.iloc[1:])


# Decisions


def test_each_rule_decides_as_its_name_says():
    task = get("V-oc")
    given = {"-3": 0.0, "-2": 0.0, "-1": 0.0, "0": 0.4, "1": 0.0, "2": 0.3, "3": 0.3}
    by = decision_rules.Rules
    cut = by(classes="cut points", cuts={"V-oc": [-2, -1, 0, 1, 1.2, 1.4]})

    def decide(rules):
        return decision_rules.decide_one(task, None, given, 1.5, rules)

    assert decide(by("argmax")) == 0
    assert decide(by("rounded mean")) in (1, 2)
    assert decide(cut) == 3
    assert decide(by("cut points")) in (1, 2)  # none fitted: the rounded mean


def test_labels_count_from_their_threshold_on():
    task = get("E-c")
    given = dict.fromkeys(task.labels, 0.1) | {"joy": 0.4, "love": 0.6}
    half, lower = (decision_rules.Rules(thresholds=t) for t in ({}, {"joy": 0.4, "love": 0.7}))
    assert decision_rules.decide_one(task, None, given, np.nan, half) == ("love",)
    assert decision_rules.decide_one(task, None, given, np.nan, lower) == ("joy",)


def test_cut_points_give_classes_as_often_as_gold_has_them(halves):
    dev, _ = halves
    decided = decision_rules.decide(dev, decision_rules.fit(dev, classes="cut points"))
    rows = decided[decided["task"] == "V-oc"]
    given, gold = (rows[c].value_counts().sort_index() for c in ("prediction", "gold"))
    assert (given.reindex(gold.index).fillna(0) - gold).abs().max() <= 1


@pytest.mark.slow
def test_the_best_rule_out_of_fold_is_chosen(chosen):
    rules, table = chosen
    for decision, name in (("classes", rules.classes), ("labels", rules.labels)):
        part = table[table["decision"] == decision].set_index("rule")
        assert part["score"].idxmax() == name and part.loc[name, "chosen"]
        assert part["chosen"].sum() == 1
    # Labels of true probabilities a third: one half names almost none of them.
    assert rules.labels != "one half" and max(rules.thresholds.values()) < 0.5


@pytest.mark.slow
def test_choice_sees_development_items_only(halves, chosen):
    (dev, test), rules = halves, chosen[0]
    table = decision_rules.compare(dev, test)
    own = table[(table["task"] == "V-oc") & (table["rule"] == rules.classes)]
    rows = decision_rules.decide(test, rules).query("task == 'V-oc'")
    scored = metrics.score("V-oc", list(rows["gold"]), list(rows["prediction"]))
    assert own["value"].item() == pytest.approx(scored["pearson"])
    assert set(table.query("task == 'V-oc'")["rule"]) == {
        *decision_rules.CLASS_RULES,
        "unrounded mean",
    }


@pytest.mark.slow
def test_unrounded_mean_goes_by_a_name_of_its_own(halves):
    table = decision_rules.compare(*halves)
    names = table[table["rule"] == "unrounded mean"]["metric"]
    assert set(names) == {"pearson_of_mean"}
    assert "pearson_of_mean" not in metrics.METRICS


def judge_labels(labels, items, seed):
    """Gold of `labels` random labels and probabilities that lean towards it."""
    draw = np.random.default_rng(seed)
    gold = draw.random((items, labels)) < draw.uniform(0.05, 0.5, labels)
    return gold, np.clip(0.5 * gold + draw.uniform(0, 0.6, gold.shape), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_fast_score_of_labels_is_that_of_the_metrics(seed):
    gold, given = judge_labels(11, 40, seed)
    held = given >= 0.5
    names = ("jaccard", "f1_micro", "f1_macro")
    expected = np.mean([metrics.METRICS[name](gold, held) for name in names])
    assert decision_rules._score_labels(gold, held) == pytest.approx(expected, abs=1e-12)
    nothing = np.zeros_like(gold)
    assert decision_rules._score_labels(nothing, nothing) == pytest.approx(1 / 3)


@pytest.mark.slow
def test_thresholds_together_are_at_a_peak_of_the_score(halves):
    """No other value of one threshold scores better, nor does one for all labels."""
    rows = halves[1].query("task == 'E-c'")
    task = get("E-c")
    given = np.array([[p[x] for x in task.labels] for p in rows["probabilities"]])
    gold = np.array([[x in each for x in task.labels] for each in rows["gold"]])

    def score(named):
        found = np.array([named[x] for x in task.labels])
        return decision_rules._score_labels(gold, given >= found)

    fitted = decision_rules.fit(rows, labels="thresholds together").thresholds
    reached = score(fitted)
    for label in task.labels:
        for threshold in decision_rules._GRID:
            assert score(fitted | {label: threshold}) <= reached + 1e-9
    for rule in ("one threshold", "a threshold per label"):
        assert score(decision_rules.fit(rows, labels=rule).thresholds) <= reached + 1e-9


def test_calibration_is_kept_with_where_it_comes_from(tmp_path):
    path, rules = tmp_path / "x.json", decision_rules.Rules("rounded mean")
    kept = calibration.Calibration(rules, temperatures={"V-oc": 1.5})
    calibration.write(path, kept, commit="abc")
    assert calibration.read(path) == kept
    assert json.loads(path.read_text())["about"] == {"commit": "abc"}
    both = replace(kept, joined=replace(kept, weights={"V-reg": {"constant": 0.5}}))
    calibration.write(path, both)
    assert calibration.read(path) == both
    (tmp_path / "y.json").write_text('{"unknown": 1}')
    with pytest.raises(DataError, match=r"y\.json"):
        calibration.read(tmp_path / "y.json")


def test_nothing_to_choose_by_is_an_error(halves):
    with pytest.raises(DataError, match="development"):
        decision_rules.choose(halves[0].iloc[:0])


# Stacking


def tell(count=400, seed=0):
    """All five tasks' judgements of texts whose joy shows in every answer."""
    draw = np.random.default_rng(seed)
    rows = []
    for number, joy in enumerate(draw.random(count)):
        seen = {task: joy + draw.normal(0, 0.2) for task in AAID}
        for task in AAID:
            own = {"task": task, "id": str(number), "probabilities": {}}
            low, high = get(task).range or (-3, 3)
            own["mean"] = low + (high - low) * seen[task]
            own["gold"] = low + (high - low) * joy
            if get(task).kind == "labels":
                p = float(np.clip(seen[task], 0.01, 0.99))
                own |= {"mean": np.nan, "gold": ("joy",) if joy > 0.5 else ()}
                own["probabilities"] = {"anger": 0.5, "joy": p}
            rows.append(own | {"emotion": "joy" if get(task).emotions else None})
    return pd.DataFrame(rows).astype({"emotion": object})


def correlate(judged, task):
    own = judged[judged["task"] == task]
    return np.corrcoef(own["gold"].astype(float), own["mean"])[0, 1]


@pytest.mark.slow
def test_all_answers_are_better_than_one():
    dev, test = tell(seed=1), tell(seed=2)
    weights, fitted = stacked_regression.fit(dev), stacked_regression.cross_fit(dev)
    joined = stacked_regression.join(test, weights)
    assert set(weights) == {"EI-reg joy", "EI-oc joy", "V-reg", "V-oc"}
    assert {"EI-oc joy", "V-reg", "E-c joy", "constant"} < set(weights["EI-reg joy"])
    for task in ("EI-reg", "EI-oc", "V-reg", "V-oc"):
        assert correlate(joined, task) > correlate(test, task) + 0.05
        assert correlate(fitted, task) > correlate(dev, task) + 0.05
    assert joined["gold"].equals(test["gold"])


def test_a_development_item_is_joined_by_weights_of_others():
    dev = tell(count=60)
    changed = dev.copy()
    changed.at[0, "gold"] = 9.0  # EI-reg of text "0"
    before, after = (stacked_regression.cross_fit(each)["mean"] for each in (dev, changed))
    assert before[0] == pytest.approx(after[0])
    assert not np.allclose(before, after, equal_nan=True)


def test_joined_mean_of_one_text_is_that_of_the_table():
    dev = tell(count=50)
    weights = stacked_regression.fit(dev)
    joined = stacked_regression.join(dev, weights)["mean"]
    own = dev[dev["id"] == "7"]
    asks = own[["task", "emotion"]].to_dict("records")
    records = [
        {"probabilities": {f"{m:.9g}": 1.0} if np.isfinite(m) else p}
        for m, p in zip(own["mean"], own["probabilities"], strict=True)
    ]
    found = backends.join(asks, records, weights)
    np.testing.assert_allclose(found, joined[own.index], rtol=1e-6)


def test_questions_that_were_not_asked(halves):
    dev, test = tell(seed=1), tell(seed=2)
    weights = stacked_regression.fit(dev)
    with pytest.raises(DataError, match="EI-oc joy: not every text has an answer to V-oc"):
        stacked_regression.join(test[test["task"] != "V-oc"], weights)
    fewer = stacked_regression.fit(dev[dev["task"] != "V-oc"])
    assert "V-oc" not in fewer and "V-oc" not in fewer["V-reg"]
    other = test[test["task"] == "V-reg"].assign(task="V-A", mean=0.3)
    asked = pd.concat([test, other], ignore_index=True)
    assert (stacked_regression.join(asked, weights).query("task == 'V-A'")["mean"] == 0.3).all()


# Calibration


@pytest.mark.parametrize("heat", [0.5, 2.0])
def test_temperature_undoes_what_made_it_wrong(heat):
    wrong = judge(heat=heat, tasks=("EI-oc", "V-reg"), items=300)
    found = calibration.fit_temperatures(wrong)
    assert found == {t: pytest.approx(1 / heat, rel=0.15) for t in ("EI-oc", "V-reg")}


def test_temperature_of_a_very_sure_model_is_high():
    found = calibration.fit_temperatures(judge(heat=0.1, tasks=("EI-oc",), items=300))
    assert found["EI-oc"] > 5


def test_coverage_is_drawn_with_its_interval_and_promise():
    names = ["task", "emotion", "level", "n", "coverage", "width"]
    rows = pd.DataFrame([("V-reg", None, 0.8, 100, 0.75, 0.3)], columns=names)
    axes = calibration_plots.draw_coverage(rows)
    dot, promise = axes.lines
    assert (dot.get_xdata()[0], promise.get_xdata()[0]) == (0.75, 0.8)
    (whisker,) = axes.collections[0].get_segments()
    low, high = binomtest(75, 100).proportion_ci(method="wilson")
    assert whisker[:, 0] == pytest.approx([low, high])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["V-reg"]


def test_scaling_lowers_the_calibration_error():
    dev, test = (judge(heat=0.4, seed=s, tasks=("EI-oc",)) for s in (1, 2))
    heat = calibration.fit_temperatures(dev)
    before, after = (
        calibration.measure(calibration.list_confidences(test, each)) for each in (None, heat)
    )
    assert after["calibration_error"].item() < before["calibration_error"].item() / 2


def test_true_probabilities_are_calibrated():
    rows = calibration.list_confidences(judge(tasks=("E-c",), items=400))
    assert len(rows) == 400 * 11
    assert calibration.measure(rows)["calibration_error"].item() < 0.03


def test_calibration_error_of_known_bins():
    rows = pd.DataFrame({"confidence": [0.9] * 10, "right": [True] * 6 + [False] * 4})
    found = calibration.measure(rows.assign(task="V-oc", emotion=None))
    assert found["accuracy"].item() == pytest.approx(0.6)
    assert found["confidence"].item() == pytest.approx(0.9)


def test_intervals_cover_what_they_promise(halves):
    dev, test = halves
    widths = conformal.fit_widths(dev)
    assert len(widths) == 5 * len(conformal.LEVELS)
    table = conformal.cover(test, widths)
    assert set(table["task"]) == {"EI-reg", "V-reg"}
    mean = table.groupby("level")["coverage"].mean()
    for level in conformal.LEVELS:
        assert mean[level] == pytest.approx(level, abs=0.06)
    assert (table.groupby(["task", "emotion"], dropna=False)["width"].diff() > -1).any()
    wide = widths.groupby(["task", "emotion"], dropna=False)["half_width"]
    assert all(part.is_monotonic_increasing for _, part in wide)


def test_half_width_is_the_quantile_of_the_errors(halves):
    dev, _ = halves
    rows = dev[(dev["task"] == "EI-reg") & (dev["emotion"] == "joy")]
    errors = np.sort((rows["mean"] - rows["gold"].astype(float)).abs())
    rank = int(np.ceil(0.9 * (len(errors) + 1)))  # Vovk et al.: of n + 1
    found = conformal.fit_widths(rows, levels=(0.9,))["half_width"].item()
    assert found == pytest.approx(errors[rank - 1])


def test_level_that_few_items_cannot_promise_is_left_out(halves):
    few = halves[0].groupby(["task", "emotion"], dropna=False).head(12)
    widths = conformal.fit_widths(few)
    assert set(widths["level"]) == {0.8, 0.9}
    assert set(conformal.cover_classes(few, halves[1])["level"]) == {0.8, 0.9}
    assert conformal.fit_widths(few.head(3)).empty


def test_sets_cover_what_they_promise(halves):
    table = conformal.cover_classes(*halves)
    assert set(table["task"]) == {"EI-oc", "V-oc"}
    mean = table.groupby("level")["coverage"].mean()
    for level in conformal.LEVELS:
        assert mean[level] == pytest.approx(level, abs=0.06)
    assert table["width"].between(0, 7).all()


def test_rounded_probabilities_give_sets_too(halves, tmp_path):
    kept = {n: halves[n].drop(columns="gold") for n in (0, 1)}
    named = {"dev": kept[0], "test": kept[1]}
    parts, _ = judgements.load(judgements.save(tmp_path / "x.parquet", named))
    rounded = [
        part.assign(gold=half["gold"]) for part, half in zip(parts.values(), halves, strict=True)
    ]
    found, wanted = (conformal.cover_classes(*pair) for pair in (rounded, halves))
    assert np.allclose(found["coverage"], wanted["coverage"], atol=0.05)


def test_widths_are_named_by_task_emotion_and_level(halves):
    named = conformal.list_widths(conformal.fit_widths(halves[0]))
    assert set(named) == {*(f"EI-reg {e}" for e in get("EI-reg").emotions), "V-reg"}
    assert list(named["V-reg"]) == ["0.8", "0.9", "0.95"]
    assert calibration.Calibration(half_widths=named).half_widths["V-reg"]["0.9"] > 0


# The same from MAPIE, whose estimators want a model: predictions that are there already


class Given(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class GivenScores(RegressorMixin, Given):
    def predict(self, X):
        return X[:, 0]


class GivenClasses(ClassifierMixin, Given):
    classes_ = np.arange(7)

    def predict(self, X):
        return X.argmax(1)

    def predict_proba(self, X):
        return X


@pytest.mark.filterwarnings("ignore:Estimator does not appear fitted")
def test_half_widths_are_those_of_mapie(halves):
    rows = halves[0].query("task == 'V-reg'")
    given, gold = rows[["mean"]].to_numpy(float), rows["gold"].to_numpy(float)
    model = SplitConformalRegressor(GivenScores(), list(conformal.LEVELS), prefit=True)
    _, bounds = model.conformalize(given, gold).predict_interval(given[:1])
    wanted = (bounds[0, 1] - bounds[0, 0]) / 2
    found = conformal.fit_widths(rows)["half_width"]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_sets_of_classes_are_those_of_mapie(halves):
    dev, test = (half.query("task == 'V-oc'") for half in halves)
    (p, gold), (test_p, test_gold) = (judgements.stack(get("V-oc"), side) for side in (dev, test))
    model = SplitConformalClassifier(GivenClasses(), list(conformal.LEVELS), prefit=True)
    _, sets = model.conformalize(p, gold).predict_set(test_p)
    found = conformal.cover_classes(dev, test)
    covered = sets[np.arange(len(test)), test_gold].mean(0)
    np.testing.assert_allclose(found["coverage"], covered)
    np.testing.assert_allclose(found["width"], sets.sum(1).mean(0))
