"""A fake server behind `api`: order, faults, resuming, secrets, cost."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emolib import DataError, models, runs
from emolib.baselines import api as module
from emolib.baselines.api import unwrap
from emolib.data import aeb
from emolib.inference import predict

KEY = "sk-test-4711-never-write-me"
FAST = {"progress": False, "max_retries": 2, "timeout": 5.0, "concurrency": 4}
HTML = (200, "text/html", b"<html>Gateway</html>")


class Server(ThreadingHTTPServer):
    """Speaks chat completions. `reply(body, nth)` overrides the answer where it wants.

    It gives None for an ordinary answer, else (status, content type, body); `nth`
    counts how often this prompt has come, from 1.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked, self.bodies, self.keys = Counter(), [], set()
        self.lock = threading.Lock()
        self.reply = lambda body, nth: None


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, server = body["messages"][-1]["content"], self.server
        with server.lock:
            server.asked[prompt] += 1
            nth = server.asked[prompt]
            server.bodies.append(body)
            server.keys.add(self.headers["Authorization"])
        self.send(*(server.reply(body, nth) or completion(f"echo {prompt[-40:]}")))

    def send(self, status: int, kind: str, body: bytes):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def completion(content, **more):
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    whole = {"model": "fake-2026", "choices": [{"message": message}], "usage": usage}
    return 200, "application/json", json.dumps(whole | more).encode()


def failure(status: int, message: str = "no"):
    return (status, "application/json", json.dumps({"error": {"message": message}}).encode())


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = Server()
    # The default of half a second is how long every shutdown would take.
    options = {"target": running.serve_forever, "args": (0.01,), "daemon": True}
    threading.Thread(**options).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def all_rows():
    return aeb.build(["EI-reg", "EI-oc", "V-reg", "V-oc", "E-c"], "sample")


@pytest.fixture(scope="module")
def rows(all_rows):
    return aeb.draw(all_rows, 2)  # 22 items


@pytest.fixture
def ask(server, rows, tmp_path):
    """Calls `api` on the fake server; settings and rows may be others."""
    return lambda given=rows, run=tmp_path / "run", **settings: module.predict(
        given, "fake-1", server.url, run, **FAST | settings
    )


def prompts(rows) -> list[str]:
    return [unwrap(prompt) for prompt in rows["prompt"]]


def test_responses_come_in_the_order_given(server, ask, rows, tmp_path):
    server.reply = lambda body, nth: time.sleep(0.03 * (len(server.bodies) % 3))
    found = ask()
    expected = [f"echo {prompt[-40:]}" for prompt in prompts(rows)]
    assert found["response"].tolist() == expected
    for name in ("id", "task", "emotion"):
        assert found[name].fillna("").tolist() == [x or "" for x in rows[name]]
    assert predict.read(tmp_path / "run").equals(found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"temperature": 0.0, "roles": ["user"]}),
        ({"system": "Rate."}, {"temperature": 0.0, "roles": ["system", "user"]}),
        ({"temperature": None}, {"temperature": None, "roles": ["user"]}),
    ],
)
def test_request_has_the_settings(server, ask, settings, expected):
    ask(**settings)
    for body in server.bodies:
        assert body["model"] == "fake-1"
        assert body.get("temperature") == expected["temperature"]
        assert [x["role"] for x in body["messages"]] == expected["roles"]
    assert {body["max_tokens"] for body in server.bodies} == {16, 20, 40}


def test_token_limit_may_have_its_newer_name(server, ask):
    ask(limit="max_completion_tokens", max_new_tokens=9)
    assert {body["max_completion_tokens"] for body in server.bodies} == {9}
    assert not any("max_tokens" in body for body in server.bodies)


def test_unknown_task_is_an_error(server, ask, rows):
    with pytest.raises(DataError, match="no task 'EmoWOZ'"):
        ask(rows.map(lambda row: {"task": "EmoWOZ"}))
    assert not server.bodies


def test_paper_form_is_sent_without_its_roles(server, ask, all_rows):
    ask(all_rows.select([0]))
    sent = server.bodies[0]["messages"][-1]["content"]
    assert sent == all_rows[0]["prompt"][len("Human: \n") : -len(" \n\nAssistant:\n")]
    assert sent.startswith("Task: ") and sent.endswith("Intensity Score:")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failure_is_retried(server, ask, rows, status):
    server.reply = lambda _, nth: failure(status) if nth < 3 else None
    assert len(ask()) == 22
    assert set(server.asked.values()) == {3}


