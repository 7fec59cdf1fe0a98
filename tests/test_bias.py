import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emolib import DataError, baselines, runs
from emolib.data import equity_corpus
from emolib.evaluation import bias
from emolib.report import bias_plots

FRAMES = ("{} sings.", "{} waits here.", "{} is angry.", "{} came home sad.")
SINGERS = ("Ebony", "Jamel", "Amanda", "Adam", "My aunt", "My uncle", "She", "He")


def describe(texts: list[str]) -> pd.DataFrame:
    ids = [f"s{number}" for number in range(len(texts))]
    return equity_corpus.describe(pd.DataFrame({"id": ids, "text": texts}))


@pytest.fixture
def sentences() -> pd.DataFrame:
    """Eight persons in four frames."""
    return describe([frame.format(who) for frame in FRAMES for who in SINGERS])


def predict(sentences, values, emotion=None) -> pd.DataFrame:
    told = pd.DataFrame({"id": sentences["id"], "prediction": values})
    return told.assign(task="EI-reg" if emotion else "V-reg", emotion=emotion)


def rate(sentences, female=0.0, african=0.0, noise=0.0) -> pd.Series:
    """0.5, more for women and for names associated with African Americans."""
    wobble = sentences["frame"].rank(method="dense") * noise
    women, african_names = (
        sentences["gender"].eq("female"),
        sentences["race"].eq(bias.SIDES["race"][0]),
    )
    return 0.5 + women * (female + wobble) + african_names * (african + wobble)


def test_sentence_is_taken_apart():
    found = describe(["My aunt made herself a gloomy meal.", "We sing."])
    first, second = found.to_dict("records")
    assert first["frame"] == "<person> made <self> a gloomy meal."
    assert first["template"] == "<person> made <self> <word> meal."
    assert (first["person"], first["couple"]) == ("my aunt", "my aunt / my uncle")
    assert (first["gender"], first["race"]) == ("female", None)
    assert (first["word"], first["named"]) == ("gloomy", "sadness")
    assert (second["person"], second["part"]) == (None, "single")


def test_name_has_gender_and_race_and_an_adjective_is_no_name():
    found = describe(["To be frank, Latoya sings.", "Frank sings.", "He saw her."])
    assert found["person"].tolist() == ["Latoya", "Frank", "he"]
    assert found["race"].tolist() == ["African American", "European American", None]
    assert found["gender"].tolist() == ["female", "male", "male"]


def test_sentences_without_a_counterpart_are_single():
    found = describe(["She sings.", "He sings.", "My aunt hums.", "He met a nurse."])
    assert found["part"].tolist() == ["eec", "eec", "single", "single"]
    also = describe(["She met a nurse.", "He met a nurse."])
    assert set(also["part"]) == {"further"} and also["template"].nunique() == 1


def test_persons_are_as_many_on_either_side():
    names = equity_corpus.describe(equity_corpus._invent()).dropna(subset=["race"])
    assert equity_corpus.PERSONS["gender"].value_counts().tolist() == [31, 31]
    sizes = equity_corpus.PERSONS.groupby(["gender", "race"]).size()
    assert sizes.tolist() == [10, 10, 10, 10]
    assert names.groupby(["gender", "race"]).size().nunique() == 1


def test_difference_is_female_less_male(sentences):
    values = rate(sentences, female=0.2)
    table = bias.compare(sentences, predict(sentences, values), "gender")
    row = table.iloc[0]
    assert (row["measure"], row["n"], row["higher"]) == ("valence", 4, 1)
    assert row["difference"] == pytest.approx(0.2)
    assert (row["low"], row["high"]) == pytest.approx((0.2, 0.2))
    assert row["p"] == 0 and row["d"] == np.inf
    assert row["share_of_spread"] == pytest.approx(0.2 / values.std())
    turned = sentences.assign(gender=sentences["gender"].map(swap("gender")))
    table = bias.compare(turned, predict(sentences, values), "gender")
    assert table["difference"].tolist() == pytest.approx([-0.2])
    assert table["higher"].tolist() == [0]


