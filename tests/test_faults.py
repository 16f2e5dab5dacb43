"""What fails at a bad moment leaves a detector, a file and a folder as they were."""

import contextlib
import os
import pickle
import random
import shutil
import tempfile
import threading
from functools import partial
from pathlib import Path

import injection
import joblib
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skae
from skae._files import _container
from skae._tables import _reading

SCRIPT = Path(__file__).parents[1] / "docs" / "examples" / "plot_mnist.py"


class OwnError(Exception):
    pass


ERRORS = [KeyboardInterrupt, MemoryError, OwnError, StopIteration, GeneratorExit]
HOOKS = "on_epoch_begin on_epoch_end on_train_batch_begin on_train_batch_end".split()


@pytest.fixture(scope="module")
def X():
    return np.random.RandomState(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def make(make_detector):
    """Two updates an epoch."""

    def make(**parameters):
        small = {"hidden_layer_sizes": (4, 2), "epochs": 2, "batch_size": 20}
        return make_detector(**{**small, "score_method": "neighbors", **parameters})

    return make


@pytest.fixture(scope="module")
def detector(make, X):
    return make().fit(X)


# ------------------------------------------------------------------- while it learns


FITS = [path for path, (_, _, method) in injection.PATHS.items() if method == "fit"]


@pytest.mark.parametrize("path", FITS)
def test_error_of_a_callback_comes_out_as_it_is_and_changes_nothing(path, make, X):
    """At the last epoch of the last network, and at one more moment."""
    detector, call = injection.prepare(path, make, X)
    before, rng = injection.read_state(detector), random.Random(path)
    n_networks = detector.n_estimators * (detector.calibration_cv or 1)
    last = detector.epochs * n_networks - 1
    moments = [("on_epoch_end", last), (rng.choice(HOOKS), rng.choice([0, 1]))]
    for hook, number in moments:
        error = rng.choice(ERRORS)()
        with pytest.raises(type(error)) as caught:
            call(X, callbacks=[injection.make_callback(hook, number, error)])
        assert caught.value is error and error.__cause__ is None
        assert injection.read_state(detector) == before


@pytest.mark.filterwarnings("ignore:Early stopping did not end")
@pytest.mark.parametrize(
    "path", ["refit", "ensemble in folds", "part after a fit", "part of a stream"]
)
def test_interrupt_at_any_line_changes_nothing_and_the_next_call_works(path, make, X):
    """Or the call is complete; at the lines that assign, and at some of the others."""
    detector, call = injection.prepare(path, make, X)
    before, content = injection.read_state(detector), pickle.dumps(detector)
    lines = injection.list_lines(lambda: call(X))
    after = injection.read_state(detector)
    assert before != after
    rng = random.Random(path)
    assigning = [line for line in lines if line[0].endswith("_detector.py")][-8:]
    found = set()
    for line in [*rng.sample(lines, 6), *assigning]:
        detector = pickle.loads(content)
        call, error = getattr(detector, call.__name__), rng.choice(ERRORS[:2])()
        with pytest.raises(type(error)):
            injection.fail_at(line, error, partial(call, X))
        state = injection.read_state(detector)
        found.add(state)
        assert state in (before, after), line
        if state == before:
            call(X)
            assert injection.read_state(detector) == after
    assert before in found


@pytest.mark.parametrize("use", ["calibrate", "score_samples", "explain", "pickle"])
def test_interrupt_at_any_line_of_a_call_that_learns_nothing_changes_nothing(
    use, detector, X
):
    """There are two blocks of rows, one of them for another thread."""
    copy = pickle.loads(content := pickle.dumps(detector))
    rows = np.tile(X, (7, 1))

    def call():
        if use == "pickle":
            pickle.dumps(copy)
        elif use == "calibrate":
            copy.calibrate(rows, false_alarm_rate=0.1)
        else:
            getattr(copy, use)(rows)

    before = injection.read_state(copy)
    lines = injection.list_lines(call)
    after = injection.read_state(copy)
    copy = pickle.loads(content)
    for line in lines[::2] + lines[-5:]:
        with contextlib.suppress(KeyboardInterrupt):  # a line that runs only once
            injection.fail_at(line, KeyboardInterrupt(), call)
            before = after
        assert injection.read_state(copy) in (before, after), line
    call()
    assert injection.read_state(copy) == after


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, of what overflows
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 0.0])
def test_table_that_changes_between_the_epochs_is_an_error_or_a_finite_result(
    value, tmp_path, make, X, monkeypatch
):
    """A memory map that is too large to be copied."""
    import keras

    monkeypatch.setattr(_reading, "COPIED_CELLS", 0)
    np.save(tmp_path / "X.npy", X)
    detector = make().fit(X)
    before = injection.read_state(detector)

    class Change(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            changed = np.load(tmp_path / "X.npy", mmap_mode="r+")
            changed[:] = value

    try:
        X_map = np.load(tmp_path / "X.npy", mmap_mode="r")
        detector.fit(X_map, callbacks=[Change()])
    except ValueError as error:
        assert "diverged" in str(error) or "NaN" in str(error) or "inf" in str(error)
        assert injection.read_state(detector) == before
    else:
        assert np.isfinite(detector.score_samples(X)).all()
        assert np.isfinite(detector.offset_)


# ------------------------------------------------------------ while it saves or loads


def test_interrupt_at_any_line_of_save_leaves_a_whole_file_and_nothing_else(
    detector, make, X, tmp_path
):
    path = tmp_path / "detector.skae"
    other = make(random_state=1).fit(X)
    skae.save(other, path)
    new = path.read_bytes()
    lines = injection.list_lines(lambda: skae.save(other, path))
    skae.save(detector, path)
    old = path.read_bytes()
    for line in lines:
        path.write_bytes(old)
        with pytest.raises(KeyboardInterrupt):
            injection.fail_at(line, KeyboardInterrupt(), lambda: skae.save(other, path))
        assert path.read_bytes() in (old, new), line
        assert list(tmp_path.iterdir()) == [path], line


def test_first_error_of_save_is_raised_if_the_rest_cannot_be_removed(
    detector, tmp_path, monkeypatch
):
    def fail_to_replace(*_):
        raise OSError("disk full")

    def fail_to_remove(*_):
        raise PermissionError("may not remove")

    monkeypatch.setattr(os, "replace", fail_to_replace)
    monkeypatch.setattr(os, "unlink", fail_to_remove)
    with pytest.raises(OSError, match="disk full"):
        skae.save(detector, tmp_path / "a")


def test_older_file_may_vanish_while_a_new_one_is_saved(
    detector, tmp_path, monkeypatch
):
    copymode = shutil.copymode

    def copy_too_late(path, temporary):
        os.unlink(path)
        copymode(path, temporary)

    skae.save(detector, tmp_path / "a")
    monkeypatch.setattr(shutil, "copymode", copy_too_late)
    skae.save(detector, tmp_path / "a")
    assert skae.load(tmp_path / "a").offset_ == detector.offset_


@pytest.fixture(scope="module")
def folder_of_two(detector, make, X, tmp_path_factory):
    """Files of two detectors, in a folder of their own."""
    folder = tmp_path_factory.mktemp("two")
    skae.save(detector, folder / "one.skae")
    skae.save(make(random_state=1).fit(X), folder / "two.skae")
    return folder


FULL = """
import os, resource, sys
from pathlib import Path
import skae
folder = Path(sys.argv[1])
detector, path = skae.load(folder / "one.skae"), folder / "full" / "file.skae"
path.parent.mkdir()
path.write_bytes(old := (folder / "two.skae").read_bytes())
n_bytes, n_failures = (folder / "one.skae").stat().st_size, 0
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in [*range(0, n_bytes, n_bytes // 50), n_bytes - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        skae.save(detector, path)
    except OSError:
        n_failures += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_bytes() == old and os.listdir(path.parent) == [path.name]
skae.save(detector, path)
assert path.read_bytes() == (folder / "one.skae").read_bytes()
print(n_failures)
"""


def test_file_that_cannot_grow_leaves_the_old_one_and_nothing_else(
    folder_of_two, run_in_fresh_process
):
    pytest.importorskip("resource")
    out, _ = run_in_fresh_process(FULL, folder_of_two)
    assert int(out) >= 50


KILL = """
import os, random, signal, sys, time
from pathlib import Path
import skae
folder, n_kills = Path(sys.argv[1]), int(sys.argv[2])
detectors = [skae.load(folder / name) for name in ("one.skae", "two.skae")]
contents = [(folder / name).read_bytes() for name in ("one.skae", "two.skae")]
(folder / "killed").mkdir()
path, rng = folder / "killed" / "file.skae", random.Random(0)
skae.save(detectors[0], path)
start = time.perf_counter()
skae.save(detectors[1], path)
one_save = time.perf_counter() - start
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        while True:
            for detector in detectors:
                skae.save(detector, path)
    for _ in range(rng.randrange(1, 4)):  # however slowly it saves
        before = path.stat().st_ino
        while path.stat().st_ino == before:
            time.sleep(one_save / 20)
    time.sleep(rng.uniform(0, 2) * one_save)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.read_bytes() in contents
    skae.load(path)
skae.save(detectors[1], path)
assert path.read_bytes() == contents[1]
left = [name for name in os.listdir(path.parent) if name != path.name]
assert all(name.startswith(".skae-") and name.endswith(".tmp") for name in left), left
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_killed_while_it_saves_leaves_one_of_the_two_files(
    folder_of_two, run_in_fresh_process
):
    run_in_fresh_process(KILL, folder_of_two, 20)


@pytest.mark.parametrize("change", ["cut off", "mixed", "header"])
def test_file_that_changes_while_it_is_read_is_an_error(
    change, folder_of_two, tmp_path, monkeypatch
):
    """After its checksum has been compared, so that each half is from another file."""
    path = tmp_path / "changing.skae"
    one, two = ((folder_of_two / f"{n}.skae").read_bytes() for n in ("one", "two"))
    path.write_bytes(one)
    compute, n_same = _container._compute_digest, len(one) - 200
    changed = {
        "cut off": one[:n_same],
        "mixed": one[:n_same] + two[-200:],
        "header": one.replace(b'"n_iter_":2', b'"n_iter_":3'),
    }[change]
    assert changed != one

    def change_after(file):
        digest = compute(file)
        path.write_bytes(changed)
        return digest

    monkeypatch.setattr(_container, "_compute_digest", change_after)
    with pytest.raises(ValueError, match="changed while it was read|ends too early"):
        skae.load(path)


# ------------------------------------------------------------------------- its cache


@pytest.fixture(scope="module")
def cache(make, X, tmp_path_factory):
    """A folder that has a training, and the scores that it gives."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, make(memory=str(folder)).fit(X).score_samples(X)


def damage(path, how, rng):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif how == "random":
        path.write_bytes(rng.bytes(len(content)))
    elif how == "another":
        joblib.dump({"trainings": 1, "seal": 2}, path)
    else:
        place = rng.randint(len(content))
        flipped = bytes([content[place] ^ 1 << rng.randint(8)])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])