def test_stalled_request_is_retried(server, ask, rows):
    stalled = prompts(rows)[3]

    def reply(body, nth):
        if body["messages"][-1]["content"] == stalled and nth == 1:
            time.sleep(1.0)

    server.reply = reply
    assert len(ask(timeout=0.3)) == 22
    assert server.asked[stalled] == 2
    assert sum(server.asked.values()) == 23


BAD = {
    "a web page": (HTML, "not a chat completion"),
    "broken JSON": ((200, "application/json", b'{"choices": ['), "JSONDecodeError"),
    "null": ((200, "application/json", b"null"), "not a chat completion"),
    "a list": ((200, "application/json", b"[1]"), "not a chat completion"),
    "no choices": ((200, "application/json", b"{}"), "not a chat completion"),
    "empty choices": (completion("x", choices=[]), "not a chat completion"),
    "no message": (completion("x", choices=[{}]), "not a chat completion"),
    "parts": (completion(["x"]), "not a chat completion"),
    "a bad request": (failure(400), "BadRequestError"),
    "a failing server": (failure(500), "InternalServerError"),
}


@pytest.mark.parametrize("case", BAD)
def test_failed_prompt_is_the_only_one_requested_again(server, ask, rows, case):
    bad, reason = prompts(rows)[5], BAD[case][1]
    wrong = BAD[case][0]
    server.reply = lambda body, _: wrong if body["messages"][-1]["content"] == bad else None
    with pytest.raises(DataError, match=f"1 of 22 prompts have no response.*{reason}"):
        ask()
    server.reply = lambda body, nth: None
    server.asked.clear()
    assert ask()["response"][5] == f"echo {bad[-40:]}"
    assert server.asked == {bad: 1}


@pytest.mark.parametrize("content", [None, ""])
def test_answer_without_text_is_an_empty_response(server, ask, content):
    server.reply = lambda *_: completion(content)
    assert set(ask()["response"]) == {""}


ODD = ' a\u2028b\nc\r\n"\\\t\x00 \U0001f62d'


@pytest.mark.parametrize(("text", "read"), [(ODD, ODD), ("a\ud83d", "a?")])
def test_odd_characters_are_read_back(server, ask, rows, text, read):
    server.reply = lambda *_: completion(text)
    assert ask(rows.select([0]))["response"].tolist() == [read]


def test_answer_without_usage_or_model_counts_nothing(server, ask, rows, tmp_path):
    server.reply = lambda *_: completion("x", usage=None, model=None)
    assert ask(rows.select([0]))["response"].tolist() == ["x"]
    record = runs.read(tmp_path / "run")
    assert (record["tokens_in"], record["tokens_out"]) == (0, 0)


def test_run_records_tokens_and_the_model_that_answered(ask, tmp_path):
    ask()
    record = runs.read(tmp_path / "run")
    assert (record["tokens_in"], record["tokens_out"]) == (220, 44)
    assert record["served"] == ["fake-2026"]


def test_server_that_refuses_everything_ends_the_run_early(server, all_rows, ask):
    server.reply = lambda *_: failure(401)
    with pytest.raises(DataError, match=r"AuthenticationError.*401"):
        ask(all_rows)
    assert 20 <= sum(server.asked.values()) < 60  # of 219 prompts


def test_run_that_got_no_answer_binds_to_no_settings(server, ask, rows, tmp_path):
    server.reply = lambda *_: failure(404)
    with pytest.raises(DataError, match="22 of 22 prompts have no response"):
        ask()
    server.reply = lambda body, nth: None
    assert len(module.predict(rows, "fake-2", server.url, tmp_path / "run", **FAST)) == 22


@pytest.mark.parametrize("after", [0, 1, 8, 21])
def test_interrupted_run_requests_only_what_is_missing(server, ask, rows, tmp_path, after):
    ask(run=tmp_path / "straight")
    server.asked.clear()
    server.reply = lambda *_: failure(400) if sum(server.asked.values()) > after else None
    with pytest.raises(DataError, match=f"{22 - after} of 22"):
        ask(concurrency=1)
    tear(tmp_path / "run" / "responses.partial.jsonl")
    assert count_requests(server, ask) == 22 - after
    straight, mended = (tmp_path / x / "responses.jsonl" for x in ("straight", "run"))
    assert straight.read_bytes() == mended.read_bytes()


