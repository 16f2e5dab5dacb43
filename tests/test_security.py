"""The package asks for no network: a process that tries everything sends nothing.

Python is watched by an audit hook, which refuses connections and look-ups of names. C++
is watched by the kernel: in a network namespace of its own, where Linux permits one, it
counts what the process sends, and what has no way out.
"""

import re

import pytest

WATCH = """
import ctypes, socket, sys

def count_packets():
    with open("/proc/net/snmp") as file:
        names, values = [line.split() for line in file if line.startswith("Ip:")]
    with open("/proc/net/snmp6") as file:
        counts = dict(zip(names, values)) | dict(line.split() for line in file)
    return sum(int(counts.get(prefix + kind, 0)) for prefix in ("", "Ip6")
               for kind in ("OutRequests", "OutNoRoutes"))

LOOKUPS = {"getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"}
SENDINGS = {"bind", "connect", "sendto", "sendmsg"}

def refuse_network(event, arguments):
    module, _, action = event.partition(".")
    if module != "socket" or action not in LOOKUPS | SENDINGS:
        return
    if action in SENDINGS and arguments[0].family == socket.AF_UNIX:
        return
    if action == "bind" and arguments[1][0] == "::1":  # urllib3 tries IPv6 like this
        return
    attempts.append(action)
    raise PermissionError(action)

attempts = []
sys.addaudithook(refuse_network)
has_own_network = False
if sys.platform == "linux":  # CLONE_NEWUSER | CLONE_NEWNET
    has_own_network = ctypes.CDLL(None).unshare(0x50000000) == 0
"""

EVERYTHING = """
import pickle, warnings
import numpy as np
import skae

X = np.random.RandomState(0).normal(size=(40, 3))
detector = skae.AutoencoderOutlierDetector((4, 2), epochs=1, random_state=0).fit(X)
detector.calibrate(X).p_values(X)
detector.predict(X), detector.explain(X), detector.score(X), detector.diagnose(X)
detector.model_, detector._repr_html_(), pickle.loads(pickle.dumps(detector))
detector.partial_fit(X)
path = sys.argv[1]
skae.save(detector, path)
skae.load(path).decision_function(X)
with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
    import matplotlib.pyplot  # of old releases
skae.AnomalyScoreDisplay.from_estimator(detector, X)
skae.ExplanationDisplay.from_estimator(detector, X[:1])
try:
    import onnxruntime, skl2onnx
except ImportError:
    pass
else:
    skae.register_onnx_converter()
    graph = skl2onnx.to_onnx(detector, X[:1]).SerializeToString()
    onnxruntime.InferenceSession(graph).run(None, {"X": X})
"""

BY_PYTHON = """
import urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:9", timeout=1)
except OSError:
    pass
"""

BY_C = """
libc = ctypes.CDLL(None)
handle = libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM
address = b"\\x02\\0" + bytes([0, 9, 127, 0, 0, 1]) + bytes(8)
libc.connect(handle, address, 16)
libc.send(handle, b"x", 1, 0)
"""

REPORT = """
print(attempts, count_packets() if has_own_network else None)
"""


def watch(run_in_fresh_process, program, *arguments):
    """The attempts by Python, and the number of packets if they can be counted."""
    output, _ = run_in_fresh_process(
        WATCH + program + REPORT, *arguments, MPLBACKEND="agg"
    )
    attempts, packets = re.fullmatch(r"(\[.*\]) (\w+)", output.strip()).groups()
    return attempts, None if packets == "None" else int(packets)


def test_nothing_asks_for_the_network(run_in_fresh_process, tmp_path):
    attempts, n_packets = watch(
        run_in_fresh_process, EVERYTHING, tmp_path / "detector.skae"
    )
    assert attempts == "[]"
    assert n_packets in (0, None)


def test_python_that_asks_for_the_network_would_be_seen(run_in_fresh_process):
    attempts, _ = watch(run_in_fresh_process, BY_PYTHON)
    assert attempts != "[]"


def test_a_library_that_asks_for_the_network_would_be_seen(run_in_fresh_process):
    attempts, n_packets = watch(run_in_fresh_process, BY_C)
    if n_packets is None:
        pytest.skip("this system gives a process no network of its own")
    assert attempts == "[]"
    assert n_packets > 0
