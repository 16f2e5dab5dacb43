"""What it costs to ask docs/examples/service.py for a score, beside asking nothing.

A detector of 20 columns is served by one process. Eight clients, threads of another,
send 2,000 requests of one row, each the next one when it has its answer: to an endpoint
that does nothing, for scores alone, for scores with explanations of the outliers, which
is the default, and with one of each row. Counted is the median time to an answer; each
score must be that of `score_samples` to the bit. The rows are normal, of which one in a
hundred is flagged, or one in twenty has cells that do not belong together.
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
NOTHING = "nothing"
BOUND = "at most 2"


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


def prepare(detector, rows):
    """Return the bodies of requests, and the scores that they ask for."""
    dicts = (dict(zip(COLUMNS, row, strict=True)) for row in rows.tolist())
    return [json.dumps(row) for row in dicts], detector.score_samples(rows).tolist()


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    _report.print_header(__doc__, ("skae", "numpy", "fastapi", "uvicorn"))
    n_rows = arguments.requests
    X = _report.make_rows(1000 + n_rows, len(COLUMNS))
    detector = skae.AutoencoderOutlierDetector(random_state=0).fit(X[:500])
    detector.calibrate(X[500:1000], false_alarm_rate=0.01)
    normal, mixed = X[1000:], X[1000:].copy()
    np.random.default_rng(0).permuted(mixed[::20], axis=1, out=mixed[::20])
    some, more = (
        f"a score, {np.mean(detector.predict(rows) == -1):.1%} explained"
        for rows in (normal, mixed)
    )
    calls = {
        NOTHING: ("GET", "/health", normal),
        "a score": ("POST", "/score?explain=false", normal),
        some: ("POST", "/score", normal),
        more: ("POST", "/score", mixed),
        "a score, all explained": ("POST", "/score?explain=true", normal),
    }
    with serve(detector) as port:
        measurements = {
            name: partial(take, port, method, path, *prepare(detector, rows))
            for name, (method, path, rows) in calls.items()
        }
        figures = _report.measure(measurements, arguments.repeats)
    bounds = {some: BOUND, more: BOUND}
    comparisons = [(name, NOTHING, bounds.get(name, "")) for name in list(calls)[1:]]
    _report.print_table(figures, comparisons)


if __name__ == "__main__":
    main()
