"""Notebooks in a real JupyterLab, in headless Chromium: `make browser`.

Needs Chromium from the system's packages. Screenshots stay in runs/browser.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "runs" / "browser"
TOKEN = "browser-test"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
LONGEST = 15 * 60_000  # milliseconds for a notebook on two busy cores
DONE = """() => {
  const book = window.jupyterapp.shell.currentWidget;
  const cells = book.content.widgets.filter(c => c.model.type === 'code');
  return cells.length > 0 && cells.every(c => c.model.executionCount !== null)
    && book.sessionContext.session.kernel.status === 'idle';
}"""
SEEN = "[...document.querySelectorAll('.jp-WindowedPanel-outer')].find(p => p.offsetHeight)"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab over a copy of the notebooks; it writes nothing here."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", home)  # what `runs.place` looks for
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    whole = '{"windowingMode": "none"}'  # every cell is in the page, seen or not
    (settings / "tracker.jupyterlab-settings").write_text(whole)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--expose-app-in-browser", f"--IdentityProvider.token={TOKEN}"),
        *("--port=0", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={home}"),
    ]
    env = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    env |= {"HF_HUB_OFFLINE": "1", "JUPYTER_CONFIG_DIR": str(home / "config")}
    env.pop("MPLBACKEND", None)  # set for the other tests, it hides figures here
    log = (home / "log").open("w")
    with subprocess.Popen(command, stderr=log, env=env, cwd=home) as server:
        yield find_address(server, home / "log")
        server.terminate()


def find_address(server: subprocess.Popen, log: Path) -> str:
    for _ in range(240):
        found = re.search(r"http://127\.0\.0\.1:(\d+)/lab", log.read_text())
        if found:
            return found.group()
        assert server.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "no chromium on the PATH: install it from the system's packages"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 1000})
        browser.close()


def run_all(page, address: str, name: str) -> None:
    """Opens a notebook, clears its outputs and runs all of it, by the menus."""
    page.goto(f"{address}/tree/notebooks/{name}.ipynb?token={TOKEN}")
    page.wait_for_selector(".jp-NotebookPanel:visible .jp-CodeCell", timeout=120_000)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=120_000)
    for menu, entry in (("Edit", "Clear Outputs of All Cells"), ("Run", "Run All Cells")):
        page.click(f".lm-MenuBar-itemLabel:text-is('{menu}')")
        page.click(f".lm-Menu-itemLabel:text-is('{entry}')")
    page.wait_for_function(DONE, timeout=LONGEST, polling=1000)


FIGURES = {"00_annotate_texts": 2, "01_build_aaid": 0}
FIGURES |= {"02_finetune_qlora": 2, "09_tune_on_your_labels": 1}


@pytest.mark.parametrize(("name", "figures"), FIGURES.items())
def test_notebook_runs_without_an_error_and_shows_its_figures(lab, page, name, figures):
    run_all(page, lab, name)
    height = page.evaluate(f"{SEEN}.scrollHeight")
    page.set_viewport_size({"width": 1280, "height": min(16_000, height + 200)})
    page.evaluate(f"{SEEN}.scrollTop = 0")
    page.wait_for_timeout(2000)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.first.inner_text()
    shown = page.locator(".jp-OutputArea-output img").evaluate_all(
        "all => all.filter(i => i.naturalWidth > 100 && i.offsetHeight > 50).length"
    )
    assert shown >= figures
    assert page.locator(".jp-OutputArea-output").count() > 5
