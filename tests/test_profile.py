"""Affect profiles: rows of texts, answers at the ends of branches, their loss and training."""

import runpy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from test_finetune import FAST, read_weights
from tuning import finetune

from emolib import DataError, models
from emolib.annotation.annotate import Annotator
from emolib.data import corpora, profiles
from emolib.inference import profile
from emolib.tasks import AAID
from emolib.training import best_step, profile_trainer

TEXTS = ["I got the job!!!", "Her chair is still at the table.", "Bus 12 leaves at 8:15."]


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return models.load(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def rows():
    return [profiles.build(split, "sample") for split in ("train", "dev")]


def test_row_has_all_gold_of_its_text(rows):
    train = rows[0].to_pandas()
    assert train["text"].is_unique
    gold = np.stack(train["gold"])
    assert gold.shape == (len(train), 16)
    assert np.nanmin(gold) >= 0 and np.nanmax(gold) <= 1
    assert set(np.unique(gold[:, 5:][~np.isnan(gold[:, 5:])])) == {0, 1}


def test_real_texts_are_6908(real_data):
    gold = np.array(profiles.build("train")["gold"])
    known = np.isfinite(gold).sum(axis=0)
    assert len(gold) == 6908
    assert known.tolist() == [1701, 2252, 1616, 1533, 1181, *[6838] * 11]


def test_ceiling_stands_where_an_emotion_is_absent_and_unrated(rows):
    gold, ceiling = (np.array(rows[0][name]) for name in ("gold", "ceiling"))
    anger, has_anger = gold[:, 0], gold[:, 5]
    absent = np.isnan(anger) & (has_anger == 0)
    assert np.array_equal(~np.isnan(ceiling[:, 0]), absent)
    assert np.nanmax(ceiling[:, 0]) == pytest.approx(np.nanquantile(anger, 0.25), abs=1e-6)
    assert np.isnan(ceiling[:, 4:]).all()


def test_items_are_those_of_the_tasks(rows):
    items = profiles.to_items(rows[1])
    assert set(items["task"]) == {"EI-reg", "V-reg", "E-c"}
    first = items[items["task"] == "E-c"]["gold"].iloc[0]
    assert isinstance(first, tuple)


def test_questions_of_one_branch_are_read_at_one_token(loaded):
    reader = profile.make_reader(loaded[1])
    ends = dict(zip([(q.task, q.about) for q in profiles.QUESTIONS], reader.ends, strict=True))
    assert ends["EI-reg", "anger"] == ends["E-c", "anger"] != ends["E-c", "trust"]
    assert len(ends) == 16 and len(set(ends.values())) == 12


def test_answer_is_that_of_the_question_asked_alone(loaded):
    model, tokenizer = loaded
    digits, labels = profile.predict(model, tokenizer, TEXTS)
    reader = profile.make_reader(tokenizer)
    for number, question in ((0, profiles.QUESTIONS[3]), (2, profiles.QUESTIONS[6])):
        branch = tokenizer(question.branch, add_special_tokens=False).input_ids
        ids = [*tokenizer(profiles.render(TEXTS[number])).input_ids, *branch]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        if question.is_score:
            expected = logits[reader.digits].softmax(-1)
            assert digits[number, 3] == pytest.approx(expected.numpy(), abs=1e-5)
        else:
            expected = logits[reader.binary].softmax(-1)[1]
            assert labels[number, 1] == pytest.approx(float(expected), abs=1e-5)


def test_answers_do_not_depend_on_other_questions_or_texts(loaded):
    digits, labels = profile.predict(*loaded, TEXTS)
    some = [profiles.QUESTIONS[4], profiles.QUESTIONS[9]]
    own, present = profile.predict(*loaded, TEXTS[1:2], some)
    assert own[0, 0] == pytest.approx(digits[1, 4], abs=1e-5)
    assert present[0, 0] == pytest.approx(labels[1, 4], abs=1e-5)


def test_budget_changes_nothing(loaded):
    whole = profile.predict(*loaded, TEXTS)
    small = profile.predict(*loaded, TEXTS, budget=1)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, small, strict=True))


