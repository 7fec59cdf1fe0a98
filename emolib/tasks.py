"""The tasks, one row each. Every other module reads what it needs from here.

Names are those of the released benchmark. Ranges, classes and emotions are the
corpora's own (emolib/corpora names each publisher), sizes are Tables 1 and 3 of the
EmoLLMs paper, counted again on the corpora's files.
"""

from dataclasses import dataclass, field

from emolib import DataError

EMOTIONS = ("anger", "fear", "joy", "sadness")
NEUTRAL = "neutral or no emotion"
SPLITS = ("train", "dev", "test")
THRESHOLD = 0.5  # a label counts from this probability on, unless a rule says another


@dataclass(frozen=True)
class Task:
    """One task: where its rows come from, what an answer is, how it is scored.

    `kind` is "score" (a number in `range`), "ordinal" (an integer key of `classes`)
    or "labels" (any subset of `labels`). `range` is the corpus's own; `ask` names the
    task whose instructions are used, where it is another one. `sizes` counts corpus
    rows per split, `draw` of the test rows enter the benchmark (None: all). `metrics`
    names the primary metrics first, and `primary` says how many they are.
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


_INTENSITY = ("no {emotion}", "low amount of {emotion}", "moderate amount of {emotion}")
_INTENSITY += ("high amount of {emotion}",)
_VALENCE = ("very negative", "moderately negative", "slightly negative")
_VALENCE += ("neutral or mixed",)
_VALENCE += ("slightly positive", "moderately positive", "very positive")

_ELEVEN = ("anger", "anticipation", "disgust", "fear", "joy", "love", "optimism")
_ELEVEN += ("pessimism", "sadness", "surprise", "trust")

_ROWS = (
    Task(
        name="EI-reg",
        kind="score",
        corpus="semeval2018",
        stem="EI-reg",
        answer="Intensity Score",
        metrics=("pearson", "pearson_gold_0.5_to_1"),
        sizes=_sizes(7102, 1464, 4068),
        emotions=EMOTIONS,
        range=(0.0, 1.0),
    ),
    Task(
        name="EI-oc",
        kind="ordinal",
        corpus="semeval2018",
        stem="EI-oc",
        answer="Intensity Class",
        metrics=("pearson", "pearson_gold_not_0", "qwk", "qwk_gold_not_0"),
        sizes=_sizes(7102, 1464, 4068),
        emotions=EMOTIONS,
        classes={i: f"{text} can be inferred" for i, text in enumerate(_INTENSITY)},
        max_new_tokens=20,
    ),
    Task(
        name="V-reg",
        kind="score",
        corpus="semeval2018",
        stem="Valence-reg",
        answer="Intensity Score",
        metrics=("pearson", "pearson_gold_0.5_to_1"),
        sizes=_sizes(1181, 449, 937),
        range=(0.0, 1.0),
    ),
    Task(
        name="V-oc",
        kind="ordinal",
        corpus="semeval2018",
        stem="Valence-oc",
        answer="Intensity Class",
        metrics=("pearson", "pearson_gold_not_0", "qwk", "qwk_gold_not_0"),
        sizes=_sizes(1181, 449, 937),
        classes={
            i: f"{text} emotional state can be inferred"
            for i, text in enumerate(_VALENCE, start=-3)
        },
        max_new_tokens=20,
    ),
    Task(
        name="E-c",
        kind="labels",
        corpus="semeval2018",
        stem="E-c",
        answer="This tweet contains emotions",
        metrics=("jaccard", "f1_micro", "f1_macro"),
        primary=3,
        sizes=_sizes(6838, 886, 3259),
        labels=_ELEVEN,
        max_new_tokens=40,
    ),
)


def _vader(name: str, stem: str, rows: int) -> Task:
    return Task(
        name=name,
        kind="score",
        corpus="vader",
        stem=stem,
        answer="Intensity Score",
        metrics=("pearson",),
        sizes={"test": rows},
        noun="Text",
        range=(-4.0, 4.0),
        ask="V-reg",
        draw=1000,
    )


def _emobank(letter: str) -> Task:
    return Task(
        name=f"EmoBank-{letter}",
        kind="score",
        corpus="emobank",
        stem=letter,  # the column
        answer="Intensity Score",
        metrics=("pearson",),
        sizes=_sizes(8062, 1000, 1000),
        noun="Text",
        range=(1.0, 5.0),
        ask="V-reg" if letter == "V" else "",
    )


_CLASSES = {"noun": "Text", "metrics": ("accuracy", "f1_macro"), "primary": 2}
_SST = {"corpus": "sst", "sizes": _sizes(8544, 1101, 2210)}
_ZERO_SHOT = (
    _vader("V-A", "amazonReviewSnippets", 3708),
    _vader("V-M", "movieReviewSnippets", 10605),
    _vader("V-NYT", "nytEditorialSnippets", 5190),
    _vader("V-T", "tweets", 4200),
    _emobank("V"),
    _emobank("A"),
    _emobank("D"),
    Task(
        name="SST",
        kind="score",
        stem="SST",
        answer="Intensity Score",
        metrics=("pearson",),
        noun="Text",
        range=(0.0, 1.0),
        ask="V-reg",
        **_SST,
    ),
    Task(
        name="SST5",
        kind="ordinal",
        stem="SST",
        answer="Sentiment Class",
        classes=dict(
            enumerate(
                ("very negative", "negative", "neutral", "positive", "very positive")
            )
        ),
        **_CLASSES,
        **_SST,
    ),
    Task(
        name="TDT",
        kind="ordinal",
        corpus="tdt",
        stem="TDT",
        answer="Intensity Class",
        sizes={"train": 6248, "test": 692},
        classes={-1: "negative", 0: "neutral", 1: "positive"},
        **_CLASSES,
    ),
    Task(
        name="GoEmotions",
        kind="labels",
        corpus="goemotions",
        stem="GoEmotions",
        answer="This tweet contains emotions",
        metrics=("accuracy", "f1_macro", "jaccard", "f1_micro"),
        primary=2,
        sizes=_sizes(43410, 5426, 5427),
        noun="Text",
        labels=("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"),
        neutral="",
        max_new_tokens=40,
    ),
)

AAID = tuple(task.name for task in _ROWS)  # trained on, and AEB-1 when tested
AEB_2 = tuple(task.name for task in _ZERO_SHOT)  # tested only
TASKS: dict[str, Task] = {task.name: task for task in (*_ROWS, *_ZERO_SHOT)}


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
