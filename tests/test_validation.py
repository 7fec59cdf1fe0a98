"""The best step chosen by how well a model in training answers validation rows."""

import itertools

import numpy as np
import pytest
from safetensors.torch import load_file
from tuning import finetune

from emolib import DataError, models, runs
from emolib.data import aaid, parsing
from emolib.evaluation import metrics
from emolib.inference import constrained, predict
from emolib.tasks import AAID, get
from emolib.training import best_step, record
from emolib.training.record import LossLog

pytestmark = pytest.mark.slow  # trains, kills or compares whole models


FAST = {
    "quantization": None,
    "batch_size": 8,
    "micro_batch_size": 4,
    "max_steps": 8,
    "eval_steps": 2,
    "learning_rate": 1e-2,
    "patience": 9,
    "choose_by": "score",
    "lora_dropout": 0.05,
}


@pytest.fixture(scope="module")
def rows(sample_aaid):
    """Training rows, and as many validation rows of each task."""
    train = sample_aaid["train"].select(range(40))
    return train, aaid.spread(sample_aaid["validation"], 40, even=True)


@pytest.fixture(scope="module")
def judged(rows, tiny_model, tmp_path_factory):
    """A finished run whose best step was chosen by score."""
    folder = tmp_path_factory.mktemp("runs") / "judged"
    return finetune(*rows, tiny_model, folder, **FAST)


@pytest.fixture
def say(monkeypatch):
    """A function: the scores that the next evaluations are to find, the last for ever.

    It gives the list of row counts that were scored, filled as they are.
    """

    def arrange(*scores: float) -> list[int]:
        left, counted = itertools.chain(scores, itertools.repeat(scores[-1])), []

        def score(model, tokenizer, rows):
            counted.append(len(rows))
            return next(left)

        monkeypatch.setattr(best_step, "score", score)
        return counted

    return arrange


def read_evaluations(run):
    """Step, loss and score of every evaluation."""
    names = ["step", "eval_loss", "eval_score"]
    return record.read_log(run).dropna(subset="eval_loss")[names]


def read_weights(run) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def stop_at(patch, step: int) -> None:
    """Stops training from outside once so many optimizer steps are logged."""
    original = LossLog.on_log

    def on_log(self, args, state, *given, **more):
        original(self, args, state, *given, **more)
        if state.global_step == step and "loss" in state.log_history[-1]:
            raise KeyboardInterrupt

    patch.setattr(LossLog, "on_log", on_log)


def test_every_evaluation_has_a_score(judged):
    found = read_evaluations(judged)
    assert found["step"].tolist() == [2, 4, 6, 8]
    assert found["eval_score"].between(-1, 1).all()
    assert found["eval_score"].nunique() > 1


def test_best_step_has_the_highest_score(judged):
    found, record = read_evaluations(judged), runs.read(judged)
    best = found.loc[found["eval_score"].idxmax()]
    assert record["settings"]["choose_by"] == "score"
    assert record["best_step"] == best["step"]
    assert record["best_eval_score"] == pytest.approx(best["eval_score"])
    assert record["best_eval_loss"] == pytest.approx(best["eval_loss"])


def test_step_of_the_best_score_is_kept_whatever_its_loss(rows, tiny_model, tmp_path, say):
    say(0.1, 0.7, 0.4, 0.3)
    run = finetune(*rows, tiny_model, tmp_path, **FAST)
    found, record = read_evaluations(run), runs.read(run)
    assert found["eval_loss"].idxmin() != found["eval_score"].idxmax()
    assert record["best_step"] == 4 and record["best_eval_score"] == 0.7
    losses = found.set_index("step")["eval_loss"]
    assert record["best_eval_loss"] == pytest.approx(losses[4])
    kept = run / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors"
    last = run / "checkpoints" / "checkpoint-8" / "adapter_model.safetensors"
    assert read_weights(run) == kept.read_bytes() != last.read_bytes()
    card = (run / "adapter" / "README.md").read_text()
    told = f"step 4: validation loss {losses[4]:.4g}, validation score 0.7."
    assert told in " ".join(card.split())


def test_run_stops_where_the_score_no_longer_rises(rows, tiny_model, tmp_path, say):
    say(0.2, 0.5, 0.4, 0.3)
    settings = FAST | {"max_steps": 30, "eval_steps": 1, "patience": 2}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    record, losses = runs.read(run), read_evaluations(run)["eval_loss"]
    assert (record["best_step"], record["steps"]) == (2, 4)
    assert losses.iloc[-1] < losses.iloc[1]  # by loss it would have gone on


