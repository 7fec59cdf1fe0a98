"""The tasks, one row each. Every other module reads what it needs from here.

Names are those of the released benchmark, but for AEB-3, which is ours. Ranges, classes and
emotions are the corpora's own (emolib/data/corpora names each publisher), sizes are Tables 1 and 3
of the EmoLLMs paper, counted again on the corpora's files.
"""

from dataclasses import dataclass, field

from emolib import DataError

EMOTIONS = ("anger", "fear", "joy", "sadness")
NEUTRAL = "neutral or no emotion"
SPLITS = ("train", "dev", "test")
THRESHOLD = 0.5  # a label counts from this probability on, unless a rule says another
METRIC_NAMES = {  # as tables and figures show them
    "pearson": "r",
    "accuracy": "acc.",
    "jaccard": "Jaccard",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
}


@dataclass(frozen=True)
class Task:
    """One task: where its rows come from, what an answer is, how it is scored.

    `kind` is "score" (a number in `range`), "ordinal" (an integer key of `classes`) or "labels"
    (any subset of `labels`). `range` is the corpus's own; `ask` names the task whose instructions
    are used, where it is another one. `sizes` counts corpus rows per split, `draw` of the test rows
    enter the benchmark (None: all). `metrics` names the primary metrics first, and `primary` says
    how many they are.
    """

    name: str
    kind: str
    corpus: str
    stem: str  # how the publisher's files of this task begin
    answer: str  # the answer's name at the end of a prompt
    metrics: tuple[str, ...]
    sizes: dict[str, int]
    noun: str = "Tweet"  # what a prompt calls the text
    emotions: tuple[str, ...] = ()  # one file and one score per emotion
    range: tuple[float, float] | None = None
    classes: dict[int, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    neutral: str = NEUTRAL  # the answer of a label task where no label applies
    ask: str = ""
    draw: int | None = None
    primary: int = 1
    max_new_tokens: int = 16  # the longest answer in any tokenizer tried, and some room
    version: int = 1

    @property
    def items(self) -> int:
        """How many items of this task the benchmark has, on the official data."""
        return self.draw or self.sizes["test"]

    @property
    def primary_metrics(self) -> tuple[str, ...]:
        """The metrics that tables show."""
        return self.metrics[: self.primary]


def _sizes(train, dev, test):
    return {"train": train, "dev": dev, "test": test}


_AMOUNTS = ("no", "low amount of", "moderate amount of", "high amount of")
_AMOUNTS = {i: f"{x} {{emotion}} can be inferred" for i, x in enumerate(_AMOUNTS)}
_VALENCE = ("very negative", "moderately negative", "slightly negative", "neutral or mixed")
_VALENCE += ("slightly positive", "moderately positive", "very positive")
_VALENCE = {i: f"{x} emotional state can be inferred" for i, x in enumerate(_VALENCE, start=-3)}
_ELEVEN = "anger anticipation disgust fear joy love optimism pessimism sadness surprise trust"
_FIVE = ("very negative", "negative", "neutral", "positive", "very positive")
_THREE = {-1: "negative", 0: "neutral", 1: "positive"}
_EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")

_SCORE = {"kind": "score", "answer": "Intensity Score", "range": (0.0, 1.0)}
_SCORE |= {"corpus": "semeval2018", "metrics": ("pearson", "pearson_gold_0.5_to_1")}
_CLASS = {"kind": "ordinal", "answer": "Intensity Class", "max_new_tokens": 20}
_CLASS |= {"metrics": ("pearson", "pearson_gold_not_0", "qwk", "qwk_gold_not_0")}
_CLASS |= {"corpus": "semeval2018"}
_LABELS = {"kind": "labels", "answer": "This tweet contains emotions", "max_new_tokens": 40}
_EMOTION = {"emotions": EMOTIONS, "sizes": _sizes(7102, 1464, 4068)}
_WHOLE = {"sizes": _sizes(1181, 449, 937)}
_EC = {"stem": "E-c", "corpus": "semeval2018", "sizes": _sizes(6838, 886, 3259)}
_EC |= {"metrics": ("jaccard", "f1_micro", "f1_macro"), "primary": 3}
_ROWS = (
    Task("EI-reg", stem="EI-reg", **_SCORE, **_EMOTION),
    Task("EI-oc", stem="EI-oc", classes=_AMOUNTS, **_CLASS, **_EMOTION),
    Task("V-reg", stem="Valence-reg", **_SCORE, **_WHOLE),
    Task("V-oc", stem="Valence-oc", classes=_VALENCE, **_CLASS, **_WHOLE),
    Task("E-c", labels=tuple(_ELEVEN.split()), **_EC, **_LABELS),
)

# The nine data sets that no model here was trained on.
_RATED = {"kind": "score", "answer": "Intensity Score", "metrics": ("pearson",), "noun": "Text"}
_SORTED = {"kind": "ordinal", "metrics": ("accuracy", "f1_macro"), "primary": 2, "noun": "Text"}
_VADER = _RATED | {"corpus": "vader", "range": (-4.0, 4.0), "ask": "V-reg", "draw": 1000}
_EMOBANK = _RATED | {"corpus": "emobank", "range": (1.0, 5.0), "sizes": _sizes(8062, 1000, 1000)}
_SST = {"corpus": "sst", "stem": "SST", "sizes": _sizes(8544, 1101, 2210)}
_TDT = {"corpus": "tdt", "stem": "TDT", "sizes": {"train": 6248, "test": 692}}
_GOEMOTIONS = {"corpus": "goemotions", "stem": "GoEmotions", "sizes": _sizes(43410, 5426, 5427)}
_GOEMOTIONS |= {"metrics": ("accuracy", "f1_macro", "jaccard", "f1_micro"), "primary": 2}
_GOEMOTIONS |= {"noun": "Text"}
_ZERO_SHOT = (
    Task("V-A", stem="amazonReviewSnippets", sizes={"test": 3708}, **_VADER),
    Task("V-M", stem="movieReviewSnippets", sizes={"test": 10605}, **_VADER),
    Task("V-NYT", stem="nytEditorialSnippets", sizes={"test": 5190}, **_VADER),
    Task("V-T", stem="tweets", sizes={"test": 4200}, **_VADER),
    Task("EmoBank-V", stem="V", ask="V-reg", **_EMOBANK),  # the stem is the column
    Task("EmoBank-A", stem="A", **_EMOBANK),
    Task("EmoBank-D", stem="D", **_EMOBANK),
    Task("SST", range=(0.0, 1.0), ask="V-reg", **_RATED, **_SST),
    Task("SST5", answer="Sentiment Class", classes=dict(enumerate(_FIVE)), **_SORTED, **_SST),
    Task("TDT", answer="Intensity Class", classes=_THREE, **_SORTED, **_TDT),
    Task("GoEmotions", labels=_EKMAN, neutral="", **_GOEMOTIONS, **_LABELS),
)

# Newer benchmarks, not the paper's: AEB-3 is our name for them.
_FIVE_EMOTIONS = (*EMOTIONS, "surprise")
_BRIGHTER = {"corpus": "brighter", "stem": "eng", "noun": "Text"}
_PRESENT = {"labels": _FIVE_EMOTIONS, "metrics": ("f1_macro", "f1_micro", "jaccard"), **_LABELS}
_STRONG = {"emotions": _FIVE_EMOTIONS, "range": (0.0, 3.0), "ask": "EI-reg"}
_STRONG |= {"sizes": _sizes(13815, 575, 13825)}
_DIARY = _RATED | {"corpus": "semeval2026task2", "sizes": {"train": 2764, "test": 1737}}
_NEWER = (
    Task("BRIGHTER-A", sizes=_sizes(2764, 115, 2765), **_PRESENT, **_BRIGHTER),
    Task("BRIGHTER-B", **_RATED | _STRONG | _BRIGHTER),
    Task("SemEval2026-V", stem="valence", range=(-2.0, 2.0), ask="V-reg", **_DIARY),
    Task("SemEval2026-A", stem="arousal", range=(0.0, 2.0), ask="EmoBank-A", **_DIARY),
)

AAID = tuple(task.name for task in _ROWS)  # trained on, and AEB-1 when tested
AEB_2 = tuple(task.name for task in _ZERO_SHOT)  # tested only
AEB = AAID + AEB_2  # the paper's benchmark
AEB_3 = tuple(task.name for task in _NEWER)
TASKS: dict[str, Task] = {task.name: task for task in (*_ROWS, *_ZERO_SHOT, *_NEWER)}


def get(name: str) -> Task:
    """The task called `name`; DataError with all names if there is none."""
    if name not in TASKS:
        raise DataError(f"no task {name!r}: the tasks are {', '.join(TASKS)}")
    return TASKS[name]


def describe_class(task: Task, value: int, emotion: str | None = None) -> str:
    """A class as the corpus writes it.

    >>> describe_class(TASKS["EI-oc"], 2, "joy")
    '2: moderate amount of joy can be inferred'
    """
    return f"{value}: {task.classes[value].format(emotion=emotion)}"
