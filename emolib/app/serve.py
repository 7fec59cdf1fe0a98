"""Serves the page to this machine alone: Voilà at 127.0.0.1, with a token."""

import json
import os
import secrets
import socket
import tempfile
import webbrowser
from pathlib import Path
from threading import Timer

from emolib import DataError

_CELL = "from emolib.app.page import Page\nPage({model!r}).show()"
_HERE = "127.0.0.1"
_SOCKET = 2**30  # bytes of a message: a file comes as one


def serve(model: str, port: int = 0, browser: bool = True) -> None:
    """Opens the page and serves it until Ctrl-C. `port` 0: one that is free.

    The address is printed; it holds a token, without which nobody gets in. DataError where Voilà
    is not installed.
    """
    try:
        from voila.app import Voila
    except ImportError as error:
        hint = "pip install 'emolib[app]'"
        raise DataError(f"the page needs Voilà, which is not installed ({error}): {hint}") from None
    token, port = secrets.token_urlsafe(24), port or _find_port()
    address = f"http://{_HERE}:{port}/?token={token}"
    os.environ.setdefault("MPLBACKEND", "agg")
    with tempfile.TemporaryDirectory(prefix="emolib-") as folder:
        path = Path(folder, "emotions.ipynb")
        path.write_text(json.dumps(_write_notebook(_CELL.format(model=model))), encoding="utf-8")
        app = Voila(token=token)
        app.tornado_settings = {"websocket_max_message_size": _SOCKET}
        app.initialize([str(path), f"--Voila.ip={_HERE}", f"--port={port}", "--no-browser"])
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if browser:
            Timer(2, webbrowser.open, [address]).start()
        app.start()


def _find_port() -> int:
    with socket.create_server((_HERE, 0)) as taken:
        return taken.getsockname()[1]


def _write_notebook(source: str) -> dict:
    cell = {"cell_type": "code", "id": "page", "metadata": {}, "source": source, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "title": "Emotions in texts"}
    cells = [cell | {"execution_count": None}]
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