def swap(by: str) -> dict:
    return dict(zip(bias.SIDES[by], bias.SIDES[by][::-1], strict=True))


def test_difference_is_african_american_less_european_american(sentences):
    told = predict(sentences, rate(sentences, female=0.2, african=0.1))
    table = bias.compare(sentences, told, "race")
    assert table["difference"].tolist() == pytest.approx([0.1])
    turned = sentences.assign(race=sentences["race"].map(swap("race")))
    assert bias.compare(turned, told, "race")["difference"][0] == pytest.approx(-0.1)


def test_couples_count_alike_and_first_names_as_one(sentences):
    values = rate(sentences) + 0.3 * sentences["person"].eq("Ebony")
    pairs = bias.pair(sentences, predict(sentences, values), "gender")
    groups = pairs.groupby("group")["difference"].mean().round(6).to_dict()
    assert groups == {"first names": 0.15, "my aunt / my uncle": 0, "she / he": 0}
    table = bias.compare(sentences, predict(sentences, values), "gender")
    assert table["difference"].tolist() == pytest.approx([0.15 / 3])


def test_race_is_compared_within_a_gender():
    found = describe([frame.format(who) for frame in FRAMES for who in SINGERS[:3]])
    pairs = bias.pair(found, predict(found, rate(found, african=0.1)), "race")
    assert set(pairs["group"]) == {"female"}  # no European American man
    assert pairs["difference"].tolist() == pytest.approx([0.1] * 4)


def test_interval_test_and_effect_follow_the_frames(sentences):
    values = rate(sentences, female=-0.02, noise=0.01)  # -0.01, 0, 0.01, 0.02
    row = bias.compare(sentences, predict(sentences, values), "gender").iloc[0]
    assert row["difference"] == pytest.approx(0.005)
    assert row["low"] < row["difference"] < row["high"]
    pairs = bias.pair(sentences, predict(sentences, values), "gender")
    by_frame = pairs.groupby("frame")["difference"].mean()
    assert row["d"] == pytest.approx(by_frame.mean() / by_frame.std())
    t = by_frame.mean() / (by_frame.std() / 2)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 3))


def test_holm_corrects_over_the_rows(sentences):
    parts = [
        predict(sentences, rate(sentences, shift, noise=0.01), emotion)
        for shift, emotion in ((0.2, "joy"), (-0.02, "fear"), (0.0, "anger"))
    ]
    table = bias.compare(sentences, pd.concat(parts), "gender")
    assert table["measure"].tolist() == ["anger", "fear", "joy"]
    least = table.loc[table["p"].idxmin()]
    assert least["measure"] == "joy"
    assert least["p_holm"] == pytest.approx(3 * least["p"])
    assert (table["p_holm"] >= table["p"]).all() and table["p_holm"].max() <= 1


def test_no_difference_is_told_as_none(sentences):
    row = bias.compare(sentences, predict(sentences, 0.4), "race").iloc[0]
    found = row[["difference", "low", "high", "d", "share_of_spread", "higher"]]
    assert not found.astype(float).any()
    assert row["p"] == row["p_holm"] == row["p_names"] == 1


def test_one_odd_name_is_no_matter_of_names():
    names = equity_corpus.PERSONS["person"][:40]
    found = describe([frame.format(who) for frame in FRAMES for who in names])
    rising = found["frame"].rank(method="dense") * 0.01
    told = predict(found, 0.5 + found["person"].eq("Tia") * (0.3 + rising))
    row = bias.compare(found, told, "race").iloc[0]
    assert row["p"] < 0.001 and row["p_names"] > 0.3
    farthest = bias.average_persons(found, told).set_index("person")["difference"]
    assert farthest.idxmax() == "Tia"
    assert farthest["Tia"] == pytest.approx(0.325 * 39 / 40)


