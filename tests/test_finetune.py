import json
import shutil
from pathlib import Path

import pytest
import torch
import tuning
from conftest import ARCHITECTURES
from datasets import Dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from trl import SFTTrainer
from tuning import finetune

from emolib import DataError, files, models, runs
from emolib.data import aaid
from emolib.inference import predict, tree_attention
from emolib.models import catalog, loading, tokens
from emolib.publishing import export
from emolib.tasks import AAID
from emolib.training import record, shared_batches
from emolib.training.sft_trainer import SharedPromptTrainer
from emolib.training.shared_batches import Sampler

pytestmark = pytest.mark.slow  # trains, kills or compares whole models


FAST = {
    "batch_size": 8,
    "micro_batch_size": 4,
    "max_steps": 8,
    "eval_steps": 3,
    "learning_rate": 2e-2,
    "patience": 9,
}


@pytest.fixture(scope="module")
def rows(sample_aaid):
    """Training and validation rows."""
    return sample_aaid["train"].select(range(40)), sample_aaid["validation"].select(range(8))


@pytest.fixture(scope="module")
def tuned(rows, tiny_model, tmp_path_factory):
    """A finished nf4 run."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    return finetune(*rows, tiny_model, folder, **FAST)


def make_trainer(rows, tiny_model, folder, quantization="nf4", **settings):
    """The trainer of a run that has not begun."""
    settings = FAST | {"quantization": quantization} | settings
    return tuning.make_trainer(*rows, tiny_model, folder, **settings)


def read_weights(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def stop_at(monkeypatch, step: int) -> None:
    """Stops training from outside once so many optimizer steps are done."""
    original = SharedPromptTrainer.training_step

    def training_step(self, *given, **more):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return original(self, *given, **more)

    monkeypatch.setattr(SharedPromptTrainer, "training_step", training_step)


def test_loss_falls(tuned):
    log = record.read_log(tuned)
    training, validation = log["loss"].dropna(), log["eval_loss"].dropna()
    assert training.tail(3).mean() < training.iloc[0] - 0.5
    assert validation.iloc[-1] < validation.iloc[0] - 0.1


def test_log_has_every_step_and_evaluation(tuned):
    log = record.read_log(tuned)
    assert list(log) == [
        *("step", "epoch", "loss", "eval_loss", "eval_score"),
        *("learning_rate", "grad_norm"),
    ]
    assert log["eval_score"].isna().all()  # not asked for
    assert log.dropna(subset="loss")["step"].tolist() == list(range(1, 9))
    assert log.dropna(subset="eval_loss")["step"].tolist()[:2] == [3, 6]


def test_run_says_what_it_was_made_of(tuned, rows, tiny_model):
    found = runs.read(tuned)
    settings = found["settings"]
    assert settings["train"] == {"rows": 40, "sha256": files.hash_rows(rows[0])}
    assert settings["prompt_form"] == "paper" and settings["quantization"] == "nf4"
    assert settings["seed"] == 0 and settings["lora_dropout"] == 0.0
    assert found["weights"] == models.hash_weights(tiny_model)
    assert found["steps"] == 8 and "finished" in found
    assert found["rows_left_out"] == {"train": 0, "validation": 0}


def test_best_adapter_is_the_one_with_the_lowest_validation_loss(tuned):
    found, log = runs.read(tuned), record.read_log(tuned)
    best = log.loc[log["eval_loss"].idxmin()]
    assert found["best_step"] == best["step"]
    assert found["best_eval_loss"] == pytest.approx(best["eval_loss"])
    kept = tuned / "checkpoints" / f"checkpoint-{found['best_step']}"
    weights = (kept / "adapter_model.safetensors").read_bytes()
    assert weights == read_weights(tuned)


def test_finished_run_returns_at_once(tuned, rows, tiny_model, monkeypatch):
    before = read_weights(tuned), runs.read(tuned)
    no_training = lambda *_, **__: pytest.fail("trained")  # noqa: E731
    monkeypatch.setattr(SharedPromptTrainer, "train", no_training)
    assert finetune(*rows, tiny_model, tuned, **FAST) == tuned
    assert (read_weights(tuned), runs.read(tuned)) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"learning_rate": 1e-2}, "learning_rate was 0.02, now 0.01"),
        ({"quantization": None}, "quantization was 'nf4', now ''"),
    ],
)
def test_run_with_other_settings_is_refused(tuned, rows, tiny_model, change, reason):
    with pytest.raises(DataError, match=reason):
        finetune(*rows, tiny_model, tuned, **FAST | change)


def test_run_with_other_data_is_refused(tuned, rows, tiny_model):
    train, validation = rows
    with pytest.raises(DataError, match=r"train was .*, now .*'rows': 39"):
        finetune(train.select(range(39)), validation, tiny_model, tuned, **FAST)


def test_card_parses_and_names_its_base(tuned, tiny_model):
    card = ModelCard.load(tuned / "adapter" / "README.md")
    assert card.data.library_name == "peft" and card.data.language == "en"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.base_model is None  # the Hub refuses a local folder there
    assert tiny_model in card.text
    record = card.text.split("```json\n")[1].split("\n```")[0]
    assert json.loads(record)["settings"] == runs.read(tuned)["settings"]
    assert "{" not in card.text.split("```json")[0]


def test_adapter_answers_prompts_in_its_own_form(tuned, sample_aeb, tmp_path):
    model, tokenizer = models.load(tuned, "nf4")
    assert model.settings["prompt_form"] == "paper"
    few = sample_aeb.select(range(2))
    options = {"max_new_tokens": 4, "progress": False}
    assert len(predict.predict(few, model, tokenizer, tmp_path / "a", **options)) == 2
    changed = few.map(lambda row: {"prompt": row["prompt"].strip()})
    with pytest.raises(DataError, match="the adapter was trained on 'paper'"):
        predict.predict(changed, model, tokenizer, tmp_path / "b", **options)


def test_adapter_of_an_alias_names_the_hub_id(rows, tiny_model, tmp_path, monkeypatch):
    alias = catalog.Package("Org/Tiny-Chat", "no_such_package", "*.gguf")
    monkeypatch.setitem(catalog.ALIASES, "tiny", alias)
    for module in (models, loading):
        monkeypatch.setattr(module, "resolve", lambda _: tiny_model, raising=False)
    run = finetune(*rows, "tiny", tmp_path, **FAST | {"max_steps": 1})
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Org/Tiny-Chat"
    assert ModelCard.load(run / "adapter" / "README.md").data.base_model == ("Org/Tiny-Chat")
    assert models.load(run)[0].settings["model"] == "tiny"


@pytest.mark.parametrize("quantization", ["nf4", None])
@pytest.mark.parametrize("step", [1, 4, 7])
def test_interrupted_run_ends_with_the_weights_of_a_straight_one(
    rows, tiny_model, tuned, tmp_path, quantization, step
):
    settings = FAST | {"quantization": quantization}
    straight = tuned
    if quantization is None:
        straight = finetune(*rows, tiny_model, tmp_path / "a", **settings)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, step)
        finetune(*rows, tiny_model, tmp_path / "b", **settings)
    resumed = finetune(*rows, tiny_model, tmp_path / "b", **settings)
    assert read_weights(resumed) == read_weights(straight)
    assert record.read_log(resumed).equals(record.read_log(straight))


def test_run_goes_on_from_its_last_checkpoint(rows, tiny_model, tuned, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 7)
        finetune(*rows, tiny_model, tmp_path, **FAST)
    capsys.readouterr()
    stop = tmp_path / "checkpoints" / "checkpoint-6"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 5)  # would stop it if it started before
        finetune(*rows, tiny_model, tmp_path, **FAST)
    assert f"Going on from {stop}." in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["trainer_state.json", "everything"])
def test_torn_checkpoint_is_passed_over(rows, tiny_model, tuned, tmp_path, lost):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 7)
        finetune(*rows, tiny_model, tmp_path, **FAST)
    torn = tmp_path / "checkpoints" / "checkpoint-6"
    for path in torn.glob(lost if lost.endswith("json") else "*"):
        path.unlink()
    run = finetune(*rows, tiny_model, tmp_path, **FAST)
    assert read_weights(run) == read_weights(tuned)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (SharedPromptTrainer, "_load_best_model"),  # after the last checkpoint
        (record, "_save"),
        (runs, "finish"),
    ],
)
def test_run_killed_at_its_end_finishes(rows, tiny_model, tuned, tmp_path, owner, name):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, stop)
        finetune(*rows, tiny_model, tmp_path, **FAST)
    run = finetune(*rows, tiny_model, tmp_path, **FAST)
    assert read_weights(run) == read_weights(tuned)
    assert runs.read(run)["steps"] == 8


def test_early_stop_comes_at_the_same_step_after_an_interruption(rows, tiny_model, tmp_path):
    # At this rate the validation loss soon rises.
    settings = FAST | {"learning_rate": 1.0, "eval_steps": 1, "patience": 3}
    settings |= {"max_steps": 30}
    straight = finetune(*rows, tiny_model, tmp_path / "a", **settings)
    steps = runs.read(straight)["steps"]
    assert 3 < steps < 30
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, steps - 1)
        finetune(*rows, tiny_model, tmp_path / "b", **settings)
    resumed = finetune(*rows, tiny_model, tmp_path / "b", **settings)
    assert runs.read(resumed)["steps"] == steps
    assert read_weights(resumed) == read_weights(straight)


@pytest.mark.parametrize("steps", [5, 8])  # an epoch has five
def test_evaluating_does_not_change_training(rows, tiny_model, tmp_path, steps):
    # Without models.keep_unpacked this fails on a CPU with AVX512-BF16.
    curves = []
    for eval_steps in (1, 8):
        settings = {"eval_steps": eval_steps, "max_steps": steps, "lora_dropout": 0.0}
        folder = tmp_path / str(eval_steps)
        run = finetune(*rows, tiny_model, folder, **FAST | settings)
        curves.append(record.read_log(run).dropna(subset="loss")["loss"].tolist())
    assert len(curves[0]) == steps and curves[0] == curves[1]


@pytest.mark.parametrize("items", [None, 100])
def test_loss_is_that_of_trls_own_trainer(rows, tiny_model, tmp_path, items):
    trainer = make_trainer(rows, tiny_model, tmp_path, None, share=False)
    trainer.model.eval()  # no dropout
    batch = next(iter(trainer.get_train_dataloader()))
    more = {"num_items_in_batch": items and torch.tensor(items)}
    ours = trainer.compute_loss(trainer.model, dict(batch), **more)
    theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch), **more)
    assert ours.item() > 1
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4)


def differentiate(trainer, batch, compute) -> tuple[float, torch.Tensor]:
    """A batch's loss and all its gradients as one vector."""
    trainer.model.zero_grad()
    loss = compute(trainer, trainer.model, dict(batch))
    loss.backward()
    found = [p.grad.flatten() for p in trainer.model.parameters() if p.requires_grad]
    return loss.item(), torch.cat(found).clone()


