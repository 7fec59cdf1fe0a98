"""The tasks, one row each. Every other module reads what it needs from here.

Names are those of the released benchmark. Ranges, classes and emotions are the
corpora's own (SemEval-2018 Task 1, Mohammad et al. 2018), sizes are Tables 1 and 3
of the EmoLLMs paper, counted again on the corpora's files.
"""

from dataclasses import dataclass, field

from emolib import DataError

EMOTIONS = ("anger", "fear", "joy", "sadness")
NEUTRAL = "neutral or no emotion"
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Task:
    """One task: where its rows come from, what an answer is, how it is scored.

    `kind` is "score" (a number in `range`), "ordinal" (an integer key of `classes`)
    or "labels" (any subset of `labels`, possibly empty). `sizes` counts corpus rows per
    split; `metrics` names the primary metric first.
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
    max_new_tokens: int = 16  # the longest answer in any tokenizer tried, and some room
    version: int = 1


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
        sizes=_sizes(6838, 886, 3259),
        labels=_ELEVEN,
        max_new_tokens=40,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}


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