def test_judgements_have_means_and_labels(loaded):
    found = profile.judge(["a", "b", "c"], *profile.predict(*loaded, TEXTS))
    assert len(found) == 3 * 11
    scores = found[found["task"].isin(["EI-reg", "V-reg"])]
    sums = [sum(p.values()) for p in scores["probabilities"]]
    assert sums == pytest.approx([1] * 15)
    means = [sum(float(x) * p for x, p in each.items()) for each in scores["probabilities"]]
    assert list(scores["mean"]) == pytest.approx(means, abs=1e-5)


def test_class_is_cut_from_the_score():
    digits = np.zeros((5, 10))
    digits[:, 5] = 1  # 0.556, spread over 0.5 to 0.611
    found = {a[:2]: a[2:] for a in profile.read_answers(digits, np.zeros(11))}
    p, mean = found["EI-oc", "anger"]
    assert mean == pytest.approx(2) and p["2"] == pytest.approx(1)
    p, mean = found["EI-oc", "joy"]  # 0.5385 lies inside
    assert p["1"] == pytest.approx((0.5385 - 0.5) * 9) and sum(p.values()) == pytest.approx(1)
    assert mean == pytest.approx(2 - p["1"])


@pytest.mark.parametrize("name", profiles.CUTS)
def test_cuts_lie_between_the_classes_of_the_training_files(name, real_data):
    classes, _, emotion = name.partition(" ")
    score = {"EI-oc": "EI-reg", "V-oc": "V-reg"}[classes]
    both = corpora.read(score, "train").merge(
        corpora.read(classes, "train")[["id", "emotion", "gold"]], on=["id", "emotion"]
    )
    both = both[both["emotion"] == emotion] if emotion else both
    kept = both["gold_y"].str.extract(r"^(-?\d)", expand=False).astype(int)
    ranges = both["gold_x"].astype(float).groupby(kept).agg(["min", "max"])
    halves = (ranges["max"].to_numpy()[:-1] + ranges["min"].to_numpy()[1:]) / 2
    assert halves == pytest.approx(profiles.CUTS[name], abs=6e-4)


def test_empty_text_is_an_error(loaded):
    with pytest.raises(DataError, match="not empty"):
        profile.predict(*loaded, ["fine", " "])


def make_loss(loaded, digits, odds, gold, ceiling=None, **weights):
    questions = [profiles.QUESTIONS[0], profiles.QUESTIONS[5]]
    reader = profile.make_reader(loaded[1], questions)
    ceiling = [[np.nan, np.nan]] if ceiling is None else ceiling
    given = (torch.tensor(each, dtype=torch.float32) for each in (digits, odds, gold, ceiling))
    return float(profile_trainer.measure_loss(reader, *given, **weights))


def test_loss_is_that_of_the_definition(loaded):
    even = [[[np.log(0.1)] * 10]]
    # Mean 0.5 against 0.5: no squared error, ln 10 of cross-entropy; a label at even odds: ln 2.
    found = make_loss(loaded, even, [[0.0]], [[0.5, 1.0]])
    assert found == pytest.approx(0.5 * np.log(10) + 3 * np.log(2))
    found = make_loss(loaded, even, [[0.0]], [[0.2, np.nan]])
    assert found == pytest.approx(0.5 * np.log(10) + 10 * 0.3**2)


def test_missing_gold_has_no_loss(loaded):
    even = [[[np.log(0.1)] * 10]]
    assert make_loss(loaded, even, [[0.0]], [[np.nan, np.nan]]) == 0


def test_ceiling_counts_above_it_alone(loaded):
    even, missing = [[[np.log(0.1)] * 10]], [[np.nan, np.nan]]
    found = [
        make_loss(loaded, even, [[0.0]], missing, [[limit, np.nan]], absence=1.0)
        for limit in (0.3, 0.7)
    ]
    assert found == pytest.approx([10 * 0.2**2, 0])


SETTINGS = FAST | {"prompt_form": "profile", "quantization": None}


@pytest.fixture(scope="module")
def tuned(rows, tiny_model, tmp_path_factory):
    return finetune(*rows, tiny_model, tmp_path_factory.mktemp("profile"), **SETTINGS)


@pytest.mark.slow
def test_trained_adapter_is_the_averaged_one(tuned):
    from safetensors.torch import load_file

    last = sorted((tuned / "checkpoints").glob("checkpoint-*"))[-1]
    assert (last / profile_trainer.AVERAGE).is_file()
    kept = load_file(tuned / "adapter" / "adapter_model.safetensors")
    averages = [v for k, v in load_file(last / profile_trainer.AVERAGE).items() if "module" in k]
    raw = load_file(last / "adapter_model.safetensors")
    assert any(not torch.equal(kept[name], raw[name]) for name in kept)
    sums = sorted(float(v.double().sum()) for v in averages)
    assert sorted(float(v.double().sum()) for v in kept.values()) == pytest.approx(sums)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4, 7])