def test_gradients_are_those_of_trls_own_trainer(rows, tiny_model, tmp_path):
    trainer = make_trainer(rows, tiny_model, tmp_path, None, lora_dropout=0.0, share=False)
    batch = next(iter(trainer.get_train_dataloader()))
    ours = differentiate(trainer, batch, type(trainer).compute_loss)
    theirs = differentiate(trainer, batch, SFTTrainer.compute_loss)
    assert ours[1].norm() > 0.1
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_shared_batch_has_the_loss_and_gradients_of_the_plain_one(
    rows, make_tiny, byte_tokenizer, tmp_path, architecture, quantization
):
    make_tiny(architecture).save_pretrained(tmp_path / "model")
    byte_tokenizer.save_pretrained(tmp_path / "model")
    options = {"lora_dropout": 0.0, "share": False}
    trainer = make_trainer(rows, str(tmp_path / "model"), tmp_path / "run", quantization, **options)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:  # zero at first, which would leave lora_A no gradient
            torch.nn.init.normal_(weight, std=0.1)
    examples = [trainer.train_dataset[number] for number in range(12)]
    shared = shared_batches.Collator()(examples)
    assert shared["forest"].ids.shape[1] < sum(len(e["input_ids"]) for e in examples)
    plain = trainer.data_collator(examples)
    one = differentiate(trainer, shared, type(trainer).compute_loss)
    other = differentiate(trainer, plain, SFTTrainer.compute_loss)
    assert one[0] == pytest.approx(other[0], abs=1e-4) and one[0] > 1
    assert (one[1] - other[1]).norm() < 1e-4 * other[1].norm()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpointed_activations_change_nothing(
    rows, make_tiny, byte_tokenizer, tmp_path, architecture
):
    """Layers that are computed again in the backward pass use the same attention."""
    make_tiny(architecture).save_pretrained(tmp_path / "base")
    byte_tokenizer.save_pretrained(tmp_path / "base")
    options = FAST | {"quantization": None, "max_steps": 3, "lora_dropout": 0.0}
    found = []
    for again in (False, True):
        run = finetune(
            *(*rows, str(tmp_path / "base"), tmp_path / f"run {again}"),
            activation_checkpointing=again,
            **options,
        )
        found.append(load_file(run / "adapter" / "adapter_model.safetensors"))
    assert all(torch.allclose(found[0][k], found[1][k], atol=1e-5) for k in found[0])


