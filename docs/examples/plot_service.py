"""
========================
Ask a detector over HTTP
========================

Other programs, in other languages, want a row judged. How small can a service be that
answers with score, p-value and reasons, and what does an answer look like?

The service is one file, ``service.py``, the next example. It needs FastAPI and uvicorn,
``python -m pip install fastapi uvicorn``, and imports neither Keras nor TensorFlow.
Here it runs in a thread, on a port of this machine; from a shell it is started by
``python service.py model.skae``.
"""

# %%
# A detector in a file
# --------------------

import http.client
import json
import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import service
import uvicorn
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import skae

X, kind = load_wine(return_X_y=True, as_frame=True)
train, calibration = train_test_split(X[kind != 2], train_size=80, random_state=0)
detector = skae.AutoencoderOutlierDetector(random_state=0).fit(train)
detector.calibrate(calibration, false_alarm_rate=0.05)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.skae"
    skae.save(detector, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    app = service.create_app(path)

# %%
# Start it
# --------

server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.01)
port = server.servers[0].sockets[0].getsockname()[1]


def ask(rows, path="/score"):
    """Post rows; return status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(rows), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


# %%
# Ask it
# ------
#
# A row is an object of column names and numbers. Only an outlier is explained, by the
# three columns that speak most against it. Asked about are a wine of a kind that the
# detector knows, and one of another kind.

usual, other = calibration.iloc[0], X[kind == 2].iloc[0]
for row in usual, other:
    status, judged = ask(row.to_dict())
    print(status, json.dumps(judged, indent=1))

# %%
# The score is the detector's, to the bit.

print(judged["score"] == detector.score_samples(other.to_frame().T)[0])

# %%
# A list of rows is answered by a list. null is an empty cell; what is wrong is refused,
# by row and column.

_, answers = ask([row.to_dict() for _, row in X.iloc[::20].iterrows()])
print("labels:", *(answer["label"] for answer in answers))
for hue in None, "blue":
    status, answer = ask(usual.to_dict() | {"hue": hue})
    print(f"hue {hue}: {status}", answer.get("detail", ""))

# %%
# The reasons in the answer, drawn.

reasons = judged["reasons"][::-1]
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
bars = ax.barh(
    [reason["column"] for reason in reasons],
    [reason["contribution"] for reason in reasons],
)
ax.bar_label(
    bars,
    [
        f"{reason['observed']:.3g}, expected {reason['expected']:.3g}"
        for reason in reasons
    ],
    padding=4,
)
ax.margins(x=0.5)
ax.set(
    xlabel="contribution to the anomaly score",
    title=f"Why this wine is flagged, with a p-value of {judged['p_value']:.3f}",
)
plt.show()

# %%
# Stop it
# -------

server.should_exit = True
thread.join()
print("stopped")