DAMAGES = ["empty", "cut off", "random", "another"] + 8 * ["bit"]


@pytest.mark.parametrize("seed, how", list(enumerate(DAMAGES)))
@pytest.mark.filterwarnings("ignore:Unable to cache")
def test_damaged_cache_gives_what_it_gave_before(seed, how, cache, make, X, tmp_path):
    """A flipped bit may lie in a weight, and no pickle tells."""
    folder, scores = cache
    rng = np.random.RandomState(seed)
    shutil.copytree(folder, tmp_path / "cache")
    files = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    for path in files:
        damage(path, how, rng)
    found = make(memory=str(tmp_path / "cache")).fit(X)
    np.testing.assert_array_equal(found.score_samples(X), scores)


def test_flipped_bit_of_a_cached_weight_is_noticed(cache, make, X, tmp_path):
    folder, scores = cache
    shutil.copytree(folder, tmp_path / "cache")
    (path,) = (tmp_path / "cache").rglob("output.pkl")
    content = path.read_bytes()
    weight = make().fit(X).__getstate__()["_model"]["weights"][0][0].tobytes()
    assert weight in content
    path.write_bytes(content.replace(weight, weight[:-1] + bytes([weight[-1] ^ 1])))
    found = make(memory=str(tmp_path / "cache")).fit(X)
    np.testing.assert_array_equal(found.score_samples(X), scores)


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_cache_that_cannot_be_made_is_an_error_that_names_memory(
    folder, tmp_path, make, X
):
    (tmp_path / "file").write_text("no folder")
    detector = make().fit(X)
    before = injection.read_state(detector)
    with pytest.raises(OSError, match="memory='.*' must be a folder that can be made"):
        detector.set_params(memory=str(tmp_path / folder)).fit(X)
    assert injection.read_state(detector.set_params(memory=None)) == before


