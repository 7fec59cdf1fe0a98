"""Annotations beside people's ratings: scales, measures, fits, the report, the command."""

import json

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as judge
from typer.testing import CliRunner

from emolib import Annotator, DataError, cli
from emolib.annotation import validate
from emolib.annotation.validation import agreement, fitting, ratings
from emolib.report import validation_report


@pytest.fixture(scope="module")
def coded() -> pd.DataFrame:
    """300 annotated texts whose tool reads anger too mildly and marks too many as joyful."""
    rng = np.random.default_rng(0)
    level = rng.random(300)
    joy = np.clip(level + rng.normal(0, 0.1, 300), 0.01, 0.99)
    return pd.DataFrame(
        {
            "text": [f"text {number}" for number in range(300)],
            "anger_intensity": np.clip(0.3 + 0.4 * level + rng.normal(0, 0.05, 300), 0, 1),
            "anger_class": (level * 4).astype(int),
            "has_joy": joy > 0.5,
            "has_joy_confidence": np.maximum(joy, 1 - joy),
            "one": np.round(level * 6 + 1),
            "two": np.round(np.clip(level + rng.normal(0, 0.1, 300), 0, 1) * 6 + 1),
            "joyful": np.where(level > 0.8, "Yes", "no"),
            "amount": np.array(["none", "low", "some", "high"])[(level * 4).astype(int)],
            "stuck": 3,
        }
    )


GOLD = {"anger": "one,two", "joy": "joyful", "anger_class": "amount"}
RANGES = {"anger": "1:7", "anger_class": "none,low,some,high"}


@pytest.fixture(scope="module")
def found(coded) -> validate.Validation:
    return validate.validate(coded, GOLD, RANGES, fit=True)


def get(found, column, measure, fit="as it is"):
    rows = found.measures.set_index(["column", "fit", "measure"])
    return rows.loc[(column, fit, measure)]


def test_score_measures_equal_scipy():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 5, 60) / 4
    own = rng.random(60)
    measured = agreement.measure("score", gold, own)
    assert measured["pearson"] == pytest.approx(stats.pearsonr(gold, own)[0])
    assert measured["spearman"] == pytest.approx(stats.spearmanr(gold, own)[0])
    assert measured["mean_error"] == pytest.approx(own.mean() - gold.mean())


def test_label_and_class_measures_equal_scikit_learn():
    rng = np.random.default_rng(2)
    gold, own = rng.random(80) > 0.7, rng.random(80) > 0.5
    measured = agreement.measure("label", gold, own)
    assert measured["f1"] == pytest.approx(judge.f1_score(gold, own))
    assert measured["precision"] == pytest.approx(judge.precision_score(gold, own))
    assert measured["recall"] == pytest.approx(judge.recall_score(gold, own))
    assert measured["matthews"] == pytest.approx(judge.matthews_corrcoef(gold, own))
    expected = judge.balanced_accuracy_score(gold, own)
    assert measured["balanced_accuracy"] == pytest.approx(expected)
    gold, own = rng.integers(0, 4, 80), rng.integers(0, 4, 80)
    kappa = judge.cohen_kappa_score(gold, own, weights="quadratic")
    assert agreement.measure("class", gold, own)["qwk"] == pytest.approx(kappa)


@pytest.mark.parametrize("kind, level", [("score", "interval"), ("label", "nominal")])
def test_alpha_in_closed_form_equals_the_package(kind, level):
    rng = np.random.default_rng(3)
    given = rng.integers(0, 2 if kind == "label" else 6, (4, 50)).astype(float)
    given[1] = given[0]
    given[rng.random(given.shape) < 0.3] = np.nan
    expected = krippendorff.alpha(given, level_of_measurement=level)
    assert agreement.compute_alpha(kind, given) == pytest.approx(expected)


def test_constant_columns_have_no_value_and_no_error():
    zeros = np.zeros(30)
    for kind in ("score", "class", "label"):
        measured = agreement.measure(kind, zeros, zeros, alpha=True)
        assert np.isnan(measured["alpha"])
        ends = agreement.resample(kind, zeros, zeros)
        assert np.isnan(
            ends["pearson" if kind == "score" else "spearman" if kind == "class" else "f1"]
        ).all()


def test_bootstrap_interval_covers_the_value_and_narrows_with_n(found):
    row = get(found, "anger_intensity", "pearson")
    assert row["low"] < row["value"] < row["high"]
    widths = found.widths[found.widths["column"] == "anger_intensity"].set_index("n")["width"]
    assert list(widths.index) == [75, 150, 300, 600, 1200]
    assert widths[1200] == pytest.approx(widths[300] / 2, rel=0.25)  # as the root of n


