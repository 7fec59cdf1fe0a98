"""AEB as task files for lm-evaluation-harness, so that anyone can run it there.

The harness asks the model; reading and scoring stay this project's (`scoring.py` in the exported
folder calls `parsing` and `metrics`), so both give the same numbers.
"""

import json
from pathlib import Path

from jinja2 import Template

from emolib import DataError, files
from emolib.data.rows import Rows, to_dataset
from emolib.tasks import get


def export(rows: Rows, folder: str | Path) -> list[str]:
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
    here, names = Path(__file__).parent, list(dict.fromkeys(rows["task"]))
    template = Template((here / "lm_eval_task.yaml").read_text("utf-8"))
    made = {"scoring.py": [(here / "lm_eval_scoring.py").read_text("utf-8")]}
    made["aeb.yaml"] = ["group: aeb\ntask:\n", *(f"- aeb_{name}\n" for name in names)]
    for name in names:
        metrics = [*get(name).primary_metrics, "unparsed"]
        made[f"{name}.yaml"] = [template.render(task=get(name), metrics=metrics)]
    for row in to_dataset(rows).select_columns(columns).to_list():
        lines = made.setdefault(f"{row['task']}.jsonl", [])
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    with files.replacing(Path(folder)) as temporary:
        temporary.mkdir(parents=True)
        for name, lines in made.items():
            files.write_text(temporary / name, "".join(lines))
    return [f"aeb_{name}" for name in names]
