"""What it costs to ask docs/examples/service.py for a score, beside asking nothing.

A detector of 20 columns is served by one process. Eight clients, threads of another,
send 2,000 requests of one row, each the next one when it has its answer, to an endpoint
that does nothing, and for scores: without explanations, as is the default with those of
outliers, which are a twentieth of the rows, and with one for each row. Counted is the
median time to an answer; each score must be that of `score_samples` to the bit.
"""

import argparse
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import _report
import numpy as np

import skae

SERVICE = Path(__file__).parents[1] / "docs" / "examples" / "service.py"
N_CLIENTS = 8
COLUMNS = [f"x{i}" for i in range(20)]  # of a detector that has no names
HEADERS = {"Content-Type": "application/json"}
CALLS = {
    "nothing": ("GET", "/health"),
    "a score": ("POST", "/score?explain=false"),
    "a score, outliers explained": ("POST", "/score"),
    "a score, explained": ("POST", "/score?explain=true"),
}


@contextlib.contextmanager
def serve(detector):
    """Run the service in a process of its own; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        skae.save(detector, Path(folder, "model.skae"))
        process = subprocess.Popen(
            [sys.executable, SERVICE, "model.skae", "--port", str(port)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def wait_for(port, process):
    """Return when the service takes connections."""
    while True:
        assert process.poll() is None, "the service has ended"
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.1)


def send(port, method, path, bodies):
    """Send the bodies from all clients; return the answers and the median time."""
    answers, seconds = [None] * len(bodies), np.empty(len(bodies))

    def run_client(first):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        for i in range(first, len(bodies), N_CLIENTS):
            start = time.perf_counter()
            body = bodies[i] if method == "POST" else None
            connection.request(method, path, body, HEADERS)
            response = connection.getresponse()
            answers[i] = response.status, response.read()
            seconds[i] = time.perf_counter() - start
        connection.close()

    clients = [threading.Thread(target=run_client, args=(i,)) for i in range(N_CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answers, float(np.median(seconds))


def take(port, method, path, bodies, scores):
    """Return the median time, after a look at each answer."""
    answers, median = send(port, method, path, bodies)
    assert all(status == 200 for status, _ in answers)
    if method == "POST":
        assert [json.loads(body)["score"] for _, body in answers] == scores
    return median


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    _report.print_header(__doc__, ("skae", "numpy", "fastapi", "uvicorn"))
    X = _report.make_rows(1000 + arguments.requests, len(COLUMNS))
    detector = skae.AutoencoderOutlierDetector(random_state=0).fit(X[:500])
    detector.calibrate(X[500:1000], false_alarm_rate=0.05)
    rows = X[1000:]
    bodies = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows.tolist()]
    scores = detector.score_samples(rows).tolist()
    print(f"{np.mean(detector.predict(rows) == -1):.1%} of the rows are outliers.\n")
    with serve(detector) as port:
        calls = {
            name: partial(take, port, *call, bodies, scores)
            for name, call in CALLS.items()
        }
        figures = _report.measure(calls, arguments.repeats)
    names = list(CALLS)
    bounds = {names[2]: "at most 2"}
    comparisons = [(name, names[0], bounds.get(name, "")) for name in names[1:]]
    _report.print_table(figures, comparisons)


if __name__ == "__main__":
    main()