def test_run_goes_on_while_the_score_rises(rows, tiny_model, tmp_path, say):
    say(*np.linspace(0, 0.9, 8).tolist())
    settings = FAST | {"eval_steps": 1, "patience": 1, "learning_rate": 1.0}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    losses = read_evaluations(run)["eval_loss"]
    assert runs.read(run)["steps"] == runs.read(run)["best_step"] == 8
    assert (losses.diff() > 0).any()  # by loss it would have stopped


def test_score_is_that_of_the_answers_that_predict_gives(judged, rows, tiny_model, tmp_path):
    model, tokenizer = models.load(judged)
    found = predict.predict(rows[1], model, tokenizer, tmp_path, progress=False)
    expected = score_by_hand(rows[1], found)
    assert abs(expected) > 0.01
    assert runs.read(judged)["best_eval_score"] == pytest.approx(expected, abs=1e-4)


def score_by_hand(rows, found) -> float:
    """The mean over tasks of what numpy and the official metrics say."""
    asked, each = rows.to_pandas(), []
    for task in AAID:
        own = (asked["task"] == task).to_numpy()
        gold, answered = asked["gold"][own].tolist(), found[own]
        if get(task).kind == "labels":
            predicted = answered["prediction"].map(tuple).tolist()
            each.append(metrics.score(task, gold, predicted)["jaccard"])
            continue
        values = np.array([float(parsing.read_gold(task, g)) for g in gold])
        means = np.array(
            [
                sum(float(name) * p for name, p in table.items())
                for table in answered["probabilities"]
            ]
        )
        emotions = asked["emotion"][own].fillna("").to_numpy()
        parts = []
        for emotion in set(emotions):
            here = emotions == emotion
            flat = here.sum() < 2 or np.ptp(values[here]) == 0
            flat = flat or np.ptp(means[here]) == 0
            parts.append(0 if flat else np.corrcoef(values[here], means[here])[0, 1])
        each.append(np.mean(parts))
    return float(np.mean(each))


@pytest.fixture
def perfect(tiny_model, sample_aaid, monkeypatch):
    """A model that answers rows of the sample as gold says, its tokenizer, the rows.

    Its `wrong` tasks it answers the other way round.
    """
    model, tokenizer = models.load(tiny_model)
    rows = aaid.spread(sample_aaid["validation"], 200, even=True)
    ids = tokenizer(list(rows["prompt"])).input_ids
    gold = {tuple(own): row for own, row in zip(ids, rows, strict=True)}
    model.wrong = ()

    def judge(model, tokenizer, questions, shared):
        return [answer(gold[tuple(each.ids)]) for each in questions]

    def answer(row):
        value = parsing.read_gold(row["task"], row["gold"])
        if get(row["task"]).kind == "labels":
            return {"prediction": () if row["task"] in model.wrong else value}
        value = -value if row["task"] in model.wrong else value
        return {"mean": value, "probabilities": {str(value): 1.0}}

    monkeypatch.setattr(constrained, "predict", judge)
    return model, tokenizer, rows


def test_perfect_answers_score_one(perfect):
    assert best_step.score(*perfect) == pytest.approx(1)


@pytest.mark.parametrize("task", ["V-reg", "V-oc", "EI-reg", "EI-oc"])
def test_each_task_is_a_fifth_of_the_score(perfect, task):
    perfect[0].wrong = (task,)
    assert best_step.score(*perfect) == pytest.approx((4 - 1) / 5)


def test_labels_are_scored_by_jaccard(perfect):
    model, tokenizer, rows = perfect
    model.wrong = ("E-c",)  # no label at all
    gold = [row["gold"] for row in rows if row["task"] == "E-c"]
    none = sum(not parsing.read_gold("E-c", each) for each in gold) / len(gold)
    assert none < 1
    assert best_step.score(model, tokenizer, rows) == pytest.approx((4 + none) / 5)


def test_tasks_that_have_no_rows_do_not_count(perfect):
    model, tokenizer, rows = perfect
    model.wrong = ("V-reg",)
    numbers = [n for n, task in enumerate(rows["task"]) if task in ("V-reg", "V-oc")]
    assert best_step.score(model, tokenizer, rows.select(numbers)) == pytest.approx(0)


def test_scoring_is_without_dropout_and_leaves_the_model_in_training(judged, rows):
    model, tokenizer = models.load(judged)
    assert model.peft_config["default"].lora_dropout > 0
    expected = best_step.score(model, tokenizer, rows[1])
    assert not model.training
    model.train()
    found = best_step.score(model, tokenizer, rows[1])
    assert model.training and found == pytest.approx(expected, abs=1e-9)


