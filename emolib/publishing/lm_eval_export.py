"""AEB as task files for lm-evaluation-harness, so that anyone can run it there.

The harness asks the model; reading and scoring stay this project's (`scoring.py` in the exported
folder calls `parsing` and `metrics`), so both give the same numbers.
"""

import json
from pathlib import Path

import yaml
from datasets import Dataset

from emolib import DataError, files
from emolib.tasks import Task, get

_SCORING = Path(__file__).with_name("lm_eval_scoring.py")


def export(rows: Dataset, folder: str | Path) -> list[str]:
    """The harness names of the tasks written: "aeb_EI-reg" and so on.

    The folder holds TASK.jsonl (id, emotion, instruction, prompt, gold) and TASK.yaml for every
    task among `rows`, aeb.yaml (all of them as one group) and scoring.py. In a Python that has
    emolib and the harness:

        lm_eval --include_path FOLDER --tasks aeb --model hf --model_args pretrained=...

    Decoding is greedy, as in `predict.predict` with method="generate". The rows hold the corpora's
    texts: an export of the real data is for own use, not for passing on. DataError for no rows, and
    for a folder that exists already.
    """
    if not len(rows):
        raise DataError("there are no rows to export")
    if Path(folder).exists():
        raise DataError(f"{folder} exists already: name another folder, or remove it")
    columns = ["task", "id", "emotion", "instruction", "prompt", "gold"]
    records = rows.select_columns(columns).to_list()
    names = []
    with files.replacing(Path(folder)) as temporary:
        temporary.mkdir(parents=True)
        for task in dict.fromkeys(rows["task"]):
            items = [row for row in records if row["task"] == task]
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in items]
            path = temporary / f"{task}.jsonl"
            path.write_text("".join(lines), encoding="utf-8", newline="\n")
            names.append(f"aeb_{task}")
            _write_task(temporary / f"{task}.yaml", get(task))
        group = yaml.safe_dump({"group": "aeb", "task": names}, sort_keys=False)
        (temporary / "aeb.yaml").write_text(group, encoding="utf-8")
        (temporary / "scoring.py").write_bytes(_SCORING.read_bytes())
    return names


def _write_task(path: Path, task: Task) -> None:
    metrics = [
        {"metric": name, "aggregation": f"scoring.{name}", "higher_is_better": name != "unparsed"}
        for name in (*task.primary_metrics, "unparsed")
    ]
    config = {
        "task": f"aeb_{task.name}",
        "custom_dataset": "scoring.load",
        "dataset_kwargs": {"task": task.name},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "gold",
        "generation_kwargs": {
            "until": ["</s>"],
            "do_sample": False,
            "max_gen_toks": task.max_new_tokens,
        },
        "process_results": "scoring.keep",
        "metric_list": metrics,
        "metadata": {"version": task.version},
    }
    text = yaml.safe_dump(config, sort_keys=False)
    # The harness finds functions by this tag, which a plain dump cannot write.
    path.write_text(text.replace(": scoring.", ": !function scoring."), "utf-8")
