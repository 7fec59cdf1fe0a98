"""The committed result, scored again from the committed judgements.

`make result-check` runs this file alone. It needs the corpora for gold, and no model.
"""

import builtins
import re

import markdown
import numpy as np
import pandas as pd
import pytest

from emolib import models, notebooks
from emolib.data import aaid, aeb, release
from emolib.evaluation import (
    calibration,
    conformal,
    decision_rules,
    item_errors,
    judgements,
    metrics,
    score_files,
    significance,
    stacked_regression,
)
from emolib.models import weight_files
from emolib.report import calibration_plots, style
from emolib.tasks import AAID, AEB, get

ROOT = markdown.ROOT
NUMBERS = ROOT / "figures" / "data"
ADAPTER = models.BUNDLED["emo-smollm2-135m"]
NAME, MODEL = "emo_smollm2", "Emo-SmolLM2-135M"
RELEASED = {"EmoLLaMA-chat-7B": "Emollama-chat-7b", "EmoBLOOM": "Emobloom-7b"}
PUBLISHED = {"SemEval-2018's best": "Leaderboard(1)"}  # as the paper calls them
PUBLISHED |= {f"{MODEL}, single prompts": MODEL}  # on the page, where there are two adapters


def read(kind: str) -> pd.DataFrame:
    return pd.read_csv(NUMBERS / f"{NAME}_{kind}.csv")


@pytest.fixture(scope="module")
def kept():
    return judgements.load(NUMBERS / f"{NAME}_judgements.parquet")


@pytest.fixture(scope="module")
def rows(kept, real_data):
    seed = kept[1]["seed"]
    dev = aaid.take(aaid.build(seed=seed)["validation"], " ".join(f"{t}=1" for t in AAID), seed)
    return {"dev": dev, "test": aeb.build(seed=seed)}


@pytest.fixture(scope="module")
def judged(kept, rows):
    return {
        split: part.assign(gold=None)
        if split.endswith("_also")
        else judgements.add_gold(part, rows[split])
        for split, part in kept[0].items()
    }


@pytest.fixture(scope="module")
def rules(judged, kept):
    return decision_rules.choose(judged["dev"], kept[1]["seed"])[0]


@pytest.fixture(scope="module")
def joined(judged, kept):
    """Weights, development and test items: read off all answers about a text."""
    dev, test = [
        pd.concat([judged[split], judged[f"{split}_also"]], ignore_index=True)
        for split in ("dev", "test")
    ]
    weights = stacked_regression.fit(dev)
    sides = (
        stacked_regression.cross_fit(dev, kept[1]["seed"]),
        stacked_regression.join(test, weights),
    )
    return weights, *(side.dropna(subset="gold", ignore_index=True) for side in sides)


@pytest.fixture(scope="module")
def rules_joined(joined, kept):
    return decision_rules.choose(joined[1], kept[1]["seed"])[0]


@pytest.fixture(scope="module")
def decided(judged, rules, joined, rules_joined):
    return {
        MODEL: decision_rules.decide(judged["test"], rules),
        f"{MODEL}, joined": decision_rules.decide(joined[2], rules_joined),
    }


@pytest.mark.slow
def test_judgements_are_the_shipped_adapters(kept):
    assert kept[1]["adapter_weights"] == weight_files.hash_weights(ADAPTER / "adapter")


@pytest.mark.slow
def test_every_item_was_asked(kept):
    parts = kept[0]
    for split, tasks in {"dev": AAID, "test": AEB}.items():
        assert not parts[split].duplicated(judgements.KEYS).any()
        found = parts[split]["task"].value_counts()
        sizes = {t: get(t).sizes["dev"] if split == "dev" else get(t).items for t in tasks}
        assert found.to_dict() == sizes
        own = parts[split][parts[split]["task"].isin(AAID)]
        whole = pd.concat([own, parts[f"{split}_also"]])
        assert not whole.duplicated(judgements.KEYS).any()
        assert (whole["id"].value_counts() == 11).all()  # questions of annotate's


@pytest.fixture(scope="module")
def shipped():
    return calibration.read(ADAPTER / calibration.FILE)