def test_training_shares_unless_told_otherwise(rows, tiny_model, tmp_path):
    for share, name in ((True, "forest"), (False, "input_ids")):
        trainer = make_trainer(rows, tiny_model, tmp_path / name, share=share)
        batch = next(iter(trainer.get_train_dataloader()))
        assert name in batch and len(trainer.get_train_dataloader()) == 10


def test_model_that_cannot_share_trains_on_padded_batches(
    rows, tiny_model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tree_attention, "fits", lambda *_: False)
    trainer = make_trainer(rows, tiny_model, tmp_path)
    assert "input_ids" in next(iter(trainer.get_train_dataloader()))
    assert "training on padded batches" in capsys.readouterr().out
    with pytest.raises(DataError, match="regression_weight needs share=True"):
        make_trainer(rows, tiny_model, tmp_path / "b", regression_weight=1.0)


def test_regression_loss_without_scores_is_an_error(rows, tiny_model, tmp_path):
    bare = [part.select_columns(["prompt", "completion"]) for part in rows]
    with pytest.raises(DataError, match="needs training rows of a score task"):
        make_trainer(bare, tiny_model, tmp_path, regression_weight=1.0)


def test_regression_loss_is_the_squared_error_of_the_mean(sample_aaid, tiny_model, tmp_path):
    wanted = sample_aaid["train"].filter(lambda row: row["task"] == "EI-reg")
    rows = wanted.select(range(12)), wanted.select(range(12, 16))
    options = {"lora_dropout": 0.0, "regression_weight": 2.0}
    trainer = make_trainer(rows, tiny_model, tmp_path / "b", None, **options)
    examples = [trainer.train_dataset[number] for number in range(12)]
    batch = trainer.data_collator(examples)
    trainer.model.train()
    whole = trainer.compute_loss(trainer.model, batch).item()
    trainer.model.eval()
    likelihood = trainer.compute_loss(trainer.model, batch).item()
    items = wanted.select(range(12)).map(lambda row: {"gold": row["completion"]})
    model, tokenizer = models.load(tiny_model)
    found = predict.predict(items, model, tokenizer, tmp_path / "p", progress=False)
    gold = torch.tensor([float(x) for x in items["completion"]])
    squares = ((torch.tensor(found["mean"]) - gold) ** 2).sum().item()
    tokens = len(batch["labels"])
    assert whole == pytest.approx(likelihood + 2 * squares / tokens, abs=1e-4)


