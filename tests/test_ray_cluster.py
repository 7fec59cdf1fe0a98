import sys
import time
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

from emolib import DataError
from emolib.annotation import ray_cluster
from emolib.annotation.annotate import annotate
from emolib.annotation.columns import list_columns

ROWS = 60


PATIENCE = 300  # seconds; on two busy cores Ray needs up to a minute to start
TIMEOUTS = (
    "RAY_gcs_server_port_wait_time_s",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S",
    "RAY_worker_register_timeout_seconds",
)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine's own, whatever else is configured here, once it is up.

    Ray gives its node 30 seconds to sign on, in code that no setting reaches.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in TIMEOUTS:  # read when ray is imported
            patch.setenv(name, str(PATIENCE))
        import ray
        from ray._private import services

        get_node = wait_for_node(services.get_node)
        patch.setattr(services, "get_node", get_node)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100 * 2**20,
        )
        ray.get(ray.remote(lambda: None).remote())  # a worker is up, too
        yield
        ray.shutdown()


def wait_for_node(get_node):
    """`get_node`, which raises RuntimeError until the node is there, with patience."""

    def wait(*given):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(RuntimeError):
                return get_node(*given)
            time.sleep(0.5)
        return get_node(*given)

    return wait


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three Parquet files with copies, empty texts and columns of other types."""
    place = tmp_path_factory.mktemp("texts")
    texts = [f"Day {n % 23}: so {('glad', 'sad', 'angry')[n % 3]}" for n in range(ROWS)]
    texts[7], texts[30] = None, " "
    frame = pd.DataFrame({"id": range(ROWS), "body": texts, "tags": [["a", "b"]] * ROWS})
    for number in range(3):
        part = frame[number * 20 : number * 20 + 20]
        part.to_parquet(place / f"{number}.parquet", index=False)
    return place


@pytest.mark.slow
def test_two_workers_give_the_rows_of_the_plain_call(cluster, folder, tiny_model, tmp_path):
    settings = {"tasks": ("EI-reg", "V-oc", "E-c")}
    out = ray_cluster.annotate_folder(
        folder, tmp_path / "out", "body", tiny_model, workers=2, chunk=10, **settings
    )
    found, plain = pd.read_parquet(out), pd.read_parquet(folder)
    found = found.sort_values("id", ignore_index=True)  # Ray may reorder blocks
    assert list(found)[:3] == ["id", "body", "tags"]
    assert found["id"].tolist() == plain["id"].tolist() and len(found) == ROWS
    assert found["tags"].map(list).tolist() == plain["tags"].map(list).tolist()
    alone = annotate(plain["body"], tiny_model, progress=False, **settings)
    assert found["reason"].fillna("").tolist() == alone["reason"].fillna("").tolist()
    for name in list_columns(settings["tasks"]):
        ours, theirs = (f[name].astype("float64") for f in (found, alone))
        if name.startswith("has_") and not name.endswith("_confidence"):
            clear = alone[f"{name}_confidence"] > 0.501  # rounding tips what is not
            assert clear.mean() > 0.8
            ours, theirs = ours[clear], theirs[clear]
        assert np.allclose(ours, theirs, atol=2e-4, equal_nan=True), name


@pytest.mark.slow
def test_bad_folder_is_an_error_before_any_work(cluster, folder, tmp_path):
    with pytest.raises(DataError, match="no column 'text': there are id, body, tags"):
        ray_cluster.annotate_folder(folder, tmp_path / "out", model="vader")
    with pytest.raises(DataError, match="there already"):
        ray_cluster.annotate_folder(folder, tmp_path, "body", model="vader")
    clash = tmp_path / "clash"
    clash.mkdir()
    pd.DataFrame({"text": ["a"], "valence": [0.1]}).to_parquet(clash / "1.parquet")
    with pytest.raises(DataError, match="already has the columns valence"):
        ray_cluster.annotate_folder(clash, tmp_path / "out", model="vader")
    assert not (tmp_path / "out").exists()


def test_missing_ray_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"pip install 'emolib\[scale\]'"):
        ray_cluster.annotate_folder(tmp_path, tmp_path / "out")