@pytest.mark.slow
def test_shipped_rules_are_those_that_development_items_choose(
    judged, rules, joined, rules_joined, shipped
):
    heat = calibration.fit_temperatures(judged["dev"])
    for own, kept in ((rules, shipped), (rules_joined, shipped.joined)):
        known = kept.rules
        assert (known.classes, known.labels) == (own.classes, own.labels)
        assert known.thresholds == own.thresholds and kept.temperatures == heat
        assert known.cuts.keys() == own.cuts.keys()
        for key, cuts in own.cuts.items():
            assert known.cuts[key] == pytest.approx(cuts)


@pytest.mark.slow
def test_shipped_widths_and_weights_are_fitted_to_development_items(judged, joined, shipped):
    for dev, kept in ((judged["dev"], shipped), (joined[1], shipped.joined)):
        widths = conformal.list_widths(conformal.fit_widths(dev))
        assert kept.half_widths.keys() == widths.keys()
        for key, levels in widths.items():
            assert kept.half_widths[key] == pytest.approx(levels, abs=2e-4)
    assert shipped.joined.weights.keys() == joined[0].keys()
    for key, weights_of in joined[0].items():
        assert shipped.joined.weights[key] == pytest.approx(weights_of, rel=1e-6)


@pytest.mark.slow
def test_scores_are_those_of_the_judgements(decided, rows):
    known = read("answers_scores").set_index(["model", "task", "metric"])["value"]
    for who, answers in decided.items():
        table = item_errors.compare(rows["test"], answers)
        for task, items in table.groupby("task", sort=False):
            groups = list(items["emotion"]) if get(task).emotions else None
            pair = list(items["gold"]), list(items["predicted"])
            found = metrics.score(task, *pair, groups)
            for name in get(task).metrics[: get(task).primary]:
                each = [key for key in found if key.split(".")[0] == name]
                for key in each:
                    assert known[who, task, key] == pytest.approx(found[key], abs=1e-6)
    assert set(known.index.get_level_values("task")) == set(answers["task"])


@pytest.mark.slow
def test_intervals_are_those_of_the_judgements(decided, rows):
    answers = decided[MODEL].query("task == 'TDT'")
    found = metrics.tabulate(item_errors.compare(rows["test"], answers), MODEL)
    known = read("answers_scores").query("task == 'TDT' and model == @MODEL")
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(known[name], found[name], atol=1e-6)


@pytest.fixture(scope="module")
def sides(decided, rows, real_data):
    """Ours, by the names in the CSV, and the released models' answers to AEB-1."""
    names = {"as asked": MODEL, "joined": f"{MODEL}, joined"}
    ours = {n: item_errors.compare(rows["test"], decided[w]) for n, w in names.items()}
    folder = real_data / "release"
    items = release.read_release(folder / "AEB.jsonl")
    theirs = {
        name: item_errors.compare(
            items, release.read_responses(folder / f"responses-{file}.jsonl", items)
        )
        for name, file in RELEASED.items()
    }
    return ours, theirs


def compare(task, ours, theirs, **how):
    first, second = (side[side["task"] == task] for side in (ours, theirs))
    assert list(first["gold"]) == list(second["gold"])  # the items are the same
    groups = list(first["emotion"]) if get(task).emotions else None
    answers = [list(side["predicted"]) for side in (first, second)]
    return significance.compare(task, list(first["gold"]), *answers, groups, **how)


@pytest.mark.slow
def test_paired_differences_are_those_of_the_judgements(sides):
    known = read("paired").set_index(["ours", "model", "task"])
    ours, theirs = sides
    pairs = [(name, model, task) for name in ours for model in theirs for task in AAID]
    assert list(known.index.unique()) == pairs
    for name, model, task in pairs:
        found = compare(task, ours[name], theirs[model], resamples=1)
        each = known.loc[[(name, model, task)]]
        assert each["metric"].tolist() == found["metric"].tolist()
        for column in ("first", "second", "difference"):
            np.testing.assert_allclose(each[column], found[column], atol=1e-6)


