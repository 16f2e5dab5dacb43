"""What becomes of detectors, files and caches when something fails at a bad moment.

Interrupts and other errors are raised by callbacks at every epoch of every kind of fit,
and at lines of skae that every kind of call runs; processes are killed, and disks are
full, while they save; a file is written over in place while it is read; cached
trainings are damaged; workers of a search are killed; threads score, explain, pickle,
save and load while others fit. *Survived* counts the faults after which the detector,
file or result is as before, or as after the whole call, and the next call works; the
first of the others are printed, and the exit status is 1.
"""

import argparse
import contextlib
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from functools import partial
from pathlib import Path

import _report
import numpy as np

import skae

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import injection  # noqa: E402

MAX_SHOWN = 10
ERRORS = [KeyboardInterrupt, MemoryError, StopIteration, GeneratorExit, SystemExit]
HOOKS = "on_epoch_begin on_epoch_end on_train_batch_begin on_train_batch_end".split()
X = np.random.RandomState(0).normal(size=(40, 3))


def make(**parameters):
    """Make a small detector, of two epochs of two updates."""
    small = {"hidden_layer_sizes": (4, 2), "epochs": 2, "batch_size": 20}
    return skae.AutoencoderOutlierDetector(**small | {"random_state": 0} | parameters)


class Tally:
    """How many faults of a kind were survived, and what the others did."""

    def __init__(self, kind, seconds):
        self.kind, self.n_faults, self.wrong, self.n_fits = kind, 0, [], 0
        self._start = time.perf_counter()
        self._end = self._start + seconds

    @property
    def has_time(self):
        """Whether there is time for more faults."""
        return time.perf_counter() < self._end

    @contextlib.contextmanager
    def count(self, what):
        """Count a fault; what the block raises is no survival."""
        self.n_faults += 1
        try:
            yield
        except Exception:
            self.wrong.append(f"{self.kind}, {what}:\n{traceback.format_exc(limit=-3)}")

    def make_line(self):
        """Return a line of the table."""
        n_survived = self.n_faults - len(self.wrong)
        seconds = time.perf_counter() - self._start
        return self.kind, str(self.n_faults), str(n_survived), f"{seconds:.0f}"


def interrupt_epochs(seconds):
    """Raise at every hook of every epoch of every network of every kind of fit."""
    tally = Tally("errors of callbacks, every epoch and batch", seconds)
    for path, (_, _, method) in injection.PATHS.items():
        if method != "fit":
            continue
        detector, call = injection.prepare(path, make, X)
        before, content = injection.read_state(detector), pickle.dumps(detector)
        counts = injection.count_calls(HOOKS, partial(call, X))
        detector = pickle.loads(content)
        call = detector.fit
        for hook, n_calls in counts.items():
            for number in range(n_calls):
                error = ERRORS[tally.n_faults % len(ERRORS)]()
                with tally.count(f"{path}, {hook} {number}, {error!r}"):
                    callback = injection.make_callback(hook, number, error)
                    try:
                        call(X, callbacks=[callback])
                    except BaseException as caught:
                        assert caught is error, repr(caught)
                        assert error.__cause__ is None
                    else:
                        raise AssertionError("nothing was raised")
                    assert injection.read_state(detector) == before
    return tally


def interrupt_lines(seconds):
    """Raise at lines of every kind of call, drawn at random, until the time is over."""
    tally, rng = Tally("errors at lines of skae", seconds), random.Random(0)
    known = {}
    for path in injection.PATHS:
        detector, call = injection.prepare(path, make, _rows(path))
        content, before = pickle.dumps(detector), injection.read_state(detector)
        lines = injection.list_lines(partial(call, _rows(path)))
        rng.shuffle(lines)
        known[path] = content, before, injection.read_state(detector), lines
    while tally.has_time and any(lines for *_, lines in known.values()):
        for path, (content, before, after, lines) in known.items():
            for _ in range(min(5, len(lines))):
                detector = pickle.loads(content)
                call = getattr(detector, injection.PATHS[path][2])
                _interrupt_line(tally, path, lines.pop(), detector, call, before, after)
    n_left = sum(len(lines) for *_, lines in known.values())
    tally.kind += f" ({n_left} lines left out)"
    return tally


