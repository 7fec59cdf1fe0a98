"""Notes: a short phrase on a text that the tool was not made for. A note refuses nothing."""

import re
from collections.abc import Mapping
from functools import cache

from emolib.tasks import AAID, get

NOTES = {  # as the column says it -> as a summary says it of many texts
    "does not look English": "do not look English",
    "only a URL": "are only a URL",
    "only a mention": "are only a mention",
    "only emoji or punctuation": "are only emoji or punctuation",
    "HTML entities": "contain HTML entities",
    "contains an answer": "contain an answer of their own",
    "capitals and exclamation marks": "are in capitals with exclamation marks",
}
_SINGULAR = {"do": "does", "are": "is", "contain": "contains"}
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(r"@\w+")
# &amp; is common in the tweets that the models learned from.
_ENTITY = re.compile(r"&(?!amp;)(?:[a-z]{2,8}|#\d{1,6}|#x[\da-f]{1,6});", re.IGNORECASE)
_ENDS = "|".join(sorted({re.escape(get(task).answer) for task in AAID}))
_BEGINS = r"(?:^|[.!?])\s*"
_ANSWER = re.compile(
    rf"{_BEGINS}(?:assistant|{_ENDS})\s*:|<\|im_start\|>", re.IGNORECASE | re.MULTILINE
)
# Of 15,837 English texts (SemEval-2018, GoEmotions, VADER's tweets, SST) this rule notes 19, of
# which eight are in another language indeed; shorter texts are too often names and slang.
_REPEATED = re.compile(r"(\w)\1{2,}")
_LETTERS, _LEAST, _START = 8, 0.05, 2000
_LANGUAGES = "en de es fr it pt nl sv pl tr ru uk el he ar fa hi ja zh ko id"


def describe(text: str) -> str | None:
    """The text's notes, joined by "; ", or None.

    >>> describe("Das ist ja wunderbar, ich freue mich sehr")
    'does not look English'
    >>> describe("What a day")
    """
    without_urls = _URL.sub(" ", text)
    words = _MENTION.sub(" ", without_urls)
    if not any(map(str.isalnum, words)):
        return _describe_rest(text, without_urls, words)
    letters = "".join(filter(str.isalpha, words))
    upper = sum(map(str.isupper, letters))
    loud = text.count("!") >= 3 and len(letters) >= _LETTERS and upper > 0.8 * len(letters)
    found = {
        "does not look English": not _looks_english(words, letters),
        "HTML entities": _ENTITY.search(text),
        "contains an answer": _ANSWER.search(text),
        "capitals and exclamation marks": loud,
    }
    return "; ".join(note for note, is_so in found.items() if is_so) or None


def summarize(counts: Mapping[str, int], rows: int, unit: str = "text") -> str:
    """How many of the `rows` have which notes, as one line; "" if none has any.

    `counts`: values of the column `note` -> how often they are there.

    >>> summarize({"only a URL": 3}, 500)
    '3 of 500 texts are only a URL: see the column note'
    >>> summarize({"HTML entities": 1}, 2, "sentence")
    '1 of 2 sentences contains HTML entities: see the column note'
    """
    single = dict.fromkeys(NOTES, 0)
    for notes, count in counts.items():
        for note in notes.split("; "):
            single[note] += count
    among, parts = f" of {rows} {unit}s", []
    for note, count in single.items():
        if count:
            verb, rest = NOTES[note].split(" ", 1)
            verb = _SINGULAR[verb] if count == 1 else verb
            parts.append(f"{count}{'' if parts else among} {verb} {rest}")
    return f"{', '.join(parts)}: see the column note" if parts else ""


def _describe_rest(text: str, without_urls: str, words: str) -> str | None:
    if words.strip():
        return "only emoji or punctuation"
    if without_urls.strip():
        return "only a mention"
    return "only a URL" if text.strip() else None


def _looks_english(words: str, letters: str) -> bool:
    # A Chinese letter says more than a Latin one; two Latin words may be a name, or slang.
    if len(letters.encode()) < _LETTERS or (
        letters.isascii() and len(re.findall(r"\w+", words)) < 3
    ):
        return True
    words = _REPEATED.sub(r"\1\1", words)
    return dict(_load_languages().rank(words[:_START]))["en"] >= _LEAST


@cache
def _load_languages():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # two seconds, for the first text

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_LANGUAGES.split())
    return identifier
