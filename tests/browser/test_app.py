"""`emolib app` in headless Chromium: a sentence, a file of 2,000 rows, a broken and a large one.

Needs Chromium from the system's packages. Screenshots stay in runs/browser.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile

import pandas as pd
import pytest
from test_lab import FLAGS, PICTURES, ROOT

pytestmark = pytest.mark.browser
WAIT = 120_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    log = tmp_path_factory.mktemp("app") / "log"
    command = [sys.executable, "-m", "emolib", "app", "--no-browser", "--model", "vader"]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, env=env) as it:
        for _ in range(240):
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", log.read_text()):
                break
            assert it.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
        time.sleep(3)
        yield found.group()
        it.terminate()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "no chromium on the PATH: install it from the system's packages"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address)
    page.wait_for_selector("button:has-text('Read it')", timeout=WAIT)
    yield page
    page.close()


def shoot(page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(1000)
    page.screenshot(path=PICTURES / f"app_{name}.png", full_page=True)


def give(page, path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("button:has-text('Choose a file')")
    chooser.value.set_files(path)


def test_nobody_gets_in_without_the_token(address):
    with urllib.request.urlopen(address.partition("?")[0], timeout=30) as answer:
        assert "login" in answer.url and "Emotions in texts" not in answer.read().decode()


def test_sentence_is_read(page):
    page.fill("textarea", "What a wonderful, wonderful day!")
    page.click("button:has-text('Read it')")
    page.wait_for_selector("td:has-text('0.9')", timeout=WAIT)
    shoot(page, "sentence")


def test_large_file_is_annotated_validated_and_taken_away(page, tmp_path):
    days = pd.date_range("2024-01-01", periods=2000).strftime("%Y-%m-%d")
    texts = [f"day {n}: {('lovely', 'dull', 'horrible')[n % 3]}" for n in range(2000)]
    table = pd.DataFrame({"day": days, "body": texts, "mine": [7 - n % 3 * 3 for n in range(2000)]})
    table.to_csv(tmp_path / "mine.csv", index=False)
    give(page, tmp_path / "mine.csv")
    page.wait_for_selector("text=mine.csv: 2000 rows", timeout=WAIT)
    page.get_by_label("dates").select_option("day")
    page.get_by_label("ratings").select_option("mine")
    page.click("button:has-text('Annotate')")
    page.wait_for_selector("text=Done: 2000 rows", timeout=WAIT)
    page.wait_for_selector("text=Beside your ratings", timeout=WAIT)
    page.wait_for_function("document.querySelectorAll('img').length >= 2", timeout=WAIT)
    shoot(page, "laptop")
    with page.expect_download() as download:
        page.click("a:has-text('annotated.zip')")
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert {"mine_annotated.csv", "mine_annotated.csv.codebook.csv"} <= set(names)
    assert "validation/report.html" in names
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, "phone")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 400  # nothing to scroll sideways for


def test_broken_file_gets_a_sentence(page, tmp_path):
    (tmp_path / "broken.csv").write_text('text,a\n"never closed,1\nx,2\n')
    give(page, tmp_path / "broken.csv")
    page.wait_for_selector("text=/broken\\.csv:\\d/", timeout=WAIT)
    assert page.locator("button:has-text('Annotate')").is_disabled()


def test_file_that_is_too_large_gets_a_sentence(page, tmp_path):
    (tmp_path / "large.csv").write_bytes(b"text\n" + b"x" * 60 * 2**20)
    give(page, tmp_path / "large.csv")
    page.wait_for_selector("text=large.csv is 60 MB, more than 50", timeout=WAIT)


def test_file_alone_is_annotated(page, tmp_path):
    (tmp_path / "plain.csv").write_text("body\nWhat a lovely day!\nHow dull.\n")
    give(page, tmp_path / "plain.csv")
    page.wait_for_selector("text=plain.csv: 2 rows", timeout=WAIT)
    page.click("button:has-text('Annotate')")
    page.wait_for_selector("text=Done: 2 rows", timeout=WAIT)
    page.wait_for_selector("td:has-text('How dull.')", timeout=WAIT)
