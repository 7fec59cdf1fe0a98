"""The committed results of the benchmarks, their figures and their page agree."""

import importlib.util
import json
import statistics
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT / "figures" / "data"


@pytest.fixture(scope="module")
def draw():
    place = ROOT / "tests" / "bench" / "draw.py"
    spec = importlib.util.spec_from_file_location("draw", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["annotate", "predict", "profile", "train"])
def test_page_shows_the_committed_benchmark(draw, name):
    assert draw.tabulate(name, DATA) in (ROOT / "tests" / "bench" / "README.md").read_text()


@pytest.mark.parametrize("name", ["annotate", "predict", "profile", "train"])
def test_summary_is_that_of_the_rounds(draw, name):
    rounds = pd.read_csv(DATA / f"bench_{name}.csv")
    summary = pd.read_csv(DATA / f"bench_{name}_summary.csv").set_index("contestant")
    wide = rounds.pivot(index="round", columns="contestant", values="per_second")
    for who in wide:
        assert summary.loc[who, "per_second"] == pytest.approx(wide[who].median(), 1e-4)
        ratio = (wide[draw.OURS.get(name, "emolib")] / wide[who]).median()
        assert summary.loc[who, "ratio"] == pytest.approx(ratio, rel=1e-4)


def test_figures_are_drawn_from_the_committed_numbers(draw, tmp_path, monkeypatch):
    monkeypatch.setattr(draw.sys, "argv", ["draw", str(DATA), str(tmp_path)])
    draw.main()
    made = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert made == [f"bench_{name}.svg" for name in ("annotate", "growth", "predict", "train")]
    for name in made:
        committed = (ROOT / "figures" / name).read_bytes()
        assert (tmp_path / name).read_bytes() == committed, "run tests/bench/draw.py"


def test_page_says_what_the_gpu_gave():
    page = " ".join((ROOT / "tests" / "bench" / "README.md").read_text().split())
    found = json.loads((DATA / "bench_gpu.json").read_text())
    training = found["training, nf4"]
    first, *rest = training["seconds"]
    tokens = f"{min(training['tokens']):,} to {max(training['tokens']):,} tokens"
    told = [tokens, f"{statistics.median(rest):.2f} s a step", f"{first} s", "16.0 GiB"]
    assert f"{training['peak_gib']:.1f}" == "16.0"
    for budget in (4096, 16384):
        own = found[f"profiles, nf4, rows of {budget} tokens"]
        told += [f"{own['texts_per_s']:.0f}", f"{own['peak_gib']:.1f} GiB"]
    assert not [text for text in told if text not in page]


def test_page_says_where_a_step_on_profiles_spends_its_time():
    page = " ".join((ROOT / "tests" / "bench" / "README.md").read_text().split())
    shares = json.loads((DATA / "bench_profile.json").read_text())["settings"]["shares"]
    base, lora = shares["products of the base"], shares["products of LoRA"]
    attention = shares["attention's products"]
    rest = shares["additions, norms, activations and the rest"]
    told = f"{base:.0%} of the time is products of the frozen base, {lora:.0%} those of LoRA, "
    told += f"{attention:.0%} attention's, {rest:.0%} additions, norms, activations and the rest"
    assert told.replace("%", " %") in page
    tokens = pd.read_csv(DATA / "bench_profile.csv").pivot(
        index="round", columns="contestant", values="tokens"
    )
    rates = pd.read_csv(DATA / "bench_profile.csv")["tokens_per_second"]
    assert f"{rates.min():.0f} to {rates.max():.0f} tokens a second" in page
    ratio = tokens["padded rows"] / tokens["emolib"]
    assert ratio.min() >= 15.5 and ratio.max() <= 17.5