def tear(partial: Path) -> None:
    """What a kill leaves: a line half written, here up to half a character."""
    with partial.open("ab") as file:
        file.write('{"row": 7, "response": "é'.encode()[:-1])


def count_requests(server, ask) -> int:
    """How many prompts a call requests that ends well."""
    server.reply = lambda body, nth: None
    server.asked.clear()
    assert len(ask()) == 22
    return sum(server.asked.values())


def test_keyboard_interrupt_keeps_what_was_under_way(server, ask, monkeypatch):
    def tqdm(futures, **_):
        yield next(iter(futures))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "tqdm", tqdm)
        ask()
    first = sum(server.asked.values())
    assert first < 22
    ask()
    assert set(server.asked.values()) == {1} and len(server.asked) == 22


KILLED = """
import sys
from datasets import Dataset
from emolib.baselines import api
rows = Dataset.from_json(sys.argv[1])
api.predict(rows, "fake-1", sys.argv[2], sys.argv[3], concurrency=2, progress=False)
"""


@pytest.mark.slow
def test_killed_process_costs_nothing_twice(server, ask, rows, tmp_path):
    rows.to_json(tmp_path / "rows.jsonl")
    server.reply = lambda *_: time.sleep(0.2)
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, tmp_path / "rows.jsonl", server.url, run]
    process, partial = subprocess.Popen(command), run / "responses.partial.jsonl"
    while not partial.exists() or partial.read_bytes().count(b"\n") < 6:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = partial.read_bytes().count(b"\n")
    assert 6 <= kept < 22
    assert count_requests(server, ask) == 22 - kept


def test_run_killed_before_it_was_marked_finished_requests_nothing(
    server, ask, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "finish", interrupt)
        ask()
    assert count_requests(server, ask) == 0
    assert "finished" in runs.read(tmp_path / "run")


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_finished_run_is_read_back_without_a_request(server, ask, monkeypatch):
    first = ask()
    server.asked.clear()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(concurrency=1, price_in=1.0).equals(first)
    assert not server.asked


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"system": "Be brief."}, "system was None, now 'Be brief.'"),
        ({"temperature": 0.5}, "temperature was 0.0, now 0.5"),
        ({"max_new_tokens": 5}, "max_new_tokens was None, now 5"),
    ],
)
def test_run_with_other_settings_is_refused(ask, change, reason):
    ask()
    with pytest.raises(DataError, match=reason):
        ask(**change)


def test_run_with_other_rows_is_refused(ask, rows):
    ask()
    with pytest.raises(DataError, match=r"rows was .*'sha256'"):
        ask(rows.select(range(3)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"top_p": 1}, "no API setting top_p: there are system, temperature"),
        ({"concurrency": 0}, "concurrency is 0, expected 1 or more"),
        ({"max_retries": -1}, "max_retries is -1, expected 0 or more"),
        ({"budget": 1.0, "price_in": 1.0}, "a budget needs price_in and price_out"),
    ],
)
def test_setting_that_does_not_exist_is_an_error(ask, tmp_path, settings, reason):
    with pytest.raises(DataError, match=reason):
        ask(**settings)
    assert not (tmp_path / "run").exists()


def test_no_prompts_are_an_error(ask, rows):
    with pytest.raises(DataError, match="no prompts"):
        ask(rows.select([]))


@pytest.mark.parametrize("address", [KEY, f"https://u:{KEY}@x.org", "https://x?a=b"])
def test_address_with_a_secret_is_refused_and_not_repeated(rows, tmp_path, address):
    with pytest.raises(DataError, match="base_url") as caught:
        module.predict(rows, "fake-1", address, tmp_path / "run")
    assert address not in str(caught.value) and KEY not in str(caught.value)