def test_interrupted_profiles_end_with_the_weights_of_a_straight_run(
    rows, tiny_model, tuned, tmp_path, step
):
    original = profile_trainer.ProfileTrainer.training_step

    def training_step(self, *given, **more):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return original(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(profile_trainer.ProfileTrainer, "training_step", training_step)
        finetune(*rows, tiny_model, tmp_path, **SETTINGS)
    resumed = finetune(*rows, tiny_model, tmp_path, **SETTINGS)
    assert read_weights(resumed) == read_weights(tuned)


@pytest.mark.slow
def test_record_says_profile(tuned):
    assert models.load(tuned)[0].settings["prompt_form"] == "profile"


@pytest.mark.slow
def test_annotating_takes_one_pass_per_text(tuned):
    judge = Annotator(str(tuned), device="cpu", progress=False)
    frame = judge([*TEXTS, "", TEXTS[0]])
    digits, labels = profile.predict(*models.load(tuned, device="cpu"), TEXTS)
    assert list(frame["valence"][:3]) == pytest.approx(
        list(digits[:, 4] @ profile.DIGITS), abs=1e-3
    )
    assert list(frame["has_joy"][:3]) == [p >= 0.5 for p in labels[:, 4]]
    assert frame["reason"][3] == "empty text" and frame["anger_class"].notna().sum() == 4
    assert frame["valence"][4] == frame["valence"][0]


@pytest.mark.slow
def test_fewer_tasks_give_the_same_values(tuned):
    settings = {"device": "cpu", "progress": False}
    whole = Annotator(str(tuned), **settings)(TEXTS)
    some = Annotator(str(tuned), tasks=["V-oc", "E-c"], **settings)(TEXTS)
    kept = [name for name in some if name not in ("text", "reason")]
    assert kept[0] == "valence_class" and some[kept].equals(whole[kept])


def test_validation_score_counts_tasks_without_an_emotion(rows):
    items = profiles.to_items(rows[1])
    items["mean"] = [gold if isinstance(gold, float) else np.nan for gold in items["gold"]]
    items["prediction"] = items["gold"]
    assert best_step.measure(items) == pytest.approx(1)
    items.loc[items["task"] == "V-reg", "mean"] *= -1
    assert best_step.measure(items) == pytest.approx(1 / 3)


def test_comparison_averages_the_probabilities_of_all_adapters():
    script = runpy.run_path(str(ROOT / "papers" / "emo_smollm2" / "compare_profiles.py"))
    compare, given = script["compare"], {}

    def predict(model, *_):
        return np.full((2, 5, 10), model), np.full((2, 11), model / 10)

    def score(adapter, rows, answers):
        given[adapter] = answers["dev"]
        return pd.DataFrame()

    fake = SimpleNamespace(load=lambda run: (float(run), None), merge=lambda model: model)
    compare.__globals__.update(models=fake, predict=predict, score=score)
    compare(["0.1", "0.2", "0.6"], together=True, data="sample")
    digits, labels = given[script["TOGETHER"]]
    assert digits.shape == (2, 5, 10) and np.allclose(digits, 0.3) and np.allclose(labels, 0.03)


@pytest.mark.slow
def test_comparison_scores_an_adapter_on_both_sets(tuned):
    script = runpy.run_path(str(ROOT / "papers" / "emo_smollm2" / "compare_profiles.py"))
    found = script["compare"]([str(tuned)], test=True, data="sample")
    assert set(zip(found["set"], found["task"], strict=True)) == {
        (name, task) for name in ("dev", "test") for task in AAID
    }
    texts = corpora.read("V-reg", "test", "sample")
    digits, _ = profile.predict(*models.load(tuned, device="cpu"), list(texts["text"]))
    own = digits[:, 4] @ profile.DIGITS
    row = found.query("set == 'test' and task == 'V-reg' and metric == 'pearson'")["value"].item()
    assert row == pytest.approx(np.corrcoef(own, texts["gold"].astype(float))[0, 1], abs=1e-4)