def test_several_raters_are_averaged_and_compared(coded, found):
    mean = (coded["one"] + coded["two"]) / 2
    expected = stats.pearsonr(mean, coded["anger_intensity"])[0]
    assert get(found, "anger_intensity", "pearson")["value"] == pytest.approx(expected)
    raters = found.raters.set_index("column").loc["anger_intensity"]
    assert raters["raters"] == 2 and raters["alpha_raters"] > 0.9 > raters["alpha_tool"]
    assert raters["r_raters"] == pytest.approx(stats.pearsonr(coded["one"], coded["two"])[0])


def test_text_in_two_rows_is_rated_twice(coded):
    twice = pd.concat([coded, coded.assign(one=coded["two"])], ignore_index=True)
    found = validate.validate(twice, {"anger": "one"}, {"anger": "1:7"})
    assert found.raters["raters"].tolist() == [2]
    assert get(found, "anger_intensity", "pearson")["n"] == 300


def test_fit_helps_on_unseen_texts_and_is_kept(found):
    before = get(found, "anger_intensity", "absolute_error")["value"]
    after = get(found, "anger_intensity", "absolute_error", "fitted, unseen texts")["value"]
    assert after < before - 0.03
    assert found.fits["scores"]["anger_intensity"][0] == pytest.approx(2.5, rel=0.15)
    assert 0.7 < found.fits["labels"]["has_joy"][0] < 0.9  # raters marked a level above 0.8
    assert "classes" in found.fits and "anger_class" not in found.fits["classes"]
    assert any("anger_class: no fit beats" in note for note in found.notes)


def test_nothing_is_fitted_to_noise_or_to_few_ratings():
    rng = np.random.default_rng(4)
    gold, raw = (rng.random(200) > 0.5).astype(float), rng.random(200)
    assert fitting.fit("label", gold, raw, gold) is None
    assert fitting.fit("score", raw[:19], raw[:19] / 2, raw[:19] / 2) is None


def test_fit_on_unseen_texts_is_not_the_one_that_saw_them():
    rng = np.random.default_rng(5)
    gold, raw = (rng.random(60) > 0.5).astype(float), rng.random(60)
    own = np.zeros(60)
    seen = fitting.apply_one("label", fitting.fit("label", gold, raw, own), raw)
    unseen = fitting.predict_unseen("label", gold, raw, own)
    f1 = [float(agreement.measure("label", gold, x)["f1"]) for x in (seen, unseen)]
    assert f1[1] < f1[0]


def test_applied_fit_changes_columns_and_their_confidences():
    table = pd.DataFrame(
        {
            "anger_intensity": [0.5, 0.9, np.nan],
            "anger_class": [0.0, 1, np.nan],
            "anger_class_confidence": [0.5, 0.5, np.nan],
            "has_joy": [1.0, 0.0, np.nan],
            "has_joy_confidence": [0.6, 0.7, np.nan],
        }
    )
    fits = {"scores": {"anger_intensity": [2.0, -0.5]}, "labels": {"has_joy": [0.65]}}
    fits["classes"] = {"anger_class": [0.4, 0.6, 0.8]}
    after = fitting.apply(table, fits)
    assert after["anger_intensity"].tolist()[:2] == [0.5, 1.0]
    assert after["anger_class"].tolist()[:2] == [1, 3]
    assert after["has_joy"].tolist()[:2] == [0, 0]
    assert after["has_joy_confidence"].tolist()[:2] == pytest.approx([0.4, 0.7])
    assert after.iloc[2].isna().all() and after["anger_class_confidence"].isna().all()


def test_annotator_takes_a_fit(tmp_path):
    texts = ["What a lovely day!", "This is a horrible mess.", "A table."]
    before = Annotator("vader", progress=False)(texts)
    path = tmp_path / "calibration.json"
    fitting.write(path, {"scores": {"valence": [0.5, 0.1]}}, model="vader")
    annotator = Annotator("vader", progress=False, calibration=str(path))
    after = annotator(texts)
    expected = (0.5 * before["valence"] + 0.1).round(4)
    assert after["valence"].tolist() == pytest.approx(expected.tolist())
    assert annotator.settings["fits"]["scores"] == {"valence": [0.5, 0.1]}


@pytest.mark.parametrize(
    "record, message",
    [
        ({"model": "textblob"}, "fitted for textblob"),
        ({"scores": {"anger_intensity": [1, 0]}}, "fitted for anger_intensity"),
        ({"scores": [1]}, "no calibration"),
    ],
)
def test_fit_for_something_else_is_refused(tmp_path, record, message):
    path = tmp_path / "calibration.json"
    parts = {
        "scores": {},
        "classes": {},
        "labels": {},
        "about": {"model": record.pop("model", "vader")},
    }
    path.write_text(json.dumps(parts | record))
    with pytest.raises(DataError, match=message):
        Annotator("vader", calibration=str(path))