def test_missing_key_says_what_to_set(rows, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(DataError, match=r"no key for https://.*OPENAI_API_KEY"):
        module.predict(rows, "fake-1", None, tmp_path)
    with pytest.raises(DataError, match="environment variable OTHER_KEY"):
        module.predict(rows, "fake-1", "https://x.org/v1", tmp_path, key_variable="OTHER_KEY")


def test_key_is_sent_and_written_nowhere(server, ask, tmp_path, capfd):
    server.reply = lambda body, nth: (
        failure(401, f"bad key {KEY}") if sum(server.asked.values()) > 9 else None
    )
    with pytest.raises(DataError, match=r"bad key \*\*\*") as caught:
        ask()
    server.reply = lambda body, nth: None
    ask()
    assert server.keys == {f"Bearer {KEY}"}
    written = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    texts = [*map(bytes.decode, written), *capfd.readouterr(), repr(caught.getrepr())]
    assert len(written) >= 2 and not any(KEY in text for text in texts)


def test_other_variable_may_have_the_key(server, ask, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "another")
    ask(key_variable="OTHER_KEY")
    assert server.keys == {"Bearer another"}


def test_local_server_needs_no_key(server, ask, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    assert len(ask()) == 22
    assert server.keys == {"Bearer no-key-needed"}


def test_estimate_is_printed_before_it_starts(ask, rows, capsys):
    two = rows.select([0, 1]).map(lambda row: {"task": "EI-reg"})
    two = two.map(lambda row, i: {"prompt": "xxxxx" * (i + 1)}, with_indices=True)
    ask(two, price_in=1_000_000, price_out=10_000)  # 2 + 3 tokens in, 32 out
    out = capsys.readouterr().out
    assert "2 of 2 prompts for fake-1: about 5 tokens in, at most 32 out" in out
    assert "together up to $5.3200" in out


def test_estimate_above_the_budget_requests_nothing(server, ask, tmp_path):
    prices = {"price_in": 2.0, "price_out": 8.0}
    with pytest.raises(DataError, match=r"above the budget of \$0\.0001"):
        ask(budget=0.0001, **prices)
    assert not server.asked
    assert len(ask(budget=1.0, **prices)) == 22


def test_requests_run_at_the_same_time(server, ask, rows):
    barrier = threading.Barrier(4, timeout=5)
    server.reply = lambda *_: barrier.wait() and None
    ask(rows.select(range(8)), concurrency=4)  # fewer at once would break the barrier
    assert not barrier.broken


@pytest.fixture(scope="module")
def serve(smollm2_tokenizer, tmp_path_factory):
    """`transformers serve` with SmolLM2; its address and the model's name there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = models.resolve("smollm2-135m")
    tool = Path(sys.executable).with_name("transformers")
    log = (tmp_path_factory.mktemp("serve") / "log").open("w")
    command = [tool, "serve", folder, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log.name)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process, log: str) -> None:
    for _ in range(300):
        assert process.poll() is None, Path(log).read_text()
        try:
            return urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no answer from {address}: {Path(log).read_text()}")


@pytest.mark.slow
def test_real_server_answers_as_the_model_itself_does(
    serve, rows, smollm2_tokenizer, tmp_path, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    three = rows.select([0, 9, 21])
    found = module.predict(three, serve[1], serve[0], tmp_path, max_new_tokens=8, progress=False)
    model, tokenizer = models.load("smollm2-135m", device="cpu")
    for prompt, response in zip(three["prompt"], found["response"], strict=True):
        message = [{"role": "user", "content": unwrap(prompt)}]
        options = {"add_generation_prompt": True, "return_tensors": "pt"}
        ids = tokenizer.apply_chat_template(message, **options)["input_ids"]
        own = model.generate(ids, max_new_tokens=8, do_sample=False)
        text = tokenizer.decode(own[0, ids.shape[1] :], skip_special_tokens=True)
        assert response.strip() == text.strip()


def test_answers_in_parts_are_joined_and_errors_inside_a_200_shown(server, ask, tmp_path):
    parts = [{"type": "text", "text": "0."}, {"type": "text", "text": "5"}]
    server.reply = lambda body, nth: completion(parts)
    assert set(ask()["response"]) == {"0.5"}
    server.reply = lambda body, nth: (200, *failure(200, "the model is asleep")[1:])
    with pytest.raises(DataError, match=r"the server's answer is an error: .*asleep"):
        ask(run=tmp_path / "other")
