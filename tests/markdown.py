"""Markdown tables of the project's pages, for tests that hold them against numbers."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "papers").glob("*/*.md"))]
UNITS = {"": "pearson", "r": "pearson", "acc.": "accuracy", "Jaccard": "jaccard"}
UNITS |= {"micro F1": "f1_micro", "macro F1": "f1_macro"}


def read_pages() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


def read_marked(name: str) -> list[dict[str, str]]:
    """Rows, by column head, of the table between the marks <!-- name -->."""
    marked = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", read_pages(), re.S)
    (text,) = marked  # on one page, once
    return _split(text.strip().splitlines())


def find_table(head: str) -> list[dict[str, str]]:
    """Rows, by column head, of the one table whose line of heads is `head`."""
    lines = read_pages().splitlines()
    assert lines.count(head) == 1, head
    rest = lines[lines.index(head) :]
    end = next((n for n, line in enumerate(rest) if not line.startswith("|")), None)
    return _split(rest[:end])


def _split(lines: list[str]) -> list[dict[str, str]]:
    inner = [line.strip().removeprefix("|").removesuffix("|") for line in lines]
    heads, _, *rows = [[cell.strip() for cell in line.split("|")] for line in inner]
    return [dict(zip(heads, row, strict=True)) for row in rows]


def read_head(head: str) -> tuple[str, str]:
    """The task and metric that a column's head names: "E-c Jaccard", "V-A r"."""
    first, _, unit = head.partition(" ")
    return first, UNITS[unit]