def test_persons_are_held_against_their_own_frames():
    found = describe(["She sings.", "He sings.", "I saw her.", "I saw him."])
    told = predict(found, [0.9, 0.7, 0.2, 0.2])
    means = bias.average_persons(found, told).set_index("person")["difference"]
    assert means.to_dict() == {"she": 0.1, "he": -0.1, "her": 0, "him": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.assign(prediction=1.2), "s0: valence: expected a score"),
        (lambda told: told.assign(prediction=None), "expected a score from 0 to 1"),
        (lambda told: pd.concat([told, told[:1]]), "two predictions"),
        (lambda told: told[1:], "valence: predictions of 31 of 32 sentences"),
        (lambda told: told.assign(task="E-c"), "other tasks than EI-reg and V-reg"),
        (lambda told: told.drop(columns="emotion"), "without emotion"),
        (lambda told: told.assign(id="x"), "no prediction of any"),
    ],
)
def test_bad_predictions_are_errors(sentences, change, message):
    with pytest.raises(DataError, match=message):
        bias.compare(sentences, change(predict(sentences, 0.5)))


def test_bad_questions_are_errors(sentences):
    told = predict(sentences, 0.5)
    with pytest.raises(DataError, match="by is 'age', expected one of gender, race"):
        bias.compare(sentences, told, "age")
    with pytest.raises(DataError, match="no frame with persons on both sides: fem"):
        bias.compare(sentences[sentences["gender"] == "male"], told)
    with pytest.raises(DataError, match="one frame, expected two or more"):
        bias.compare(sentences[:8], told)
    with pytest.raises(DataError, match="frames is 0, expected 1 or more"):
        equity_corpus.draw(sentences, 0)
    with pytest.raises(DataError, match="two sentences s0"):
        equity_corpus.describe(pd.concat([sentences, sentences[:1]]))


def test_draw_keeps_whole_frames_of_every_template():
    found = equity_corpus.read_pairs("sample")
    drawn = equity_corpus.draw(found, 2, seed=1)
    assert set(drawn["template"]) == set(found["template"])
    assert drawn["frame"].nunique() == 2 + 2 + 2 + 1 + 1
    assert set(drawn["frame"].value_counts()) == {20}
    assert drawn.equals(equity_corpus.draw(found, 2, seed=1))
    assert equity_corpus.draw(found, None) is found


def test_invented_frames_say_so_and_are_balanced():
    found = equity_corpus.read_pairs("sample")
    assert len(found) == 280 and set(found["part"]) == {"invented"}
    assert found["text"].is_unique and found["person"].notna().all()
    assert found.groupby("frame")["gender"].value_counts().nunique() == 1
    assert not found["text"].str.contains(r"[<{]").any()


def test_prompts_differ_in_nothing_but_the_person(sentences):
    rows = bias.build_rows(sentences).to_pandas()
    assert len(rows) == 5 * len(sentences)
    assert rows["emotion"][:4].tolist() == ["anger", "fear", "joy", "sadness"]
    assert rows["id"][:4].nunique() == 1
    assert rows.groupby("task")["instruction"].nunique().tolist() == [1, 1]
    joy = rows[rows["emotion"] == "joy"].reset_index(drop=True)
    bare = [p.replace(t, "") for p, t in zip(joy["prompt"], joy["text"], strict=True)]
    assert len(set(bare)) == 1
    alone = bias.build_rows(sentences, ["joy"])
    assert set(alone["task"]) == {"EI-reg", "V-reg"} and len(alone) == 64


def test_lexicon_judges_valence_alone(sentences):
    found = baselines.lexicon("vader", bias.build_rows(sentences))
    assert found["task"].unique().tolist() == ["V-reg"]
    table = bias.compare(sentences, found, "gender")
    assert table["measure"].tolist() == ["valence"]
    assert table["difference"].tolist() == [0]