def test_regression_loss_alone_brings_the_mean_closer(sample_aaid, tiny_model, tmp_path):
    wanted = sample_aaid["train"].filter(lambda row: row["task"] == "V-reg")
    rows = wanted.select(range(16)), wanted.select(range(16, 20))
    found = []
    for weight in (0.0, 100.0):
        run = finetune(
            *rows,
            tiny_model,
            tmp_path / f"run{weight}",
            **FAST | {"regression_weight": weight, "learning_rate": 5e-3},
        )
        model, tokenizer = models.load(run)
        answers = predict.predict(
            rows[0], model, tokenizer, tmp_path / f"p{weight}", progress=False
        )
        gold = torch.tensor([float(x) for x in rows[0]["completion"]])
        found.append(((torch.tensor(answers["mean"]) - gold) ** 2).mean().item())
    assert found[1] < found[0]


def test_loss_is_on_completion_and_end_of_text_only(rows, tiny_model, tmp_path):
    trainer = make_trainer(rows, tiny_model, tmp_path, None, share=False)
    tokenizer = trainer.processing_class
    batch = next(iter(trainer.get_train_dataloader()))
    for labels in batch["labels"]:
        text = tokenizer.decode(labels[labels != -100])
        completion = text.removesuffix(tokenizer.eos_token)
        assert completion != text and completion in rows[0]["completion"]


