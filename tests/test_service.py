"""The service of the examples, asked over HTTP on this machine."""

import asyncio
import contextlib
import http.client
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import skae

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

SCRIPT = Path(__file__).parents[1] / "docs" / "examples" / "service.py"
COLUMNS = ["flow", "inlet pressure", "outlet pressure", "temperature", "Füllstand"]


@pytest.fixture(scope="module")
def service():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("service", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def frame(correlated_rows):
    return pd.DataFrame(correlated_rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def detector(frame):
    """Of the last 100 rows, which it has not seen, it flags some."""
    detector = skae.AutoencoderOutlierDetector((8, 2), epochs=20, random_state=0)
    return detector.fit(frame[:100]).calibrate(frame[100:], false_alarm_rate=0.3)


@contextlib.contextmanager
def serve(app):
    """Run an app in a thread; yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def serve_detector(service, detector, folder):
    path = folder / "detector.skae"
    skae.save(detector, path)
    return serve(service.create_app(path))


@pytest.fixture(scope="module")
def port(service, detector, tmp_path_factory):
    with serve_detector(service, detector, tmp_path_factory.mktemp("files")) as port:
        yield port


def request(port, method, path, body=None):
    """Status and what the JSON of the answer holds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def ask(port, rows, path="/score"):
    status, answer = request(port, "POST", path, json.dumps(rows))
    assert status == 200, answer
    return answer


def make_rows(frame):
    """Rows as JSON has them: a missing cell is null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_answers_are_those_of_the_detector_to_the_bit(port, detector, frame):
    answers = ask(port, make_rows(frame))
    assert [a["score"] for a in answers] == detector.score_samples(frame).tolist()
    assert [a["p_value"] for a in answers] == detector.p_values(frame).tolist()
    assert [a["label"] for a in answers] == detector.predict(frame).tolist()
    assert {a["label"] for a in answers} == {1, -1}


def test_one_row_has_one_answer_and_a_list_a_list(port, frame):
    row = make_rows(frame)[0]
    assert ask(port, [row]) == [ask(port, row)]


def test_columns_may_come_in_any_order(port, frame):
    row = make_rows(frame)[0]
    assert ask(port, dict(reversed(row.items()))) == ask(port, row)


def test_outliers_are_explained_by_the_three_columns_that_explain_finds(
    port, detector, frame
):
    answers = ask(port, make_rows(frame))
    contributions, expected = detector.explain(frame, return_expected=True)
    for i, answer in enumerate(answers):
        if answer["label"] == 1:
            assert answer["reasons"] is None
            continue
        order = np.argsort(-contributions[i])[:3]
        assert answer["reasons"] == [
            {
                "column": COLUMNS[j],
                "contribution": contributions[i, j],
                "observed": frame.iloc[i, j],
                "expected": expected[i, j],
            }
            for j in order
        ]


def test_the_client_says_which_rows_are_explained(port, frame):
    rows = make_rows(frame)
    explained = ask(port, rows, "/score?explain=true")
    assert all(len(answer["reasons"]) == 3 for answer in explained)
    unexplained = ask(port, rows, "/score?explain=false")
    assert [answer["reasons"] for answer in unexplained] == [None] * len(rows)
    assert [a["score"] for a in explained] == [a["score"] for a in unexplained]


def test_null_is_a_missing_cell_and_no_reason(port, detector, frame):
    holed = frame[:20].copy()
    holed.iloc[::2, 1] = np.nan
    answers = ask(port, make_rows(holed), "/score?explain=true")
    assert [a["score"] for a in answers] == detector.score_samples(holed).tolist()
    for answer in answers[::2]:
        assert COLUMNS[1] not in [reason["column"] for reason in answer["reasons"]]


def test_rows_far_out_are_answered_in_numbers_that_json_knows(port, frame):
    one_cell = make_rows(frame)[0] | {"flow": 1.7e308}
    one, all_cells = ask(port, [one_cell, dict.fromkeys(COLUMNS, 1.7e308)])
    assert one["label"] == all_cells["label"] == -1
    assert one["reasons"][0]["column"] == "flow"
    assert all_cells["score"] == -np.finfo(float).max
    assert np.isfinite([reason["expected"] for reason in all_cells["reasons"]]).all()


def test_whole_numbers_are_numbers(port, detector):
    rows = [dict.fromkeys(COLUMNS, 2), dict.fromkeys(COLUMNS, 2**60)]
    scores = [answer["score"] for answer in ask(port, rows)]
    assert scores == detector.score_samples(pd.DataFrame(rows, dtype=float)).tolist()


GOOD = dict.fromkeys(COLUMNS, 1.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "received 0"),
        ([GOOD] * 1001, "received 1001"),
        ({}, "column 'flow' is missing"),
        ([GOOD, GOOD | {"flow": "1.0"}], "Row 1: column 'flow' must .*'1.0'"),
        ({k: v for k, v in GOOD.items() if k != "Füllstand"}, "'Füllstand' is missing"),
        (GOOD | {"Flow": 1.0}, "no column 'Flow'"),
        (GOOD | {"flow": ""}, "'flow' must be a finite number or null; received ''"),
        (GOOD | {"flow": True}, "'flow' must .* True"),
        (GOOD | {"flow": [1.0]}, r"'flow' must .* \[1.0\]"),
        (GOOD | {"inlet pressure": np.inf}, "'inlet pressure' must .* inf"),
        (GOOD | {"inlet pressure": -np.inf}, "'inlet pressure' must .* -inf"),
        (GOOD | {"inlet pressure": np.nan}, "'inlet pressure' must .* nan"),
        (GOOD | {"flow": 10**400}, "'flow' must .*100"),
        (GOOD | {"x" * 1000: 1.0}, r"no column 'xxxxx.*\.\.\..*x'"),
        ("flow", "dictionary"),
        (1.5, "dictionary"),
        (None, "dictionary|required"),
        ([1.0], "dictionary"),
    ],
)
def test_bad_input_is_refused_by_name(port, body, words):
    status, answer = request(port, "POST", "/score", json.dumps(body))
    assert status == 422
    detail = answer["detail"]
    message = detail if isinstance(detail, str) else detail[0]["msg"]
    assert len(message) < 200
    assert re.search(words, message), message


def test_what_is_no_json_is_refused(port):
    status, answer = request(port, "POST", "/score", "{flow: 1}")
    assert status == 422
    assert "JSON" in json.dumps(answer)


def test_number_too_large_for_a_float_is_refused(port):
    body = json.dumps(GOOD).replace('"flow": 1.0', '"flow": 1e999')
    status, answer = request(port, "POST", "/score", body)
    assert status == 422
    assert "'flow'" in answer["detail"]


def test_health_is_answered(port):
    assert request(port, "GET", "/health") == (200, {"status": "ok"})


def test_parallel_clients_get_the_scores_of_their_rows(port, detector, frame):
    rows, scores = make_rows(frame), detector.score_samples(frame).tolist()

    def send(client):
        """A row, or a few, explained or not."""
        answers = {}
        for i in range(client, len(rows), 8):
            wish = ("", "?explain=true", "?explain=false")[i % 3]
            answers[i] = ask(port, rows[i], "/score" + wish)["score"]
            several = ask(port, rows[i : i + 5], "/score" + wish)
            assert [answer["score"] for answer in several] == scores[i : i + 5]
        return answers

    with ThreadPoolExecutor(8) as clients:
        found = {}
        for answers in clients.map(send, range(8)):
            found |= answers
    assert [found[i] for i in range(len(rows))] == scores


def test_without_calibration_there_are_no_p_values(service, frame, tmp_path):
    detector = skae.AutoencoderOutlierDetector((8, 2), epochs=2, random_state=0)
    detector.fit(frame)
    with serve_detector(service, detector, tmp_path) as port:
        assert ask(port, make_rows(frame)[0])["p_value"] is None


def test_p_values_of_folds_are_those_of_the_detector(service, frame, tmp_path):
    detector = skae.AutoencoderOutlierDetector(
        (8, 2), epochs=2, calibration_cv=2, random_state=0
    ).fit(frame)
    with serve_detector(service, detector, tmp_path) as port:
        answers = ask(port, make_rows(frame[:20]))
    expected = detector.p_values(frame[:20]).tolist()
    assert [answer["p_value"] for answer in answers] == expected


def test_categories_are_read_and_named(service, frame, tmp_path):
    kind = np.where(frame["flow"] > frame["flow"].median(), "high", "low")
    table = frame.assign(kind=kind, is_high=kind == "high")
    detector = skae.AutoencoderOutlierDetector(
        (16, 4), epochs=40, categorical_features="from_dtype", random_state=0
    ).fit(table)
    odd = table[table["is_high"]].head(3).assign(kind=["low", "none", "high"])
    with serve_detector(service, detector, tmp_path) as port:
        answers = ask(port, make_rows(odd), "/score?explain=true")
        missing = {**make_rows(odd)[0], "kind": None}
        assert ask(port, missing)["score"] > answers[0]["score"]
        for value in ["list"], {}, 1e999:
            body = json.dumps({**missing, "kind": value})
            status, answer = request(port, "POST", "/score", body)
            assert status == 422
            assert "column 'kind' must be text, true, false, a" in answer["detail"]
    scores = detector.score_samples(odd).tolist()
    assert [answer["score"] for answer in answers] == scores
    contributions, expected = detector.explain(odd, return_expected=True)
    for i, answer in enumerate(answers):
        first, j = answer["reasons"][0], contributions[i].argmax()
        assert first["column"] == table.columns[j]
        assert (first["observed"], first["expected"]) == (
            odd.iloc[i, j],
            expected[i, j],
        )


def test_dates_are_refused_at_the_start(service, frame, tmp_path):
    table = frame.assign(day=pd.date_range("2025-01-01", periods=len(frame)))
    detector = skae.AutoencoderOutlierDetector((8, 2), epochs=2, random_state=0)
    with (
        pytest.raises(ValueError, match="the detector was fitted on dates"),
        serve_detector(service, detector.fit(table), tmp_path),
    ):
        pass


def test_columns_without_names_are_numbered(service, correlated_rows, tmp_path):
    detector = skae.AutoencoderOutlierDetector((8, 2), epochs=2, random_state=0)
    detector.fit(correlated_rows)
    rows = pd.DataFrame(correlated_rows, columns=[f"x{i}" for i in range(5)])
    with serve_detector(service, detector, tmp_path) as port:
        answers = ask(port, make_rows(rows))
    scores = [answer["score"] for answer in answers]
    assert scores == detector.score_samples(correlated_rows).tolist()


def test_batch_that_fails_does_not_stop_the_next(service):
    def compute(X):
        if np.isnan(X).any():
            raise RuntimeError("no answer")
        return X[:, 0].tolist()

    async def run():
        together = service.Together(compute)
        running = asyncio.create_task(together.run())

        def ask(cell):
            return together(np.full((2, 1), cell))

        found = await asyncio.gather(ask(np.nan), ask(1.0), return_exceptions=True)
        assert [str(failure) for failure in found] == ["no answer"] * 2
        gone = asyncio.create_task(ask(2.0))
        await asyncio.sleep(0)
        gone.cancel()
        assert await asyncio.gather(ask(3.0), ask(4.0)) == [[3.0] * 2, [4.0] * 2]
        running.cancel()

    asyncio.run(asyncio.wait_for(run(), timeout=60))


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "command",
    [
        [SCRIPT, "detector.skae"],
        ["-m", "uvicorn", "--factory", "service:create_app"],
    ],
    ids=["script", "uvicorn"],
)
def test_commands_start_it_without_keras(detector, frame, tmp_path, command):
    skae.save(detector, tmp_path / "detector.skae")
    port = find_free_port()
    path = os.pathsep.join([str(SCRIPT.parent), *sys.path])
    with (tmp_path / "imports").open("w+") as imports:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", *command, "--port", str(port)],
            cwd=tmp_path,
            env=os.environ | {"SKAE_FILE": "detector.skae", "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=imports,
        )
        try:
            wait_for(port, process)
            answer = ask(port, make_rows(frame)[0], "/score?explain=true")
        finally:
            process.terminate()
            process.wait()
        imports.seek(0)
        imported = set(re.findall(r"\| +(\w+)$", imports.read(), re.MULTILINE))
    assert answer["score"] == detector.score_samples(frame[:1])[0]
    assert "skae" in imported
    assert not imported & {"keras", "tensorflow"}


def wait_for(port, process, seconds=60):
    for _ in range(int(seconds / 0.05)):
        assert process.poll() is None
        with contextlib.suppress(OSError):
            return request(port, "GET", "/health")
        time.sleep(0.05)
    raise TimeoutError(port)