@pytest.mark.parametrize(
    "gold, ranges, message",
    [
        ({"rage": "one"}, {}, "'rage': no column of annotate: there are anger"),
        ({"anger": "three"}, {}, "no column 'three': there are text"),
        ({"anger": "one"}, {"joy": "1:7"}, "range joy: not among"),
        ({"anger": "one"}, {"anger": "1:5"}, "row 1: one is '5.0'|row .*: one is '[67].0', not on"),
        ({"anger": "one"}, {"anger": "7:1"}, "expected its ends"),
        ({"anger": "amount"}, {}, "order from the lowest to the highest .--range anger=none,some"),
        ({"has_joy": "amount"}, {}, "expected yes or no"),
        ({"anger_class": "one"}, {"anger_class": "1:7"}, "7 classes rated, 4 predicted"),
        ({"valence": "one"}, {}, "no column 'valence': annotate the texts first"),
        ({}, {}, "at least one rated column"),
        ({"anger": "one", "anger_intensity": "two"}, {}, "anger_intensity is named twice"),
    ],
)
def test_what_cannot_be_paired_is_refused(coded, gold, ranges, message):
    with pytest.raises(DataError, match=message):
        validate.validate(coded, gold, ranges)


@pytest.mark.parametrize(
    "values, expected",
    [
        (["yes", "N", True, 0, ""], [1, 0, 1, 0, np.nan]),
        (["1", "0", "1.0", None, "0"], [1, 0, 1, np.nan, 0]),
    ],
)
def test_yes_and_no_are_read(values, expected):
    table = pd.DataFrame({"mine": pd.Series(values, dtype=object)})
    (pair,) = ratings.pair(table, {"joy": "mine"})
    assert pair.column == "has_joy"
    np.testing.assert_array_equal(ratings.read(table, pair)[0], expected)


def test_scale_is_found_and_named():
    table = pd.DataFrame({"mine": ["-3", "1,5", "3", "NA"]})
    (pair,) = ratings.pair(table, {"valence": "mine"})
    assert pair.scale == "-3 to 3, as found in the values"
    np.testing.assert_array_equal(ratings.read(table, pair)[0], [0, 0.75, 1, np.nan])


def test_emotion_without_an_intensity_is_compared_by_its_probability():
    table = pd.DataFrame({"has_trust": [True, False], "has_trust_confidence": [0.9, 0.8]})
    table = table.assign(text=["a", "b"], mine=[4, 1])
    found = validate.validate(table, {"trust": "mine"}, {"trust": "1:5"})
    points = found.points["has_trust (probability)"]
    assert points["predicted"].tolist() == pytest.approx([0.9, 0.2])


def test_annotated_csv_is_read_as_it_was_before(coded, found):
    texts = coded.astype("str")  # as CSV cells come
    again = validate.validate(texts, GOLD, RANGES, fit=True)
    pd.testing.assert_frame_equal(again.measures, found.measures)
    assert again.fits == found.fits


def test_constant_ratings_give_a_sentence(coded):
    found = validate.validate(coded, {"anger": "stuck"})
    assert "anger_intensity: all 300 ratings are the same" in " ".join(found.notes)
    assert np.isnan(get(found, "anger_intensity", "pearson")["value"])


def test_one_class_few_texts_and_missing_ratings_give_a_sentence(coded):
    few = coded.head(20).assign(joyful=["yes"] * 3 + ["no"] * 15 + [""] * 2)
    notes = " ".join(validate.validate(few, {"joy": "joyful"}).notes)
    assert "3 of 18 texts" in notes and "18 rated texts are few" in notes
    assert "2 rows lack a rating" in notes