def test_adapter_weights_are_float32_from_the_start(rows, tiny_model, tmp_path):
    trainer = make_trainer(rows, tiny_model, tmp_path)
    kinds = {p.dtype for p in trainer.model.parameters() if p.requires_grad}
    assert kinds == {torch.float32}


def test_too_long_rows_are_counted_and_reported(rows, tiny_model, tmp_path, capsys):
    tokenizer = models.load(tiny_model)[1]
    whole = [[row["prompt"] + row["completion"] + "</s>" for row in x] for x in rows]
    sizes = [[len(ids) for ids in tokenizer(x).input_ids] for x in whole]
    limit = sorted(sizes[0])[-4]
    train, validation = (sum(size > limit for size in part) for part in sizes)
    settings = FAST | {"max_length": limit, "max_steps": 1}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    found = runs.read(run)["rows_left_out"]
    assert found == {"train": train, "validation": validation} and 0 < train <= 3
    assert f"{train} of 40 training rows" in capsys.readouterr().out


def test_no_row_that_is_short_enough_is_an_error(rows, tiny_model, tmp_path):
    with pytest.raises(DataError, match="no row is as short as max_length=9 tokens"):
        finetune(*rows, tiny_model, tmp_path, **FAST | {"max_length": 9})


def test_row_whose_prompt_merges_with_its_answer_is_refused(byte_tokenizer):
    rows = Dataset.from_list([{"prompt": "can be infer", "completion": "red"}])
    with pytest.raises(DataError, match=r"merges .* 'red': take another"):
        tokens.keep_short(rows, byte_tokenizer, 100)


