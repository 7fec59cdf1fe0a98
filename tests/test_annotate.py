import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib import DataError, models
from emolib.annotation import annotate, backends
from emolib.annotation.annotate import Annotator
from emolib.annotation.columns import COLUMNS, list_columns, read_record
from emolib.data import aeb
from emolib.data.prompts import instructions, render
from emolib.evaluation import calibration
from emolib.evaluation.calibration import Calibration
from emolib.evaluation.decision_rules import Rules
from emolib.evaluation.judgements import compute_mean
from emolib.inference import constrained, predict
from emolib.tasks import AAID, EMOTIONS, TASKS

TEXTS = ["I am so happy today!", "Leave me alone.", "They lied to us, again 😡"]
BROKEN = {
    "": "empty text",
    " \n\t": "empty text",
    None: "no text",
    np.nan: "no text",
    pd.NA: "no text",
    7: "not a text but int",
    ("a",): "not a text but tuple",
}


@pytest.fixture(scope="module")
def annotator(tiny_model):
    return Annotator(tiny_model, progress=False)


@pytest.fixture(scope="module")
def frame(annotator):
    return annotator(TEXTS)


def test_every_task_gives_its_columns_in_the_field_s_ranges(frame):
    assert frame["text"].tolist() == TEXTS and frame["reason"].isna().all()
    for emotion in EMOTIONS:
        assert frame[f"{emotion}_intensity"].between(0, 1).all()
        assert frame[f"{emotion}_class"].isin(range(4)).all()
    assert frame["valence"].between(0, 1).all()
    assert frame["valence_class"].isin(range(-3, 4)).all()
    assert all(frame[f"has_{label}"].dtype == "boolean" for label in TASKS["E-c"].labels)
    sure = [name for name in frame if name.endswith("_confidence")]
    assert len(sure) == 4 + 4 + 1 + 1 + 11
    assert ((frame[sure] > 0) & (frame[sure] <= 1)).all(axis=None)


def test_values_are_those_of_predict(frame, tiny_model, tmp_path):
    row = {"id": "0", "text": TEXTS[2], "gold": None}
    asked = aeb.build(["EI-reg", "EI-oc", "V-reg", "V-oc"], data="sample").to_pandas()
    asked = asked.drop_duplicates(["task", "emotion"]).drop(columns=list(row))
    records = [each | row for each in asked.to_dict("records")]
    for each in records:
        each["emotion"] = None if pd.isna(each["emotion"]) else each["emotion"]
        each["instruction"] = instructions(each["task"])[0]
        each["prompt"] = render(each)["prompt"]
    rows = aeb.Dataset.from_list(records)
    found = predict.predict(rows, *models.load(tiny_model), tmp_path, progress=False)
    for _, one in found.iterrows():
        ours = frame[COLUMNS[one["task"]].format(one["emotion"])][2]
        score = TASKS[one["task"]].kind == "score"
        assert ours == pytest.approx(one["mean"] if score else one["prediction"], abs=1e-3)


@pytest.mark.parametrize("text", BROKEN, ids=repr)
def test_what_is_no_text_gets_a_reason_and_no_value(annotator, text):
    found = annotator([TEXTS[0], text, TEXTS[1]])
    assert found["reason"][1] == BROKEN[text]
    assert found.loc[1, list(annotator.columns)].isna().all()
    assert found.loc[[0, 2], list(annotator.columns)].notna().all(axis=None)


@pytest.mark.parametrize(
    "text",
    [
        "Ich bin so müde und traurig",
        "私はとても嬉しい",
        "😭" * 50,
        "half \ud83d a character",
        "null \x00 byte, </s> <|im_end|> <s>",
        "‏מימין לשמאל",
        ".",
    ],
)
def test_odd_text_is_annotated(annotator, text):
    found = annotator([text])
    assert found[list(annotator.columns)].notna().all(axis=None)
    assert found["reason"].isna().all() and found["text"][0] == text


def test_long_text_is_cut_and_says_so(tiny_model):
    annotator = Annotator(tiny_model, tasks=["V-reg"], max_tokens=20, progress=False)
    long = "sad and lonely " * 1000
    found = annotator([long, "short"])
    assert found["reason"][0].startswith("cut: about ")
    assert found["reason"][0].endswith(f" of {len(long)} characters were read")
    assert pd.isna(found["reason"][1])
    assert annotator(["sad and lonely " * 900])["valence"][0] == found["valence"][0]


def test_equal_texts_are_computed_once(annotator, monkeypatch):
    seen, original = [], constrained.predict

    def count(model, tokenizer, questions, shared):
        seen.extend(questions)
        return original(model, tokenizer, questions, shared)

    monkeypatch.setattr(constrained, "predict", count)
    texts = ["once", "twice", "twice", "", "", "once"]
    first = annotator(texts)
    assert len(seen) == 2 * 11  # 4 + 4 + 1 + 1 + 1 questions about each
    assert annotator(texts[::-1])[::-1].reset_index(drop=True).equals(first)
    assert len(seen) == 2 * 11