def _rows(path):
    """Return rows for a path; calibration scores two blocks of them."""
    return np.tile(X, (7, 1)) if path == "calibration" else X


def _interrupt_line(tally, path, line, detector, call, before, after):
    error = ERRORS[tally.n_faults % 2]()
    with tally.count(f"{path}, {line}"):
        try:
            injection.fail_at(line, error, partial(call, _rows(path)))
        except BaseException as caught:
            assert caught is error or error in (caught.__cause__, caught.__context__)
        state = injection.read_state(detector)
        assert state in (before, after), "neither before nor after"
        if state == before:
            call(_rows(path))
            assert injection.read_state(detector) == after, "the next call differs"


SAVE_FOR_EVER = """
import sys, skae
detectors = [skae.load(name) for name in sys.argv[1:3]]
print("ready", flush=True)
while True:
    for detector in detectors:
        skae.save(detector, sys.argv[3])
"""


def save_two(folder):
    """Write files of two detectors of 2.4 MB; return their names and contents."""
    rows = np.random.RandomState(0).normal(size=(60, 100))
    names = [str(Path(folder, name)) for name in ("one.skae", "two.skae")]
    for seed, name in enumerate(names):
        wide = make(hidden_layer_sizes=(1000, 200), epochs=1, random_state=seed)
        skae.save(wide.fit(rows), name)
    return names, [Path(name).read_bytes() for name in names]


def kill_savers(seconds):
    """Kill processes with SIGKILL that save large files, at random moments."""
    tally, rng = Tally("kill -9 while saving", seconds), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        names, contents = save_two(folder)
        path = Path(folder, "sub", "file.skae")
        path.parent.mkdir()
        path.write_bytes(contents[0])
        seen = set()
        while tally.has_time:
            process = subprocess.Popen(
                [sys.executable, "-c", SAVE_FOR_EVER, *names, path],
                stdout=subprocess.PIPE,
            )
            process.stdout.readline()
            for _ in range(40):  # forks are quick to start: stop, look, go on
                time.sleep(rng.uniform(0, 0.05))
                process.send_signal(signal.SIGSTOP)
                with tally.count("stopped"):
                    seen.add(contents.index(path.read_bytes()))
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            process.stdout.close()
            with tally.count("killed"):
                seen.add(contents.index(path.read_bytes()))
                skae.load(path)
        n_left = len(list(path.parent.iterdir())) - 1
        tally.kind += f" or stopped ({n_left} temporary files left by kills)"
        tally.kind += f", {len(seen)} of 2 contents seen"
    return tally


FILL = """
import os, sys, skae
folder, name, n_bytes = sys.argv[1:]
path, old = os.path.join(folder, "file.skae"), b"the old file"
detector = skae.load(name)
n_whole = os.path.getsize(name)
def free():
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
with open(path, "wb") as file:
    file.write(old)
n_full = n_wrong = 0
n_free = free()
for left in range(0, n_whole, n_whole // int(n_bytes)):
    with open(os.path.join(folder, "filler"), "wb") as filler:
        filler.write(bytes(max(0, n_free - left)))
    try:
        skae.save(detector, path)
    except OSError as error:
        n_full += error.errno == 28
    os.unlink(os.path.join(folder, "filler"))
    n_wrong += os.listdir(folder) != ["file.skae"] or open(path, "rb").read() != old
skae.save(detector, path)
n_wrong += open(path, "rb").read() != open(name, "rb").read()
print(n_full, n_wrong)
"""


def fill_disks(seconds):
    """Save into a file system of 8 MB that others have filled, but for some bytes."""
    tally = Tally("full disk while saving", seconds)
    with tempfile.TemporaryDirectory() as folder:
        names, _ = save_two(folder)
        Path(folder, "small").mkdir()
        Path(folder, "fill.py").write_text(FILL, encoding="utf-8")
        command = (
            'mount -t tmpfs -o size=8m tmpfs "$1/small" && '
            'exec "$0" "$1/fill.py" "$1/small" "$2" 200'
        )
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", command, sys.executable, folder, names[0]],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            tally.kind += f" (left out: {done.stderr.strip()[-80:]})"
            return tally
        n_full, n_wrong = map(int, done.stdout.split())
        tally.n_faults, tally.wrong = n_full, n_wrong * ["full disk: not as before"]
    return tally