@pytest.mark.slow
def test_paired_intervals_are_those_of_the_judgements(sides):
    known = read("paired").set_index(["ours", "model", "task"])
    found = compare("V-reg", sides[0]["joined"], sides[1]["EmoBLOOM"]).iloc[0]
    for side in ("low", "high", "p"):
        each = known.loc[("joined", "EmoBLOOM", "V-reg"), side]
        assert each == pytest.approx(found[side], abs=1e-6)


@pytest.mark.slow
def test_readings_are_those_of_the_judgements(judged):
    found = decision_rules.compare(judged["dev"], judged["test"])
    known = read("readings")
    assert known[["rule", "task", "metric"]].equals(found[["rule", "task", "metric"]])
    np.testing.assert_allclose(known["value"], found["value"], atol=1e-6)


@pytest.fixture(scope="module")
def trust(judged):
    heat = calibration.fit_temperatures(judged["dev"])
    trained = judged["test"][judged["test"]["task"].isin(heat)]
    return {
        "as given": calibration.list_confidences(trained),
        "after scaling": calibration.list_confidences(trained, heat),
    }


@pytest.fixture(scope="module")
def held(judged, joined):
    sides = {"as asked": (judged["dev"], judged["test"]), "joined": joined[1:]}
    found = {
        who: conformal.cover(test, conformal.fit_widths(dev)) for who, (dev, test) in sides.items()
    }
    return pd.concat(found, names=["answers"]).reset_index("answers")


@pytest.mark.slow
def test_trust_is_that_of_the_judgements(trust):
    known = read("trust").set_index(["state", "task"])["calibration_error"]
    for state, confidences in trust.items():
        for row in calibration.measure(confidences).itertuples():
            assert known[state, row.task] == pytest.approx(row.calibration_error, abs=1e-6)


@pytest.mark.slow
def test_coverage_is_that_of_the_judgements(judged, held):
    sets = conformal.cover_classes(judged["dev"], judged["test"])
    found, known = pd.concat([held, sets]), read("coverage")
    for name in ("level", "n", "coverage", "width"):
        np.testing.assert_allclose(known[name], found[name], atol=1e-6)


def list_standings(number: int) -> pd.DataFrame:
    """What the result's tables can show: model by (task, metric) to value, low, high.

    SemEval's Jaccard index stands in the paper's column "accuracy", which is another
    figure for the paper's own models.
    """
    theirs = score_files.read_published(number)
    official = (theirs["model"] == "Leaderboard(1)") & (theirs["metric"] == "accuracy")
    theirs.loc[official, "metric"] = "jaccard"
    theirs["model"] = theirs["model"].replace({"GPT4": "GPT-4"})
    profiles = pd.read_csv(NUMBERS / "emo_profile_readings_scores.csv")
    whole = pd.concat([read("answers_scores"), profiles, theirs])
    shown = whole["model"].isin(theirs["model"]) | whole["task"].isin(theirs["task"])
    return whole[shown].set_index(["model", "task", "metric"])[["value", "low", "high"]]


def format_cell(row: pd.Series, best: bool) -> str:
    text = f"**{row['value']:.3f}**" if best else f"{row['value']:.3f}"
    reach = f"<br>[{row['low']:.3f}, {row['high']:.3f}]"
    return text if pd.isna(row["low"]) else text + reach


@pytest.mark.parametrize("number", [5, 6])
def test_page_shows_the_scores(number):
    known, lines = list_standings(number), markdown.read_marked(f"table{number}")
    pairs = {head: markdown.read_head(head) for head in lines[0] if head != "model"}
    wanted = {p for p in score_files.COLUMNS[number] if "." not in p[1]}
    assert set(pairs.values()) == wanted - {("E-c", "accuracy")}
    names = [line["model"].strip("*") for line in lines]
    keys = [PUBLISHED.get(name, name) for name in names]
    best = known.loc[keys].groupby(["task", "metric"])["value"].max()
    for key, line in zip(keys, lines, strict=True):
        for head, pair in pairs.items():
            found = known.loc[(key, *pair)] if (key, *pair) in known.index else None
            cell = "–" if found is None else format_cell(found, found["value"] == best[pair])
            assert line[head] == cell, (key, head)