@pytest.mark.slow
def test_encoder_run_judges_new_texts(sentences, tmp_path):
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    from emolib.baselines import encoders

    made = BertWordPieceTokenizer()
    made.train_from_iterator(sentences["text"], vocab_size=100, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=made._tokenizer)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "vocab_size": len(tokenizer)}
    config = BertConfig(num_labels=1, **sizes)
    model = BertForSequenceClassification(config)
    model.classifier.bias.data.fill_(0.5)
    with runs.opened(tmp_path / "run", "encoder", {"task": "EI-reg"}) as folder:
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
    rows = bias.build_rows(sentences)
    found = encoders.predict(tmp_path / "run", rows, batch_size=5)
    again = encoders.predict(tmp_path / "run", rows.to_pandas(), batch_size=200)
    assert len(found) == 4 * len(sentences)
    assert found["prediction"].tolist() == pytest.approx(again["prediction"].tolist())
    assert found["prediction"].between(0, 1).all()
    assert found["prediction"].nunique() > 4
    assert len(bias.compare(sentences, found)) == 4


@pytest.mark.slow
def test_runs_without_a_model_and_of_other_tasks_are_no_judges(sentences, tmp_path):
    from emolib.baselines import encoders

    rows, run = bias.build_rows(sentences), tmp_path / "run"
    with runs.opened(run, "encoder", {"task": "E-c"}):
        pass
    with pytest.raises(DataError, match="run: no finished encoder run"):
        encoders.predict(run, rows)
    (run / "model").mkdir()
    with pytest.raises(DataError, match="judges E-c; there are no such rows"):
        encoders.predict(run, rows)


@pytest.mark.slow
def test_figure_has_a_point_per_measure_and_judge(sentences):
    told = predict(sentences, rate(sentences, female=0.1, noise=0.01))
    tables = [
        bias.compare(sentences, told, by).assign(judge=judge)
        for by in bias.SIDES
        for judge in ("one", "two")
    ]
    left, right = bias_plots.draw_differences(pd.concat(tables))
    assert left.get_title() == "gender, n = 4 frames"
    assert right.get_xlabel().startswith("African American − European American")
    assert left.get_xlim() == right.get_xlim()
    assert sum(left.get_xlim()) == pytest.approx(0)
    assert [len(one.containers) for one in (left, right)] == [2, 2]


@pytest.mark.slow
def test_audit_needs_no_torch():
    code = "import sys, emolib.evaluation.bias, emolib.report.bias_plots"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_every_equity_sentence_is_accounted_for(real_data):
    found = equity_corpus.read_pairs()
    assert found["part"].value_counts().to_dict() == {"eec": 8640, "further": 6900, "single": 1397}
    paired = found[found["part"] != "single"]
    assert paired.groupby("part")["frame"].nunique().tolist() == [144, 115]
    assert paired.groupby("part")["template"].nunique().tolist() == [11, 9]
    assert set(paired["frame"].value_counts()) == {60}
    assert paired.groupby("part")["gender"].value_counts().tolist() == [4320] * 2 + [3450] * 2
    races = paired.groupby(["part", "gender", "race"]).size()
    assert races.tolist() == [1440] * 4 + [1150] * 4
    couples = paired.groupby("frame")["couple"].nunique()
    assert set(couples) == {11}  # nine noun phrases, a pronoun, the first names
    feelings = paired[paired["part"] == "eec"].groupby("named", dropna=False).size()
    assert feelings.tolist() == [2100] * 4 + [240]
    assert found["person"].isna().sum() == 1374  # the other 23: "my brother" alone


@pytest.mark.slow
def test_equity_sentences_are_the_same_for_all_measures(real_data):
    from emolib.data import corpora

    texts = equity_corpus.read_pairs().set_index("id")["text"].to_dict()
    for _, rows in corpora.read_equity("EI-reg").groupby("emotion"):
        assert rows.set_index("id")["text"].to_dict() == texts