@contextlib.contextmanager
def unprivileged():
    """Root may write everywhere: go on as nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.filterwarnings("ignore:Unable to cache")
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this platform has no users")
def test_cache_that_is_read_only_is_read_or_trained_beside(cache, make, X):
    folder, scores = cache
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        copy = Path(open_to_all) / "cache"
        shutil.copytree(folder, copy)
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        with unprivileged():
            recalled = make(memory=str(copy)).fit(X)
            trained = make(memory=str(copy), epochs=3).fit(X)
        (copy).chmod(0o755)
        for path in copy.rglob("*"):
            path.chmod(0o755)
    np.testing.assert_array_equal(recalled.score_samples(X), scores)
    np.testing.assert_array_equal(
        trained.score_samples(X), make(epochs=3).fit(X).score_samples(X)
    )


def test_threads_that_share_an_empty_cache_get_the_same(make, X, cache, tmp_path):
    _, scores = cache
    found = []

    def fit():
        found.append(make(memory=str(tmp_path)).fit(X).score_samples(X))

    threads = [threading.Thread(target=fit, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    np.testing.assert_array_equal(found, [scores] * 4)


def test_damaged_cache_of_a_pipeline_gives_what_it_gave_before(make, X, tmp_path):
    def fit():
        pipeline = make_pipeline(make(), StandardScaler(), memory=str(tmp_path))
        return pipeline.fit_transform(X)

    expected = fit()
    for path in tmp_path.rglob("output.pkl"):
        damage(path, "cut off", np.random)
    np.testing.assert_array_equal(fit(), expected)


# --------------------------------------------------------------- the example's download


@pytest.fixture(scope="module")
def example():
    """What plot_mnist.py defines before it runs."""
    code = SCRIPT.read_text(encoding="utf-8").split("\nparser = argparse")[0]
    names = {"__name__": "plot_mnist"}
    exec(compile(code, SCRIPT, "exec"), names)
    return names


# NumPy leaves a file open that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_download_of_the_example_is_passed_over(example, tmp_path, monkeypatch):
    """Cut off, as where another process still writes it, or with flipped bits."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setitem(example, "download_mnist", lambda: None)
    (tmp_path / "datasets").mkdir()
    path = tmp_path / "datasets" / "mnist.npz"
    images = np.random.RandomState(0).randint(256, size=(9, 8, 8), dtype=np.uint8)
    np.savez_compressed(path, x_train=images, x_test=images)
    content = path.read_bytes()
    assert example["load_images"](None)[2] == "MNIST"
    sources = set()
    for place in range(0, len(content), 29):
        flipped = bytes([content[place] ^ 255])
        for damaged in (
            content[:place],
            content[:place] + flipped + content[place + 1 :],
        ):
            path.write_bytes(damaged)
            sources.add(example["load_images"](None)[2])
    assert sources <= {"MNIST", "load_digits"}