def test_scoring_does_not_change_training(rows, tiny_model, judged, tmp_path):
    settings = FAST | {"choose_by": "loss"}
    plain = finetune(*rows, tiny_model, tmp_path, **settings)
    ours, theirs = record.read_log(judged), record.read_log(plain)
    assert len(ours["loss"].dropna()) == 8 and theirs["eval_score"].isna().all()
    names = [name for name in ours if name != "eval_score"]
    assert ours[names].equals(theirs[names])
    assert "best_eval_score" not in runs.read(plain)


def test_quantized_run_is_scored_as_its_adapter_answers(rows, tiny_model, tmp_path):
    settings = FAST | {"quantization": "nf4", "max_steps": 2}
    run = finetune(*rows, tiny_model, tmp_path / "run", **settings)
    model, tokenizer = models.load(run, "nf4")
    found = predict.predict(rows[1], model, tokenizer, tmp_path / "p", progress=False)
    expected = score_by_hand(rows[1], found)
    assert runs.read(run)["best_eval_score"] == pytest.approx(expected, abs=1e-4)


def test_rows_that_are_too_long_are_not_scored(rows, tiny_model, tmp_path, say):
    counted = say(0.5)
    tokenizer = models.load_tokenizer(tiny_model)
    whole = [row["prompt"] + row["completion"] + "</s>" for row in rows[1]]
    sizes = sorted(len(ids) for ids in tokenizer(whole).input_ids)
    kept = sum(size <= sizes[-5] for size in sizes)
    settings = FAST | {"max_length": sizes[-5], "max_steps": 2}
    finetune(*rows, tiny_model, tmp_path, **settings)
    assert counted == [kept] and kept < 40


@pytest.mark.parametrize("step", [1, 3, 7])
def test_interrupted_run_ends_as_a_straight_one(rows, tiny_model, judged, tmp_path, step):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, step)
        finetune(*rows, tiny_model, tmp_path, **FAST)
    resumed = finetune(*rows, tiny_model, tmp_path, **FAST)
    assert read_weights(resumed) == read_weights(judged)
    assert record.read_log(resumed).equals(record.read_log(judged))
    names = ("steps", "best_step", "best_eval_loss", "best_eval_score")
    one, other = (runs.read(run) for run in (resumed, judged))
    assert {n: one[n] for n in names} == {n: other[n] for n in names}


def test_early_stop_by_score_comes_at_the_same_step_after_an_interruption(
    rows, tiny_model, tmp_path, say
):
    settings = FAST | {"max_steps": 20, "eval_steps": 1, "patience": 3}
    scores = (0.1, 0.6, 0.5, 0.4, 0.3)
    say(*scores)
    straight = finetune(*rows, tiny_model, tmp_path / "a", **settings)
    counted = say(*scores)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 4)  # before its evaluation
        finetune(*rows, tiny_model, tmp_path / "b", **settings)
    assert len(counted) == 3
    resumed = finetune(*rows, tiny_model, tmp_path / "b", **settings)
    records = [runs.read(run) for run in (straight, resumed)]
    assert [(r["steps"], r["best_step"]) for r in records] == [(5, 2)] * 2
    one, other = (
        load_file(run / "adapter" / "adapter_model.safetensors") for run in (straight, resumed)
    )
    assert all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize("name", ["gold", "task", "emotion"])
def test_rows_that_cannot_be_scored_are_refused(rows, tiny_model, tmp_path, name):
    train, checked = rows
    with pytest.raises(DataError, match=f"choose_by='score' needs .*: {name} missing"):
        finetune(train, checked.remove_columns(name), tiny_model, tmp_path / "run", **FAST)
    assert not list(tmp_path.glob("run/run.json"))


def test_training_rows_need_no_gold(rows, tiny_model, tmp_path, say):
    say(0.5)
    train = rows[0].remove_columns(["gold", "emotion"])
    settings = FAST | {"max_steps": 2}
    run = finetune(train, rows[1], tiny_model, tmp_path, **settings)
    assert runs.read(run)["best_eval_score"] == 0.5


@pytest.mark.parametrize("rule", ["scores", "", "accuracy"])
def test_rule_that_does_not_exist_is_an_error(rows, tiny_model, tmp_path, rule):
    settings = FAST | {"choose_by": rule}
    with pytest.raises(DataError, match=f"choose_by '{rule}': expected one of 'loss', 's"):
        finetune(*rows, tiny_model, tmp_path / "run", **settings)
    assert not list(tmp_path.glob("run/run.json"))


def test_rule_is_a_setting_of_the_run(rows, tiny_model, judged):
    with pytest.raises(DataError, match="choose_by was 'score', now 'loss'"):
        finetune(*rows, tiny_model, judged, **FAST | {"choose_by": "loss"})