def test_rows_are_tokenized_as_the_trainer_would(rows, smollm2_tokenizer):
    found, cut = tokens.keep_short(rows[0], smollm2_tokenizer, 400)
    assert cut == 0 and found["prompt"] == rows[0]["prompt"]
    for row in found:
        own = [label for label in row["labels"] if label != -100]
        assert row["input_ids"][-len(own) :] == own
        text = smollm2_tokenizer.decode(own)
        assert text == row["completion"] + smollm2_tokenizer.eos_token
        prompt = row["input_ids"][: -len(own)]
        assert prompt == smollm2_tokenizer(row["prompt"]).input_ids


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_other_prompt_forms_train(byte_tokenizer, tiny_model, tmp_path, form):
    made = aaid.build("sample", form=form, tokenizer=byte_tokenizer)
    given = made["train"].select(range(16)), made["validation"].select(range(4))
    run = finetune(*given, tiny_model, tmp_path, **FAST | {"max_steps": 1})
    assert runs.read(run)["settings"]["prompt_form"] == form
    assert models.load(run)[0].settings["prompt_form"] == form


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"prompt": ["a"]}, "train rows have no column completion"),
        ({"prompt": ["a", "b"], "completion": ["c", " "]}, "train row 1: its comple"),
        ({"prompt": ["a", None], "completion": ["c", "d"]}, "train row 1: its prompt"),
        ({"prompt": [], "completion": []}, "there are no train rows"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_an_error(rows, tiny_model, tmp_path, bad, reason):
    with pytest.raises(DataError, match=reason):
        finetune(Dataset.from_dict(bad), rows[1], tiny_model, tmp_path / "run")
    assert not list(tmp_path.glob("run/run.json"))


def test_run_without_a_report_has_no_log(tmp_path):
    with pytest.raises(DataError, match=r"no log\.csv"):
        record.read_log(tmp_path)


def test_copied_run_still_loads(tuned, tmp_path):
    moved = Path(shutil.copytree(tuned, tmp_path / "moved"))
    settings = models.load(moved)[0].settings
    assert settings["adapter_weights"] == models.hash_weights(tuned / "adapter")


def test_shared_batch_predicts_completions_and_end_of_text(rows, tiny_model, tmp_path):
    trainer = make_trainer(rows, tiny_model, tmp_path)
    tokenizer = trainer.processing_class
    batch = next(iter(trainer.get_train_dataloader()))
    texts = tokenizer.decode(batch["labels"]).split(tokenizer.eos_token)
    assert texts.pop() == "" and len(texts) == 4
    assert set(texts) <= set(rows[0]["completion"])


def test_every_step_sees_all_tasks_and_few_instructions(sample_aaid):
    rows = sample_aaid["train"]
    keys = list(zip(rows["task"], rows["instruction"], strict=True))
    sampler = Sampler(32, [1] * len(rows), seed=0, keys=keys)
    order = list(sampler)
    assert order == list(sampler) and sorted(order) == list(range(len(rows)))
    steps = [order[k : k + 32] for k in range(0, len(rows) - 32, 32)]
    for step in steps:
        assert {keys[row][0] for row in step} == set(AAID)
        assert len({keys[row] for row in step}) <= 11
        assert [keys[row] for row in step] == sorted(keys[row] for row in step)
    sampler.set_epoch(1)
    assert list(sampler) != order


def test_sampler_mixes_steps_and_sorts_inside_them():
    lengths = [10] * 50 + [90] * 50  # two tasks, say
    sampler = Sampler(10, lengths, seed=3)
    first, again = list(sampler), list(sampler)
    assert first == again and sorted(first) == list(range(100))
    steps = [[lengths[i] for i in first[k : k + 10]] for k in range(0, 100, 10)]
    assert all(step == sorted(step, reverse=True) for step in steps)
    assert sum(len(set(step)) == 2 for step in steps) >= 9
    sampler.set_epoch(1)
    assert list(sampler) != first


STILL = FAST | {"max_steps": 1, "eval_steps": 1, "learning_rate": 1e-12}


def load_adapter(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("inside", ["", "adapter"])
def test_run_goes_on_from_an_adapter(tuned, rows, tiny_model, tmp_path, inside):
    settings = STILL | {"start": str(tuned / inside)}
    on = finetune(*rows, tiny_model, tmp_path / "on", **settings)
    fresh = finetune(*rows, tiny_model, tmp_path / "fresh", **STILL)
    reached = runs.read(tuned)["best_eval_loss"]
    assert runs.read(on)["best_eval_loss"] == pytest.approx(reached, abs=1e-4)
    assert runs.read(fresh)["best_eval_loss"] > reached + 0.1
    before, after = load_adapter(tuned), load_adapter(on)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.allclose(after[name], weight, rtol=0, atol=1e-9), name


def test_run_that_goes_on_changes_its_adapter(tuned, rows, tiny_model, tmp_path):
    settings = FAST | {"max_steps": 2, "start": str(tuned)}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    before, after = load_adapter(tuned), load_adapter(run)
    moved = [name for name in before if not before[name].equal(after[name])]
    assert len(moved) > 0.9 * len(before)


def test_record_says_where_a_run_went_on_from(tuned, rows, tiny_model, tmp_path):
    settings = STILL | {"start": str(tuned)}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    found = runs.read(run)["settings"]
    assert found["start"] == str(tuned)
    assert found["start_weights"] == models.hash_weights(tuned / "adapter")
    assert "start_weights" not in runs.read(tuned)["settings"]


def test_exported_adapter_is_a_start_in_float32(tuned, rows, tiny_model, tmp_path):
    shipped = export.export(tuned, tmp_path / "shipped")
    trainer = make_trainer(rows, tiny_model, tmp_path / "run", start=str(shipped))
    own = dict(trainer.model.named_parameters())
    for name, weight in load_adapter(shipped).items():
        found = own[name.replace(".weight", ".default.weight")]
        assert found.dtype == torch.float32 and found.requires_grad
        assert found.cpu().equal(weight.float())


def test_start_that_changed_is_another_run(tuned, rows, tiny_model, tmp_path):
    start = Path(shutil.copytree(tuned, tmp_path / "start"))
    settings = STILL | {"start": str(start)}
    run = finetune(*rows, tiny_model, tmp_path / "run", **settings)
    assert finetune(*rows, tiny_model, run, **settings) == run
    weights = {name: weight + 1 for name, weight in load_adapter(start).items()}
    save_file(weights, start / "adapter" / "adapter_model.safetensors")
    with pytest.raises(DataError, match="start_weights was"):
        finetune(*rows, tiny_model, run, **settings)


@pytest.mark.parametrize("step", [1, 4])
def test_interrupted_run_that_went_on_ends_as_a_straight_one(
    rows, tiny_model, tuned, tmp_path, step
):
    settings = FAST | {"start": str(tuned), "max_steps": 5}
    straight = finetune(*rows, tiny_model, tmp_path / "a", **settings)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, step)
        finetune(*rows, tiny_model, tmp_path / "b", **settings)
    resumed = finetune(*rows, tiny_model, tmp_path / "b", **settings)
    assert read_weights(resumed) == read_weights(straight)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lora_rank": 8}, "has r=16 in its LoRA, this run 8: they have to agree"),
        ({"lora_alpha": 16}, "has lora_alpha=32 in its LoRA, this run 16"),
        ({"lora_targets": "q_proj v_proj"}, "was trained on other layers"),
    ],
)
def test_start_that_is_not_alike_is_refused(tuned, rows, tiny_model, tmp_path, change, reason):
    settings = STILL | {"start": str(tuned)} | change
    with pytest.raises(DataError, match=reason):
        finetune(*rows, tiny_model, tmp_path, **settings)
    assert not (tmp_path / "log.csv").exists()


