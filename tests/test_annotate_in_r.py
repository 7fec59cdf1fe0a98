"""The R script beside the notebooks, where R is installed."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT

SCRIPT = ROOT / "notebooks" / "annotate_in_r.R"


def test_page_shows_the_script_and_its_function():
    page, script = SCRIPT.with_suffix(".md").read_text(), SCRIPT.read_text()
    assert SCRIPT.name in page and "annotate <- function(rows, column" in script


@pytest.mark.slow
def test_data_frame_from_r_comes_back_annotated(tmp_path):
    asked = 'quit(status = !requireNamespace("reticulate", quietly = TRUE))'
    if not shutil.which("Rscript") or subprocess.run(["Rscript", "-e", asked]).returncode:
        pytest.skip("needs R with reticulate: apt-get install r-base-core r-cran-reticulate")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,body\n1,"I love it 😍"\n2,\n3,"Bad, bad ""day"""\n')
    words = ["Rscript", str(SCRIPT), str(source), str(target), "body", "vader"]
    surroundings = os.environ | {"RETICULATE_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    subprocess.run(words, env=surroundings, check=True, timeout=120)
    found = pd.read_csv(target)
    assert list(found) == ["id", "body", "valence", "valence_confidence", "reason", "note"]
    assert found["valence"][0] > 0.8 > 0.3 > found["valence"][2]
    assert found["reason"].dropna().to_dict() == {1: "empty text"}


@pytest.mark.slow
def test_command_line_called_from_r_gives_the_same(tmp_path):
    if not shutil.which("Rscript"):
        pytest.skip("needs R: apt-get install r-base-core")
    program = f'system2("{sys.executable}", c("-m", "emolib", "annotate", "in.csv", "out.csv",'
    code = 'Sys.unsetenv("LD_LIBRARY_PATH");'  # R's, in which another libpython may lie
    code += 'rows <- data.frame(id = 1:2, text = c("so good", NA));'
    code += 'write.csv(rows, "in.csv", row.names = FALSE, na = "");'
    code += program + ' "--model", "vader", "--quiet"));'
    code += 'stopifnot(nrow(read.csv("out.csv", na.strings = "")) == 2)'
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(["Rscript", "-e", code], env=surroundings, cwd=tmp_path, check=True, timeout=120)
    assert pd.read_csv(tmp_path / "out.csv")["reason"].tolist()[1] == "empty text"