def test_memory_of_texts_is_bounded(tiny_model, monkeypatch):
    monkeypatch.setattr(annotate, "_KEPT", 3)
    annotator = Annotator("vader", progress=False)
    texts = [f"text {number}" for number in range(8)]
    assert annotator(texts)["valence"].notna().all()
    assert len(annotator._known) == 3


def test_rows_made_before_are_taken_up(tiny_model):
    first, second = (Annotator(tiny_model, progress=False) for _ in range(2))
    frame = first(TEXTS)
    second.remember(TEXTS, frame)
    second._backend.predict = lambda texts, report: [] if not texts else None
    again = second(TEXTS[::-1])
    assert again[::-1].reset_index(drop=True).equals(frame)


@pytest.mark.parametrize("tasks", [["V-oc"], ["E-c", "EI-reg"], ["EI-oc"]])
def test_tasks_asked_for_are_all_there_is(annotator, tiny_model, tasks):
    found = annotate.annotate(TEXTS, tiny_model, tasks=tasks, progress=False)
    wanted = list(list_columns(t for t in AAID if t in tasks))
    assert list(found) == ["text", *wanted, "reason", "note"]
    whole = annotator(TEXTS)[wanted]
    for name in wanted:  # other prompts share the batch: equal to the last digits
        assert np.allclose(found[name].astype(float), whole[name].astype(float), atol=2e-4)


def test_series_keeps_its_index(annotator):
    series = pd.Series(TEXTS, index=["a", "b", "c"], name="body")
    found = annotator(series)
    assert found.index.tolist() == ["a", "b", "c"]
    assert found["text"].tolist() == TEXTS


def test_no_texts_give_an_empty_frame_of_all_columns(annotator):
    found = annotator([])
    assert list(found) == ["text", *annotator.columns, "reason", "note"] and not len(found)


def test_progress_adds_up_to_all_texts(annotator):
    steps = []
    annotator([*TEXTS, "", None, *TEXTS, "one that is new"], steps.append)
    assert sum(steps) == 9 and min(steps) >= 0


def test_model_without_finite_numbers_says_so(tiny_model, monkeypatch):
    annotator = Annotator(tiny_model, tasks=["V-reg"], progress=False)
    for parameter in annotator._backend.model.parameters():
        parameter.data.fill_(float("nan"))
    found = annotator(["a text"])
    assert found["reason"][0] == "the model's probabilities are not finite numbers"
    assert found["valence"].isna().all()


@pytest.mark.parametrize("name", ["vader", "textblob"])
def test_lexicon_judges_valence_without_a_model(name):
    found = annotate.annotate(["I love it", "I hate it", ""], name, progress=False)
    assert list(found) == ["text", "valence", "valence_confidence", "reason", "note"]
    assert found["valence"][0] > 0.6 > 0.4 > found["valence"][1]
    assert found["reason"].tolist()[2] == "empty text"


@pytest.mark.parametrize(
    ("model", "settings", "reason"),
    [
        ("vader", {"tasks": ["E-c"]}, "task 'E-c': vader predicts V-reg"),
        ("x", {"tasks": ["SST"]}, "task 'SST': annotate predicts EI-reg, EI-oc, V-reg"),
        ("x", {"form": "verse"}, "form 'verse': expected one of paper, published"),
        ("x", {"max_tokens": 0}, "max_tokens is 0"),
        ("x", {"speed": 9}, "no annotation setting speed"),
        ("no/such/model", {}, "cannot load model 'no/such/model'"),
    ],
)
def test_bad_setting_is_named(model, settings, reason):
    with pytest.raises(DataError, match=reason):
        annotate.annotate(["a"], model, **settings)


def test_single_string_is_an_error(annotator):
    with pytest.raises(DataError, match="a single text: give a list"):
        annotator("a single text")


@pytest.mark.slow
def test_default_model_tells_joy_from_anger_offline(smollm2_tokenizer):
    joyful, angry = "I got the job, I am so happy!!!", "How dare they. I am furious."
    found = annotate.annotate([joyful, angry], progress=False)
    assert found["valence"][0] > 0.7 and found["valence"][1] < 0.5
    assert found["joy_intensity"][0] > 0.6 > found["joy_intensity"][1]
    assert found["anger_intensity"][1] > 0.6 > found["anger_intensity"][0]
    assert found["has_joy"].tolist() == [True, False]
    assert found["has_anger"].tolist() == [False, True]


# Decisions and intervals beside an adapter

CALIBRATION = Calibration(
    Rules(classes="rounded mean", thresholds={"joy": 0.3}),
    temperatures={"V-oc": 2.0, "E-c": 2.0},
    half_widths={"EI-reg joy": {"0.9": 0.2}, "V-reg": {"0.9": 0.1}},
)