@pytest.mark.parametrize("number", [5, 6])
def test_page_shows_every_row_of_ours_that_differs(number):
    known = list_standings(number)["value"]
    names = [x["model"].strip("*") for x in markdown.read_marked(f"table{number}")]
    plain, joined = (known[name].sort_index() for name in (MODEL, f"{MODEL}, joined"))
    differ = not plain.equals(joined)
    rows = ["one pass", "joined", "single prompts"] if differ else ["one pass", "single prompts"]
    assert [n for n in names if n.startswith(MODEL)] == [f"{MODEL}, {row}" for row in rows]


def test_readme_shows_rows_of_the_result():
    shown, whole = (markdown.read_marked(name) for name in ("standings", "table5"))
    assert 0 < len(shown) <= 7 and all(line in whole for line in shown)


def test_page_shows_the_paired_differences():
    beside = pd.read_csv(NUMBERS / "emo_profile_beside.csv").rename(columns={"minus": "model"})
    whole = pd.concat([beside.assign(ours="one pass"), read("paired")])
    known = whole.set_index(["ours", "model", "task", "metric"])
    lines = markdown.read_marked("paired")
    heads = [head for head in lines[0] if head not in ("ours", "minus")]
    assert len(lines) * len(heads) == len(known)
    for line in lines:
        for head in heads:
            ours = line["ours"].replace("single prompts", "as asked")
            row = known.loc[(ours, line["minus"], *markdown.read_head(head))]
            text = f"{row['difference']:+.3f}"
            text = f"**{text}**" if row["p"] < 0.05 else text
            assert line[head] == f"{text}<br>[{row['low']:+.3f}, {row['high']:+.3f}]"


def test_page_shows_the_ablation():
    known = read("ablation").set_index(["variant", "task"])
    lines = markdown.read_marked("ablation")
    assert [line["variant"] for line in lines] == list(known.index.unique("variant"))
    for number, line in enumerate(lines):
        for task in known.index.unique("task"):
            row = known.loc[(line["variant"], task)]
            text = f"{row['difference']:+.3f}" if number else f"{row['value']:.3f}"
            text = f"**{text}**" if number and row["low"] * row["high"] > 0 else text
            reach = f"<br>[{row['low']:+.3f}, {row['high']:+.3f}]" if number else ""
            assert line[task] == text + reach


@pytest.mark.slow
def test_page_says_what_the_audit_found(kept):
    text = " ".join(markdown.read_pages().split())
    found = read("bias").query("weights == @kept[1]['adapter_weights']")
    assert len(found) == 10 and (found["items"] == "144 of 144 frames").all()
    assert found["difference"].abs().max() < 0.008
    said = re.search(r"More than the choice of first names(.*?)That is small", text)
    named = re.findall(r"(\w+) ([-+]0\.\d{3})", said[1])
    clear = found[found["p_names"] < 0.05]
    assert named == [(r.measure, f"{r.difference:+.3f}") for r in clear.itertuples()]


@pytest.mark.slow
def test_figures_show_the_trust(trust, held, tmp_path):
    style.set_style()
    joined = held[held["answers"] == "joined"]
    drawn = {
        "reliability": calibration_plots.draw_reliability(trust),
        "coverage": calibration_plots.draw_coverage(joined),
    }
    for kind, axes in drawn.items():
        style.save(axes, tmp_path / kind, "Data: AEB as built, corpora: official.")
        known = (ROOT / "figures" / f"{NAME}_{kind}.svg").read_bytes()
        assert (tmp_path / f"{kind}.svg").read_bytes() == known, kind


@pytest.mark.slow
def test_notebook_5_draws_the_committed_figures_and_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(builtins, "display", lambda *shown: None, raising=False)
    path = ROOT / "notebooks" / "05_draw_paper_figures.ipynb"
    notebooks.run_cells(path, {"figures": str(tmp_path)})
    names = [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.glob("**/*.*"))]
    kept = [name for name in names if not name.endswith(".png")]
    assert f"{NAME}_standings.svg" in kept and len(kept) == 6 + 4 * 3
    for name in kept:
        known = (ROOT / "figures" / name).read_bytes()
        assert (tmp_path / name).read_bytes() == known, name
