import os
import subprocess
import sys

import pandas as pd
import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from emolib import DataError, files
from emolib.data import aaid, leakage, prompts
from emolib.tasks import AAID, TASKS

ROW = ["task", "id", "emotion", "text"]


def test_every_row_stands_once_under_each_instruction(sample_aaid):
    rows = sample_aaid["train"].to_pandas()
    grouped = rows.groupby(ROW, dropna=False)["instruction"]
    assert (grouped.nunique() == 10).all() and (grouped.size() == 10).all()
    for task, part in rows.groupby("task"):
        assert set(part["instruction"]) == set(prompts.instructions(task))


def test_first_tenth_holds_every_row_once(sample_aaid):
    rows = sample_aaid["train"].to_pandas()
    tenth = rows.head(len(rows) // 10)
    assert not tenth.duplicated(ROW).any()
    assert tenth["task"].value_counts().equals(rows["task"].value_counts() // 10)
    assert tenth["instruction"].nunique() == 50


def cut_passes(rows, task: str) -> list[list[tuple]]:
    """A task's rows in each tenth of AAID, which is a pass over the corpus."""
    frame, size = rows.to_pandas(), len(rows) // 10
    passes = [frame[start : start + size] for start in range(0, len(rows), size)]
    return [read_sorted(part[part["task"] == task]) for part in passes]


def read_sorted(frame: pd.DataFrame) -> list[tuple]:
    names = ["id", "emotion", "instruction"]
    return sorted(frame[names].fillna("").itertuples(index=False, name=None))


def test_passes_are_the_tenths_of_a_task(sample_aaid):
    rows = sample_aaid["train"]
    taken = aaid.take(rows, "EI-oc=2 V-reg=3-5").to_pandas()
    assert taken["task"].value_counts().to_dict() == {
        task: count * len(cut_passes(rows, task)[0]) for task, count in (("EI-oc", 1), ("V-reg", 3))
    }
    second, valence = cut_passes(rows, "EI-oc")[1], cut_passes(rows, "V-reg")
    assert read_sorted(taken[taken["task"] == "EI-oc"]) == second
    found = read_sorted(taken[taken["task"] == "V-reg"])
    assert found == sorted(row for part in valence[2:5] for row in part)


def test_each_pass_shows_a_row_under_another_instruction(sample_aaid):
    taken = aaid.take(sample_aaid["train"], "EI-reg=2-5 V-oc=1-4").to_pandas()
    grouped = taken.groupby(ROW, dropna=False)["instruction"]
    assert (grouped.size() == 4).all() and (grouped.nunique() == 4).all()


def test_passes_are_mixed_by_the_seed(sample_aaid):
    rows = sample_aaid["train"]
    one, again, other = (aaid.take(rows, "V-reg=1-2 E-c=1", s) for s in (3, 3, 4))
    assert one.to_list() == again.to_list() != other.to_list()
    assert read_sorted(one.to_pandas()) == read_sorted(other.to_pandas())
    half = one.select(range(len(one) // 2)).to_pandas()
    first = set(cut_passes(rows, "V-reg")[0])
    drawn = read_sorted(half[half["task"] == "V-reg"])
    assert 0 < sum(row in first for row in drawn) < len(drawn)  # of both passes


def test_all_passes_of_all_tasks_are_aaid(sample_aaid):
    rows = sample_aaid["train"]
    taken = aaid.take(rows, " ".join(f"{task}=1-10" for task in AAID))
    assert taken.to_list() != rows.to_list()
    assert read_sorted(taken.to_pandas()) == read_sorted(rows.to_pandas())
    for nothing in ("", " "):
        assert aaid.take(rows, nothing).to_list() == rows.to_list()


@pytest.mark.parametrize(
    "passes",
    [
        "V-reg",
        "V-reg=",
        "V-reg=0",
        "V-reg=0-3",
        "V-reg=11",
        "V-reg=9-11",
        "V-reg=4-2",
        "V-reg=1-",
        "V-reg=two",
        "v-reg=1",
        "V-M=1",  # a task that is tested only
        "joy=1",
    ],
)
def test_passes_that_do_not_exist_are_an_error(sample_aaid, passes):
    with pytest.raises(DataError, match=f"passes: '{passes}': expected a task of EI-r"):
        aaid.take(sample_aaid["train"], f"E-c=1 {passes}")


def test_task_with_two_spans_of_passes_is_an_error(sample_aaid):
    with pytest.raises(DataError, match="a task stands there twice"):
        aaid.take(sample_aaid["train"], "V-reg=1 V-reg=3")


@pytest.mark.parametrize(("count", "many"), [(7, 7), (0, None), (10**6, None)])
def test_first_rows_are_taken(sample_aaid, count, many):
    rows = sample_aaid["validation"]
    assert aaid.spread(rows, count).to_list() == rows.to_list()[:many]


def test_rows_are_spread_evenly_over_tasks(sample_aaid):
    rows = sample_aaid["validation"]
    counts = pd.Series(rows["task"]).value_counts()
    assert counts.max() > counts.min() > 6
    taken = aaid.spread(rows, 33, even=True).to_list()  # six of each
    whole = rows.to_list()
    for task in AAID:
        own = [row for row in whole if row["task"] == task][:6]
        assert [row for row in taken if row["task"] == task] == own
    assert len(taken) == 30 and taken == [row for row in whole if row in taken]
    assert aaid.spread(rows, 0, even=True).to_list() == whole
    with pytest.raises(DataError, match="4 rows cannot be spread over 5 tasks"):
        aaid.spread(rows, 4, even=True)


def test_data_frame_of_rows_is_taken_and_spread_alike(sample_aaid):
    rows = sample_aaid["validation"]
    frame = rows.to_pandas()
    for cut in (lambda x: aaid.take(x, "V-reg=2-4", 1), lambda x: aaid.spread(x, 20)):
        assert cut(frame).to_list() == cut(rows).to_list()


def test_task_with_few_rows_gives_all_it_has(sample_aaid):
    rows = sample_aaid["validation"].to_pandas()
    few = pd.concat([rows[rows["task"] == "E-c"], rows[rows["task"] == "V-oc"].head(3)])
    taken = aaid.spread(Dataset.from_pandas(few, preserve_index=False), 20, even=True)
    assert pd.Series(taken["task"]).value_counts().to_dict() == {"E-c": 10, "V-oc": 3}


def test_rows_are_as_render_makes_them(sample_aaid):
    for row in sample_aaid["validation"].select(range(0, 600, 60)):
        assert prompts.render(row).items() <= row.items()


def test_rows_of_another_seed_are_the_same_in_another_order(sample_aaid):
    other = aaid.build("sample", seed=1)["validation"].to_pandas()
    rows = sample_aaid["validation"].to_pandas()
    assert not rows.equals(other)
    names = list(rows.columns)
    ordered = [x.sort_values(names, ignore_index=True) for x in (rows, other)]
    assert ordered[0].equals(ordered[1])


@pytest.mark.slow
def test_another_process_builds_the_same_rows(sample_aaid):
    script = "from emolib import files\nfrom emolib.data import aaid\n"
    script += "print(files.hash_rows(aaid.build('sample')['train']))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == files.hash_rows(sample_aaid["train"])


@pytest.fixture(scope="module")
def exported(sample_aaid, tmp_path_factory):
    return aaid.export(sample_aaid, tmp_path_factory.mktemp("aaid"), "the sample")


@pytest.mark.slow
def test_same_input_gives_the_same_bytes(exported, tmp_path):
    again = aaid.export(aaid.build("sample"), tmp_path / "again", "the sample")
    files = sorted(p.relative_to(exported) for p in exported.rglob("*") if p.is_file())
    assert [str(p) for p in files] == ["README.md"] + [
        f"data/{split}.{suffix}"
        for split in ("train", "validation")
        for suffix in ("jsonl", "parquet")
    ]
    for name in files:
        assert (again / name).read_bytes() == (exported / name).read_bytes(), name


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_exported_rows_read_back(exported, sample_aaid, suffix):
    read = {"parquet": pd.read_parquet, "jsonl": _read_jsonl}[suffix]
    for split, rows in sample_aaid.items():
        found = read(exported / "data" / f"{split}.{suffix}")
        assert found.equals(rows.to_pandas())


def _read_jsonl(path):
    frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    return frame.astype(pd.read_parquet(path.with_suffix(".parquet")).dtypes)


def test_exported_folder_loads_as_its_card_says(exported, sample_aaid, tmp_path):
    found = load_dataset(str(exported), cache_dir=str(tmp_path))
    assert {k: len(v) for k, v in found.items()} == {k: len(v) for k, v in sample_aaid.items()}


def test_card_parses_and_says_what_it_is(exported, sample_aaid):
    card = DatasetCard.load(exported / "README.md")
    assert card.data.license == "other" and card.data.language == ["en"]
    assert [f["split"] for f in card.data.configs[0]["data_files"]] == [
        "train", "validation",
    ]  # fmt: skip
    assert f"Rows: {len(sample_aaid['train']):,} train" in card.text
    assert "Built from: the sample" in card.text


def test_export_that_fails_leaves_no_file(sample_aaid, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        aaid.export(sample_aaid, tmp_path, "the sample")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_audit_finds_the_one_planned_near_duplicate():
    found = leakage.audit("sample")
    pairs = set(found[["split", "id", "aeb_id"]].itertuples(index=False, name=None))
    assert pairs == {("train", "2018-En-90001", "2018-En-90301")}
    both = found[(found["task"] == "E-c") & (found["aeb_task"] == "E-c")]
    assert both["match"].tolist() == ["normalized"]


def test_audit_tells_exact_copies_apart(corpus):
    folder = corpus / "semeval2018" / "V-oc"
    lines = (folder / "Valence-oc-En-train.txt").read_text("utf-8").split("\n")
    name, rest = lines[5].split("\t", 1)
    with (folder / "Valence-oc-En-test-gold.txt").open("a", encoding="utf-8") as file:
        file.write(f"2018-En-99999\t{rest}\n")
    found = leakage.audit(corpus)
    found = found[(found["aeb_id"] == "2018-En-99999") & (found["task"] == "V-oc")]
    assert found[["id", "match"]].to_numpy().tolist() == [[name, "exact"]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("@Ann LOOK", "@bob  look"),
        ("see https://t.co/a1", "see https://t.co/B2"),
        ("so glad\ttoday", "So glad today "),
    ],
)
def test_copies_of_one_tweet_normalize_alike(one, other):
    assert leakage.normalize(one) == leakage.normalize(other)
    assert leakage.normalize(one) != leakage.normalize(one + " not")


@pytest.mark.slow
def test_real_rows_are_exactly_as_many_as_published(real_aaid):
    assert {k: len(v) for k, v in real_aaid.items()} == {"train": 234_040, "validation": 47_120}
    counts = pd.Series(real_aaid["train"]["task"]).value_counts().to_dict()
    assert counts == {name: 10 * TASKS[name].sizes["train"] for name in AAID}


@pytest.mark.slow
def test_real_passes_hold_every_row_once(real_aaid):
    wanted = {"EI-reg": 1, "EI-oc": 1, "V-reg": 4, "V-oc": 4, "E-c": 1}
    passes = "EI-reg=2 EI-oc=2 V-reg=2-5 V-oc=2-5 E-c=2"
    taken = aaid.take(real_aaid["train"], passes).to_pandas()
    counts = taken["task"].value_counts().to_dict()
    assert counts == {n: k * TASKS[n].sizes["train"] for n, k in wanted.items()}
    sizes = taken.groupby(ROW, dropna=False).size().reset_index(name="times")
    assert (sizes["times"] == sizes["task"].map(wanted)).all()


@pytest.mark.slow
def test_real_rows_hold_no_mystery(real_aaid):
    for rows in real_aaid.values():
        assert not any("mystery" in name for name in rows["id"])


@pytest.mark.slow
def test_real_rows_come_out_the_same_again(real_aaid):
    again = aaid.build()
    for split, rows in real_aaid.items():
        assert again[split].data.table.equals(rows.data.table)


@pytest.mark.slow
def test_real_audit_finds_no_leak(real_data):
    assert leakage.audit().empty