def change_while_loading(seconds):
    """Write over a file in place, over and over, while it is loaded."""
    tally = Tally("file written over in place while loaded", seconds)
    with tempfile.TemporaryDirectory() as folder:
        names, contents = save_two(folder)
        path, has_ended = Path(folder, "file.skae"), threading.Event()
        path.write_bytes(contents[0])
        scores = [skae.load(name).offset_ for name in names]
        refused = loaded = 0

        def write():
            rng = random.Random(0)
            with open(path, "r+b", buffering=0) as file:
                while not has_ended.is_set():
                    for content in contents:
                        cut = rng.randrange(len(content))
                        file.seek(cut)
                        file.write(content[cut:])
                        file.seek(0)
                        file.write(content[:cut])
                        time.sleep(rng.uniform(0, 0.02))

        writer = threading.Thread(target=write)
        writer.start()
        while tally.has_time:
            with tally.count("load"):
                try:
                    assert skae.load(path).offset_ in scores
                    loaded += 1
                except ValueError as error:
                    assert "can load" in str(error)
                    refused += 1
        has_ended.set()
        writer.join()
        tally.kind += f" ({refused} refused, {loaded} whole)"
    return tally


def damage_caches(seconds):
    """Flip bits of cached trainings, or cut them off."""
    tally, rng = Tally("damaged cache", seconds), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        cached = make(memory=folder)
        expected = cached.fit(X).score_samples(X)
        contents = {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
        while tally.has_time:
            path = rng.choice(list(contents))
            content = bytearray(contents[path])
            place = rng.randrange(len(content))
            content[place] ^= 1 << rng.randrange(8)
            cut = rng.choice([len(content), len(content), place])
            path.write_bytes(content[:cut])
            with tally.count(f"{path.name}, {place}, {cut}"):
                assert (cached.fit(X).score_samples(X) == expected).all()
            for whole, content in contents.items():
                whole.write_bytes(content)
    return tally


USE_CACHE = """
import os, sys, warnings
warnings.simplefilter("ignore")
import faults
faults.make().fit(faults.X)
if sys.argv[3:] and os.geteuid() == 0:  # who may write everywhere
    os.seteuid(65534)
for seed in range(int(sys.argv[2])):
    scores = faults.make(memory=sys.argv[1], random_state=seed).fit(faults.X)
    print(scores.score_samples(faults.X).tobytes().hex())
"""


def share_caches(n_fits):
    """Let two processes fill one cache at once, and a third one read it as nobody."""
    tally = Tally("cache shared by two processes, then read-only", 0)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        command = [sys.executable, "-c", USE_CACHE, folder, str(n_fits)]
        run = partial(
            subprocess.Popen,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        processes = [run(command), run(command)]
        answers = [process.communicate(timeout=300)[0] for process in processes]
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        command[4:] = [str(n_fits + 2), "as nobody"]
        answers.append(run(command).communicate(timeout=300)[0])
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o755)
    for seed in range(n_fits + 2):
        expected = make(random_state=seed).fit(X).score_samples(X).tobytes().hex()
        for answer in answers if seed < n_fits else answers[2:]:
            with tally.count(f"seed {seed}"):
                assert answer.split()[seed] == expected
    return tally


class Die:
    """A callback that kills its process at an epoch, once for each flag."""

    def __new__(cls, flag, epoch):
        """Make a Keras callback; its class is made late, as Keras is imported late."""
        import keras

        class Killer(keras.callbacks.Callback):
            def on_epoch_begin(self, number, logs=None):
                if number == epoch and not os.path.exists(flag):
                    Path(flag).touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        return Killer()


def kill_workers(n_searches):
    """Kill a worker in the middle of a fit of a parallel search."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from sklearn.model_selection import GridSearchCV

    tally = Tally("killed worker of a search", 0)
    grid = {"contamination": [0.1, 0.2]}

    def search(n_jobs, **arguments):
        found = GridSearchCV(make(epochs=4), grid, cv=2, n_jobs=n_jobs, refit=False)
        return found.fit(X, **arguments).cv_results_["mean_test_score"]

    with tempfile.TemporaryDirectory() as folder:
        expected = search(1)
        for epoch in range(n_searches):
            with tally.count(f"epoch {epoch}"):
                flag = str(Path(folder, str(epoch)))
                try:
                    search(2, callbacks=[Die(flag, epoch)])
                    raise AssertionError("no worker was killed")
                except TerminatedWorkerError:
                    np.testing.assert_allclose(search(2), expected, rtol=1e-9)
    return tally


def use_in_threads(seconds):
    """Refit a detector while others ask it; count the answers."""
    tally = Tally("answers while another thread refits", seconds)
    sys.setswitchinterval(1e-5)
    with tempfile.TemporaryDirectory() as folder:
        tables = [X, 1e3 * X[:30] ** 2]
        kinds = make(memory=folder, calibration_fraction=0.3), make(n_estimators=2)
        detectors = [[clone_and_fit(kind, table) for table in tables] for kind in kinds]
        errors = []
        threads = []
        for pair in detectors:
            expected = [{ask(d) for d in pair} for ask in ASKED]
            shared = pickle.loads(pickle.dumps(pair[0]))
            threads.append((refit, (tally, shared, tables)))
            threads += 2 * [(ask_all, (tally, shared, expected))]
        path = str(Path(folder, "file.skae"))
        threads.append((save_and_load, (tally, detectors[1][1], path)))

        def run(work, arguments):
            try:
                work(*arguments)
            except BaseException:
                errors.append(traceback.format_exc(limit=-3))

        running = [
            threading.Thread(target=run, args=(work, arguments), daemon=True)
            for work, arguments in threads
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(seconds + 120)
        tally.kind += f" ({tally.n_fits} fits)"
        tally.wrong += errors
        tally.wrong += ["deadlock" for thread in running if thread.is_alive()]
    sys.setswitchinterval(0.005)
    return tally


def clone_and_fit(detector, table):
    """Fit a copy."""
    return pickle.loads(pickle.dumps(detector)).fit(table)


def refit(tally, detector, tables):
    """Fit by turns until the time is over."""
    while tally.has_time:
        tally.n_fits += 1
        detector.fit(tables[tally.n_fits % 2])


ASKED = [
    lambda detector: detector.decision_function(X).tobytes(),
    lambda detector: detector.explain(X[:5]).tobytes(),
    lambda detector: detector.reconstruct(X).tobytes(),
    lambda detector: clone_decision(detector).tobytes(),
    lambda detector: injection.read_state(pickle.loads(pickle.dumps(detector))),
]


def clone_decision(detector):
    """Return the decision of a pickled copy."""
    return pickle.loads(pickle.dumps(detector)).decision_function(X)


def ask_all(tally, detector, expected):
    """Ask until the time is over."""
    while tally.has_time:
        for ask, answers in zip(ASKED, expected, strict=True):
            tally.n_faults += 1
            if ask(detector) not in answers:
                tally.wrong.append("an answer of neither fit")


def save_and_load(tally, detector, path):
    """Save and load until the time is over."""
    expected = detector.decision_function(X)
    while tally.has_time:
        skae.save(detector, path)
        tally.n_faults += 1
        if (skae.load(path).decision_function(X) != expected).any():
            tally.wrong.append("a file of something else")


def main():
    """Inject, count and print; the exit status is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="for each kind")
    arguments = parser.parse_args()

    _report.print_header(__doc__, ("skae", "tensorflow", "keras", "joblib"))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # of joblib, of damaged caches
    lines = [("", "faults", "survived", "seconds")]
    wrong = []
    n_rounds = max(1, int(arguments.seconds / 20))
    for inject, extent in [
        (interrupt_epochs, arguments.seconds),
        (interrupt_lines, arguments.seconds),
        (kill_savers, arguments.seconds / 2),
        (fill_disks, arguments.seconds),
        (change_while_loading, arguments.seconds / 4),
        (damage_caches, arguments.seconds / 4),
        (share_caches, n_rounds),
        (kill_workers, min(4, n_rounds)),
        (use_in_threads, arguments.seconds),
    ]:
        tally = inject(extent)
        lines.append(tally.make_line())
        wrong += tally.wrong
        print("; ".join(lines[-1]), file=sys.stderr, flush=True)  # a long wait
    _report.print_lines(lines)
    for case in wrong[:MAX_SHOWN]:
        print(f"\n{case}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