def test_start_on_fewer_layers_is_refused(rows, tiny_model, tmp_path):
    few = STILL | {"lora_targets": "q_proj"}
    start = finetune(*rows, tiny_model, tmp_path / "few", **few)
    settings = STILL | {"start": str(start)}
    with pytest.raises(DataError, match="was trained on other layers"):
        finetune(*rows, tiny_model, tmp_path / "run", **settings)


def test_start_of_another_models_shape_is_refused(tuned, rows, save_tiny, tmp_path):
    wide = save_tiny("llama", "byte_tokenizer", intermediate_size=192)
    with pytest.raises(DataError, match="cannot load model"):
        finetune(*rows, wide, tmp_path, **STILL | {"start": str(tuned)})


def test_start_that_is_no_adapter_is_an_error(rows, tiny_model, tmp_path):
    for start in (tiny_model, str(tmp_path), "no/such-adapter"):
        with pytest.raises(DataError, match=f"start: {start} is no adapter"):
            finetune(*rows, tiny_model, tmp_path / "run", **STILL | {"start": start})
    assert not list(tmp_path.glob("run/run.json"))


def test_start_in_a_pickle_is_refused(tuned, rows, tiny_model, tmp_path):
    start = Path(shutil.copytree(tuned / "adapter", tmp_path / "start"))
    weights = start / "adapter_model.safetensors"
    torch.save(load_file(weights), start / "adapter_model.bin")
    weights.unlink()
    with pytest.raises(DataError, match=r"start: no adapter_model\.safetensors"):
        finetune(*rows, tiny_model, tmp_path / "run", **STILL | {"start": str(start)})
    assert not list(tmp_path.glob("run/run.json"))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_start_with_a_damaged_file_is_an_error(tuned, rows, tiny_model, tmp_path, name):
    start = Path(shutil.copytree(tuned, tmp_path / "start"))
    (start / "adapter" / name).write_bytes(b"{")
    settings = STILL | {"start": str(start)}
    with pytest.raises(DataError, match="cannot load model"):
        finetune(*rows, tiny_model, tmp_path / "run", **settings)


def test_start_needs_an_adapter_to_be_trained(tuned, rows, tiny_model, tmp_path):
    settings = STILL | {"start": str(tuned), "quantization": None, "lora_rank": 0}
    with pytest.raises(DataError, match="needs lora_rank above 0"):
        finetune(*rows, tiny_model, tmp_path / "run", **settings)
    assert not list(tmp_path.glob("run/run.json"))


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        ("q_proj v_proj", 4),
        ("down_proj", 2),
        ("0.self_attn.q_proj", 1),  # of the first layer alone
        ("all-linear", 14),
    ],
)
def test_lora_is_on_the_named_layers_alone(rows, tiny_model, tmp_path, targets, adapted):
    trainer = make_trainer(rows, tiny_model, tmp_path, None, lora_targets=targets)
    names = {
        name.partition(".lora_A")[0]
        for name, weight in trainer.model.named_parameters()
        if weight.requires_grad and ".lora_A" in name
    }
    assert len(names) == adapted and not any("lm_head" in name for name in names)
    if targets != "all-linear":
        assert all(name.endswith(tuple(targets.split())) for name in names)


def test_adapter_on_some_layers_is_saved_and_loads(rows, tiny_model, tmp_path):
    settings = FAST | {"max_steps": 1, "lora_targets": "q_proj v_proj"}
    run = finetune(*rows, tiny_model, tmp_path, **settings)
    names = load_adapter(run)
    assert len(names) == 2 * 2 * 2  # layers, targets, A and B
    assert all("q_proj" in name or "v_proj" in name for name in names)
    assert runs.read(run)["settings"]["lora_targets"] == "q_proj v_proj"
    assert models.load(run)[0].settings["adapter"]