@pytest.fixture(scope="module")
def report(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    found.about = {"name": "m", "emolib": "0.1.0", "annotated": "2026-11-26T10:00"}
    validation_report.write(found, folder)
    return folder


def test_report_holds_its_figures_and_tables(report):
    page = (report / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page
    assert "nan" not in page.split("<body>")[-1].split("data:image")[0]
    names = {path.name for path in report.iterdir()}
    assert names >= {"report.md", "measures.csv", "raters.csv", "widths.csv", "disagreements.csv"}
    assert "-0.00" not in (report / "report.md").read_text()


def test_methods_paragraph_holds_the_measured_numbers(found, report):
    paragraph = validation_report.describe(found)
    row = get(found, "has_joy", "f1")
    assert f"F1 was {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in paragraph
    assert "m (emolib 0.1.0, 2026-11-26)" in paragraph and "among the 2 raters" in paragraph


@pytest.mark.slow
def test_report_shows_markup_in_texts_as_text(coded, tmp_path):
    rude = coded.assign(text=[f"<script>alert({n})</script> | a\nb" for n in range(300)])
    validation_report.write(validate.validate(rude, {"anger": "one"}), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\\| a b" in (tmp_path / "report.md").read_text()


def write_texts(path):
    texts = ["What a lovely day!", "I hate this.", "A table.", "So sad, so bad.", "Great, great!"]
    table = pd.DataFrame({"body": texts * 8, "mine": ["6", "1", "4", "2", "7"] * 8})
    table["body"] += [f" {number}" for number in range(40)]
    table.to_csv(path, index=False)
    return path


def call(*words) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_command_annotates_validates_and_fits(tmp_path):
    source = write_texts(tmp_path / "coded.csv")
    how = ("--text-column", "body", "--model", "vader", "--quiet")
    gold = ("--gold", "valence=mine", "--range", "valence=1:7", "--fit")
    printed = call("validate", source, tmp_path / "out", *gold, *how)
    assert "Texts were annotated automatically with vader" in printed
    fits = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert fits["about"]["model"] == "vader" and len(fits["scores"]["valence"]) == 2
    target = tmp_path / "again.csv"
    more = ("--calibration", tmp_path / "out" / "calibration.json")
    call("annotate", source, target, *how, *more)
    assert pd.read_csv(target)["valence"].between(0, 1).all()
    codebook = pd.read_csv(f"{target}.codebook.csv").set_index("name")
    assert "fitted to ratings" in codebook.loc["valence", "description"]


def test_command_takes_columns_that_are_there_already(tmp_path):
    source = write_texts(tmp_path / "coded.csv")
    call("annotate", source, tmp_path / "done.csv", "--text-column", "body", "--model", "vader")
    gold = ("--text-column", "body", "--gold", "valence=mine")
    printed = call("validate", tmp_path / "done.csv", tmp_path / "out", *gold)
    assert "annotated automatically with vader" in printed
    assert not (tmp_path / "out" / validate.ANNOTATED).exists()


def test_command_refuses_ratings_before_it_annotates(tmp_path):
    source = write_texts(tmp_path / "coded.csv")
    words = ["validate", str(source), str(tmp_path / "out"), "--text-column", "body"]
    words += ["--gold", "valence=mine", "--range", "valence=1:5"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 1 and "row 1: mine is '6', not on the scale 1 to 5" in result.output
    assert not (tmp_path / "out").exists()


def test_ratings_called_like_our_column_are_refused(tmp_path):
    table = pd.read_csv(write_texts(tmp_path / "coded.csv")).rename(columns={"mine": "valence"})
    table.assign(other=table["valence"]).to_csv(tmp_path / "own.csv", index=False)
    for gold, message in (("valence", "cannot hold ratings"), ("other", "called like one of ours")):
        with pytest.raises(DataError, match=message):
            given = (tmp_path / "own.csv", tmp_path / "o", {"valence": gold}, None, "body")
            validate.validate_file(*given)


def test_sentences_are_no_raters(tmp_path):
    source, files = write_texts(tmp_path / "coded.csv"), validate.FileSettings(unit="sentence")
    with pytest.raises(DataError, match="take aggregate mean"):
        validate.validate_file(
            source, tmp_path / "o", {"valence": "mine"}, None, "body", "vader", files=files
        )


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_few_texts_give_a_report_and_no_interval_below_ten(coded, tmp_path, n):
    found = validate.validate(coded.head(n), {"anger": "one"}, {"anger": "1:7"})
    assert validation_report.write(found, tmp_path).is_file()
    assert np.isnan(get(found, "anger_intensity", "pearson")["low"]) == (n < 10)


def test_repeated_texts_and_codes_for_missing_get_a_sentence(coded):
    again = pd.concat([coded, coded.head(5).assign(one=-99)], ignore_index=True)
    notes = " ".join(validate.validate(again, {"anger": "one"}).notes)
    assert "5 texts stand there before: each row counts" in notes
    assert "if -99 means that there is no rating, empty these cells" in notes


@pytest.mark.slow
def test_fit_of_an_earlier_call_does_not_stay(tmp_path):
    source = write_texts(tmp_path / "coded.csv")
    gold = ("--gold", "valence=mine", "--text-column", "body", "--model", "vader", "--quiet")
    call("validate", source, tmp_path / "out", *gold, "--fit")
    assert (tmp_path / "out" / "calibration.json").is_file()
    call("validate", source, tmp_path / "out", *gold)
    assert not (tmp_path / "out" / "calibration.json").exists()
