"""Estimates from annotated texts, corrected by ratings of some: coverage, designs, errors."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from typer.testing import CliRunner

from emolib import DataError, cli
from emolib.annotation.estimate import ESTIMATORS, estimate
from emolib.annotation.validation.sampling import join, sample

GAP = 0.3  # the difference between the groups, in the raters' eyes


def draw_texts(generator, n=2000) -> tuple[pd.DataFrame, np.ndarray]:
    """Texts of two groups; the tool reads one of them as angrier than it is."""
    group = generator.integers(0, 2, n)
    truth = GAP * group + generator.normal(size=n)
    tool = 0.6 * truth + 0.5 * group + generator.normal(0, 0.4, n)
    return pd.DataFrame({"text": [f"t{i}" for i in range(n)], "group": group, "tool": tool}), truth


def rate(table, truth, n=200, strata=None, seed=0) -> pd.DataFrame:
    drawn = sample(table, n, strata, seed)
    return join(table, drawn.assign(rating=truth[drawn["row"]]), ["rating"])


def run(seed, strata=None, terms="group", **options) -> pd.DataFrame:
    table, truth = draw_texts(np.random.default_rng(seed))
    rated = rate(table, truth, strata=strata, seed=seed)
    return estimate(rated, "rating", "tool", terms, "probability", **options)


def pick(found, estimator, term):
    return found.set_index(["estimator", "term"]).loc[(estimator, term)]


def test_rows_are_estimators_times_terms():
    found = run(0)
    assert list(found) == ["estimator", "term", "estimate", "se", "low", "high", "n"]
    assert tuple(found["estimator"].unique()) == ESTIMATORS and len(found) == 8
    assert pick(found, "rated texts alone", "group")["n"] == 200


def test_naive_is_the_regression_of_the_tools_answers():
    table, truth = draw_texts(np.random.default_rng(0))
    expected = sm.OLS(table["tool"], sm.add_constant(table["group"])).fit().params["group"]
    found = estimate(rate(table, truth), "rating", "tool", "group", "probability")
    assert pick(found, "naive", "group")["estimate"] == pytest.approx(expected)


def test_corrected_estimates_are_nearer_and_sharper_than_ratings_alone():
    found = run(0)
    assert abs(pick(found, "naive", "group")["estimate"] - GAP) > 0.3
    alone = pick(found, "rated texts alone", "group")["se"]
    for name in ("DSL", "PPI"):
        row = pick(found, name, "group")
        assert row["low"] < GAP < row["high"] and row["se"] < alone


def test_all_texts_rated_gives_their_own_regression():
    table, truth = draw_texts(np.random.default_rng(1), 300)
    found = estimate(table.assign(rating=truth), "rating", "tool", "group")
    expected = sm.OLS(truth, sm.add_constant(table["group"])).fit(cov_type="HC0")
    for name in ESTIMATORS[1:]:
        row = pick(found, name, "group")
        assert row["estimate"] == pytest.approx(expected.params["group"], abs=1e-6)
        assert row["se"] == pytest.approx(expected.bse["group"], rel=1e-6)


def test_mean_of_useless_tool_is_that_of_the_ratings():
    generator = np.random.default_rng(2)
    table = pd.DataFrame({"text": "t", "tool": generator.random(1000)})
    table["group"] = generator.integers(0, 2, 1000)
    rated = rate(table, generator.normal(5, 1, 1000), 300)
    found = estimate(rated, "rating", "tool", "group", "probability", range=(0, 10))
    for term in ("Intercept", "group"):
        alone, ppi = (pick(found, name, term) for name in ("rated texts alone", "PPI"))
        assert ppi["estimate"] == pytest.approx(alone["estimate"], abs=0.05)
        assert ppi["se"] == pytest.approx(alone["se"], rel=0.05)


def test_texts_drawn_and_not_rated_leave_the_estimate_where_it_was():
    table, truth = draw_texts(np.random.default_rng(5), 4000)
    rated = rate(table, truth + 4, 800)
    half = rated.assign(rating=rated["rating"].where(rated.index % 2 == 0))
    whole, part = (estimate(each, "rating", "tool", "1") for each in (rated, half))
    for name in ("DSL", "PPI"):
        values = [pick(each, name, "Intercept")["estimate"] for each in (whole, part)]
        assert values[1] == pytest.approx(values[0], abs=0.1)


def test_probability_of_the_sample_is_taken_without_being_named():
    table, truth = draw_texts(np.random.default_rng(6))
    rated = rate(table, truth, 200, "group")
    named, unnamed = (estimate(rated, "rating", "tool", "1", p) for p in ("probability", None))
    assert named.equals(unnamed)


def test_range_puts_the_naive_mean_on_the_raters_scale():
    table = pd.DataFrame({"tool": [0.0, 1.0] * 50, "rating": [1.0, 7.0] * 50})
    found = estimate(table, "rating", "tool", range=(1, 7))
    assert pick(found, "naive", "Intercept")["estimate"] == pytest.approx(4)


def test_logistic_with_all_rated_equals_statsmodels():
    table, truth = draw_texts(np.random.default_rng(3), 500)
    table["rating"] = (truth > 0.2).astype(float)
    found = estimate(table, "rating", "tool", "group", family="logistic")
    expected = sm.Logit(table["rating"], sm.add_constant(table["group"])).fit(disp=0)
    row = pick(found, "DSL", "group")
    assert row["estimate"] == pytest.approx(expected.params["group"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strata", [None, "group"])
def test_naive_interval_misses_and_corrected_ones_cover(strata):
    names = list(ESTIMATORS)
    hits = pd.DataFrame(0.0, index=names, columns=["group"])
    for seed in range(500):
        found = run(seed, strata).query("term == 'group'").set_index("estimator")
        hits["group"] += (found["low"] <= GAP) & (found["high"] >= GAP)
    covered = hits["group"] / 500
    print(covered.to_dict())
    assert covered["naive"] < 0.6
    assert covered[["DSL", "PPI"]].between(0.90, 0.98).all()


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({}, {"rated": "none"}, "no column 'none'"),
        ({"rating": np.nan}, {}, "0 ratings, expected 30"),
        ({"tool": np.nan}, {}, "400 of 400 texts have no answer"),
        ({"rating": "high"}, {}, "rating: expected numbers"),
        ({}, {"terms": "age"}, "terms 'age'"),
        ({}, {"terms": "group + group2"}, "sums of others"),
        ({}, {"family": "probit"}, "expected linear or logistic"),
        ({}, {"family": "logistic"}, "ratings 0 and 1"),
        ({"probability": 0.0}, {"probability": "probability"}, "above 0 and at most 1"),
        ({}, {"probability": 1.5}, "above 0 and at most 1"),
        ({}, {"probability": 0.5}, "400 ratings stand for 800 texts, not for 400"),
        ({"tool": 0.5}, {}, "answers lie in 0 to 1, ratings in"),
        ({}, {"range": (7, 1)}, "expected the ends"),
        ({}, {"range": "1:7"}, "expected the ends"),
    ],
)
def test_what_cannot_be_estimated_is_refused(changes, options, message):
    table, truth = draw_texts(np.random.default_rng(4), 400)
    table = table.assign(rating=truth, group2=table["group"] * 2).assign(**changes)
    given = {"rated": "rating", "predicted": "tool", "terms": "group"} | options
    with pytest.raises(DataError, match=message):
        estimate(table, **given)


def test_sample_is_random_in_order_and_repeatable():
    table = pd.DataFrame({"text": [str(n) for n in range(100)]})
    drawn = sample(table, 10)
    assert (drawn["probability"] == 0.1).all() and drawn["row"].is_monotonic_increasing
    assert drawn["text"].tolist() == [str(n) for n in drawn["row"]]
    assert drawn.equals(sample(table, 10)) and not drawn.equals(sample(table, 10, seed=1))


def test_strata_get_equal_shares_and_small_ones_all_they_have():
    table = pd.DataFrame({"text": "t", "party": ["a"] * 80 + ["b"] * 17 + ["c"] * 3})
    drawn = sample(table, 31, "party")
    assert drawn["party"].value_counts().to_dict() == {"a": 14, "b": 14, "c": 3}
    chances = drawn.groupby("party")["probability"].first()
    assert chances.to_dict() == pytest.approx({"a": 14 / 80, "b": 14 / 17, "c": 1})


def test_numbers_are_cut_at_quintiles_and_missing_ones_kept():
    table = pd.DataFrame({"score": [*range(100), *[np.nan] * 20]})
    drawn = sample(table, 60, "score")
    assert drawn["score"].isna().sum() == 10
    assert np.histogram(drawn["score"].dropna(), 5, (0, 99))[0].tolist() == [10] * 5


@pytest.mark.parametrize(
    "n, strata, extra, message",
    [
        (0, None, {}, "n is 0"),
        (11, None, {}, "n is 11, expected 1 to 10"),
        (5, "party", {}, "strata: no column 'party'"),
        (5, None, {"row": 1}, "there is a column 'row' already"),
        (5, "who", {"who": list("abcdefghij")}, "n is 5, and who has 10 values"),
    ],
)
def test_sample_that_cannot_be_drawn_is_refused(n, strata, extra, message):
    with pytest.raises(DataError, match=message):
        sample(pd.DataFrame({"text": ["t"] * 10}).assign(**extra), n, strata)


def test_ratings_of_other_rows_are_refused():
    table = pd.DataFrame({"text": ["t"] * 10})
    drawn = sample(table, 3).assign(rating=1)
    for wrong in (drawn.assign(row=[0, 0, 1]), drawn.assign(row=[0, 1, 10])):
        with pytest.raises(DataError, match="0 to 9, each once"):
            join(table, wrong, ["rating"])
    with pytest.raises(DataError, match="no column 'mine'"):
        join(table, drawn, ["mine"])
    table = pd.DataFrame({"text": [f"t{n}" for n in range(10)]})
    drawn = sample(table, 3).assign(rating=1)
    with pytest.raises(DataError, match="text: differs between"):
        join(table.sort_values("text", ascending=False), drawn, ["rating"])
    with pytest.raises(DataError, match="'rating' already"):
        join(table.assign(rating=1), drawn, ["rating"])


def test_command_draws_rows_with_their_probabilities(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame({"body": [f"t{n}" for n in range(20)]}).to_csv(source, index=False)
    words = ["sample", str(source), str(target), "--n", "5", "--text-column", "body"]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    drawn = pd.read_csv(target)
    assert list(drawn) == ["body", "row", "probability"] and len(drawn) == 5
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 1 and "there already" in result.output
