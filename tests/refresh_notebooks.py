"""Executes the committed notebooks in place (make notebooks): all, or those of some numbers.

What goes to the error stream is not kept.
"""

import sys

import nbformat
from nbclient import NotebookClient

from emolib import files, notebooks

for path in notebooks.find_notebooks(sys.argv[1:]):
    print(f"{path.name} ...", flush=True)
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=place).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    with files.replacing(path) as temporary:
        nbformat.write(notebook, temporary)
