"""What the benchmarks share: the machine's own limits, contestants taken in turn.

Contestants' processes import this module too, so what is large is imported where it is
used: a peak of memory is to be the contestant's own.
"""

import contextlib
import math
import multiprocessing
import os
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

FIGURES = Path(__file__).parents[2] / "figures" / "data"
_PACKAGES = "torch transformers trl peft bitsandbytes lm_eval llama_cpp_python vllm"


def count_cores() -> int:
    """The threads a contestant may use: OMP_NUM_THREADS, else all cores given to us."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else len(os.sched_getaffinity(0))


def measure_machine() -> dict:
    """CPU, cores, versions and commit, and what the machine can do at most.

    `bf16_gflops` and `fp32_gflops`: the best of several matrix products in torch,
    with the threads torch takes here, medians beside them. `copy_gb_per_s` counts bytes
    read and bytes written. All on the CPU.
    """
    import torch

    from emolib import runs

    found: dict = {"cpu": _read_cpu(), "cores": os.cpu_count()}
    found["torch_threads"] = torch.get_num_threads()
    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        # The best size differs between machines and number types.
        slow = _measure_product(256, dtype)[0] < 5  # a number type that is emulated
        rates = [_measure_product(size, dtype) for size in ((256,) if slow else (1024, 2048, 4096))]
        best, middle = max(rates)
        found |= {f"{name}_gflops": best, f"{name}_gflops_median": middle}
    found["copy_gb_per_s"] = _measure_copy()
    made = runs.provenance()
    found |= {key: made[key] for key in ("commit", "made", "python")}
    return found | {"versions": {name: _find(name) for name in _PACKAGES.split()}}


def _read_cpu() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.is_file() else ""
    return text.partition("model name")[2].partition("\n")[0].strip("\t :")


def _measure_product(size: int, dtype) -> tuple[float, float]:
    """Best and median GFLOP/s of a square product; the first is a warm-up."""
    import torch

    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    seconds = _time(lambda: left @ right, 4 if size > 2048 else 8)
    work = 2 * size**3 / 1e9
    return work / min(seconds), work / median(seconds)


def _measure_copy() -> float:
    import torch

    source = torch.ones(2**27)  # 512 MiB, beyond any cache
    target = torch.empty_like(source)
    return 2 * source.nbytes / 1e9 / min(_time(lambda: target.copy_(source), 6))


def _time(work, times: int) -> list[float]:
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def _find(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Worker:
    """A contestant in a process of its own, so that its peak memory is its own.

    The process calls `setup(*args)` once, which returns `work(payload) -> result`;
    `setup` must be picklable (a module's function). It sleeps between payloads.
    RuntimeError carries the first line of whatever goes wrong in there.
    """

    def __init__(self, name: str, setup, *args):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup, args), daemon=True)
        self._process.start()
        theirs.close()  # else the end of the process would not end our waiting
        self._peak = math.nan
        self._receive()

    def ask(self, payload) -> tuple:
        """(result, seconds) of one payload; the seconds are measured in the process."""
        try:
            self._pipe.send(payload)
        except OSError:
            raise RuntimeError(f"{self.name}: its process has ended") from None
        return self._receive()

    def _receive(self) -> tuple:
        try:
            worked, result, seconds = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            ended = f"its process ended with exit code {self._process.exitcode}"
            raise RuntimeError(f"{self.name}: {ended}") from None
        if not worked:
            raise RuntimeError(f"{self.name}: {result}")
        return result, seconds

    @property
    def peak_gib(self) -> float:
        """The most memory the process has held so far (VmHWM), files mapped included.

        The CPU's memory only; NaN where the system does not tell.
        """
        path = Path(f"/proc/{self._process.pid}/status")
        with contextlib.suppress(OSError):  # it has ended: its peak stays as it was
            for line in path.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self._peak = int(line.split()[1]) / 2**20  # from kB
        return self._peak

    def close(self) -> None:
        """Ends the process; its peak stays readable."""
        _ = self.peak_gib
        self._pipe.close()  # it waits for the next payload, and finds the pipe's end
        self._process.join(20)
        if self._process.is_alive():
            self._process.terminate()


def _serve(pipe, setup, args: tuple) -> None:
    try:
        work = setup(*args)
    except Exception as error:  # of every kind: the contestants are not our code
        pipe.send((False, _describe(error), 0.0))
        return
    pipe.send((True, None, 0.0))
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # the parent is done
        while True:
            payload = pipe.recv()
            start = time.perf_counter()
            try:
                answer = (True, work(payload), time.perf_counter() - start)
            except Exception as error:
                answer = (False, _describe(error), 0.0)
            pipe.send(answer)


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def run_in_turn(workers: dict[str, Worker], payloads: list, count, after=None):
    """A DataFrame, a row per contestant and round: who did how much in what time.

    Columns contestant, round, items, seconds, per_second, peak_gib and the keys of the
    result where that is a dict. A round is one payload, done by everyone; who begins
    rotates. `count(payload)` is its number of items. A contestant that fails is taken
    out of `workers` and reported. `after(frame)` is called after every round.
    """
    import pandas as pd

    rows = []
    for number, payload in enumerate(payloads):
        names = list(workers)
        turn = number % max(1, len(names))
        where = f"  round {number + 1}/{len(payloads)}"
        for name in names[turn:] + names[:turn]:
            try:
                result, seconds = workers[name].ask(payload)
            except RuntimeError as error:
                print(f"{where}  left out: {error}", flush=True)
                workers.pop(name).close()
                continue
            items = count(payload)
            row = {"contestant": name, "round": number + 1, "items": items}
            row |= {"seconds": seconds, "per_second": items / seconds}
            row["peak_gib"] = workers[name].peak_gib
            row |= result if isinstance(result, dict) else {}
            rows.append(row)
            print(
                f"{where}  {name:24} {row['per_second']:9.2f}/s  {seconds:8.1f} s"
                f"  {row['peak_gib']:.2f} GiB",
                flush=True,
            )
        if after and rows:
            after(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def summarize(frame, ours: str):
    """A DataFrame, a row per contestant: median per_second, peak_gib, ratio to `ours`.

    `ratio` is ours / contestant: the median over rounds of the ratio inside a round,
    between its least and greatest. NaN where the two share no round.
    """
    import pandas as pd

    speeds = frame.pivot(index="round", columns="contestant", values="per_second")
    rows = []
    for name in dict.fromkeys(frame["contestant"]):
        mine = frame[frame["contestant"] == name]
        row = {"contestant": name, "rounds": len(mine)}
        row["per_second"] = mine["per_second"].median()
        row["peak_gib"] = mine["peak_gib"].max()
        if ours in speeds:
            ratios = (speeds[ours] / speeds[name]).dropna()
            row["ratio"] = ratios.median()
            row |= {"ratio_min": ratios.min(), "ratio_max": ratios.max()}
        rows.append(row)
    return pd.DataFrame(rows)


def save(frame, summary, name: str, machine: dict, out=FIGURES, **settings) -> None:
    """bench_NAME.csv (all rounds), bench_NAME_summary.csv and bench_NAME.json in `out`.

    The JSON holds the machine with versions and commit, and the benchmark's `settings`.
    `summary` is None while rounds are missing. Files appear whole or not at all.
    """
    from emolib import files

    Path(out).mkdir(parents=True, exist_ok=True)
    stem = f"{out}/bench_{name}"
    files.write_text(f"{stem}.csv", frame.to_csv(index=False, float_format="%.6g"))
    files.write_json(f"{stem}.json", {"machine": machine, "settings": settings})
    if summary is not None:
        text = summary.to_csv(index=False, float_format="%.6g")
        files.write_text(f"{stem}_summary.csv", text)