def read_one(task, emotion, probabilities, level=None):
    mean = compute_mean(task, probabilities)
    question = {"task": task, "emotion": emotion}
    return read_record(question, probabilities, mean, CALIBRATION, level)


def test_class_is_that_of_the_decisions_with_its_scaled_probability():
    given = {"-3": 0.5, "-2": 0.1, "-1": 0.4, "0": 0.0, "1": 0.0, "2": 0.0, "3": 0.0}
    found = read_one("V-oc", None, given)
    assert found["valence_class"] == -2  # the mean is -2.1, the likeliest -3
    roots = np.sqrt(np.maximum(list(given.values()), 1e-6))
    sure = np.sqrt(0.1) / roots.sum()
    assert found["valence_class_confidence"] == pytest.approx(sure)


def test_label_is_that_of_its_threshold_with_its_scaled_probability():
    given = dict.fromkeys(TASKS["E-c"].labels, 0.2) | {"joy": 0.36, "anger": 0.36}
    found = read_one("E-c", None, given)
    assert found["has_joy"] == 1 and found["has_anger"] == 0
    held = 1 / (1 + np.sqrt(0.64 / 0.36))  # the logit, halved
    assert found["has_joy_confidence"] == pytest.approx(held)
    assert found["has_anger_confidence"] == pytest.approx(1 - held)


def test_interval_stands_around_the_score_and_in_its_range():
    found = read_one("EI-reg", "joy", {"0.1": 0.5, "0.2": 0.5}, "0.9")
    assert found["joy_intensity"] == pytest.approx(0.15)
    assert found["joy_intensity_low"] == 0
    assert found["joy_intensity_high"] == pytest.approx(0.35)
    assert set(read_one("EI-reg", "joy", {"0.1": 1.0})) == {
        "joy_intensity",
        "joy_intensity_confidence",
    }


@pytest.mark.slow
def test_bundled_model_gives_intervals():
    tasks = ["EI-reg", "V-reg"]
    found = annotate.annotate(TEXTS[:2], tasks=tasks, coverage=0.9, progress=False)
    names = [*(f"{emotion}_intensity" for emotion in EMOTIONS), "valence"]
    for name in names:
        assert (found[f"{name}_low"] < found[name]).all()
        assert (found[name] < found[f"{name}_high"]).all()
    assert found["valence"][0] > found["valence"][1]


def test_interval_that_was_not_calibrated_is_an_error(tiny_model):
    with pytest.raises(DataError, match="this model has none"):
        Annotator(tiny_model, coverage=0.9)
    with pytest.raises(DataError, match="vader has no calibrated intervals"):
        Annotator("vader", coverage=0.9)
    with pytest.raises(DataError, match=r"there are 0\.9"):
        backends._read_level(CALIBRATION, 0.5)


def test_answers_are_joined_where_all_tasks_are_asked(tiny_model, monkeypatch):
    weights = {"V-reg": {"EI-reg joy": 0.0, "constant": 0.25}}
    widths = {f"EI-reg {emotion}": {"0.9": 0.2} for emotion in EMOTIONS}
    widths["V-reg"] = {"0.9": 0.05}
    joined = replace(CALIBRATION, weights=weights, half_widths=widths)
    found = replace(CALIBRATION, joined=joined), "hash"
    monkeypatch.setattr(calibration, "find", lambda adapter: found)
    all_of_it = Annotator(tiny_model, coverage=0.9, progress=False)(TEXTS)
    assert (all_of_it["valence"] == 0.25).all()
    assert np.allclose(all_of_it["valence_high"], 0.3)
    alone = Annotator(tiny_model, tasks=["V-reg"], coverage=0.9, progress=False)(TEXTS)
    assert (alone["valence"] != 0.25).all()
    wide = alone["valence_high"] - alone["valence_low"]
    assert (wide > 0.1 + 1e-6).all()


# The front door


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_front_door_is_the_annotation_room():
    assert emolib.annotate is annotate.annotate and emolib.Annotator is Annotator
    assert {"annotate", "Annotator", "DataError"} <= set(dir(emolib))
    with pytest.raises(AttributeError, match="'emolib' has no attribute 'annotater'"):
        emolib.annotater  # noqa: B018


@pytest.mark.slow
def test_front_door_opens_on_first_use():
    code = "import emolib; print(emolib.annotate(['So good!'], 'vader').valence[0])"
    assert 0.6 < float(run_python(code)) < 1


@pytest.mark.slow
def test_import_is_quick_and_brings_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter(); import emolib;"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'typer'} & set(sys.modules);"
        "print(len(heavy), time.perf_counter() - start)"
    )
    count, seconds = run_python(code).split()
    assert count == "0" and float(seconds) < 1  # 0.05 s where nothing else runs
