"""What a fuzzer that is guided by coverage finds in `skae.load`.

Atheris changes small valid files, keeps what reaches new code of skae, and changes that
again. Most changes are made behind the checksum, which is then made right: one in four
of bytes, the others of the JSON text, of arrays, or by `tests/files/corruption.py`. A
file has to end in a ValueError that names it, or in a detector that scores, explains,
and is saved and loaded again. Anything else is *wrong*: another exception, a warning, a
number that is not finite, more than `TIMEOUT` seconds or more than `MEMORY` bytes. The
file is kept in `--found`, beside its traceback, once for each place that raises. The
exit status is then 1.

Neither Keras nor TensorFlow is used: a file that names an activation which only Keras
has must ask for it. With `--fit`, which uses both, files of all kinds of detectors are
added to the corpus first.

    python -m pip install . --group fuzzing
    python benchmarks/fuzz_load.py --minutes 60 --workers 2 --corpus corpus
"""

import argparse
import collections
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "files"))

TIMEOUT = 20  # seconds
MEMORY = 4 * 2**30
MAX_BYTES = 2**15  # of a file
USED_WHOLE = 8  # one working detector in so many is used in every way
FITTED = {  # of small detectors, beside those of the fixtures
    "folds": {"calibration_cv": 3},
    "calibrated": {"calibration_fraction": 0.3},
    "stopped": {"early_stopping": True, "score_method": "reconstruction"},
    "ensemble": {"n_estimators": 3, "activation": "tanh"},
}


# ------------------------------------------------------------------ one fuzzing process


class Fuzzer:
    """Files in, a look at what becomes of them, counts and findings out."""

    def __init__(self, folder, corpus, found, seed):
        self.path = folder / f"fuzzed_{seed}.skae"
        self.counts_path = found / f"counts_{seed}.json"
        self.found = found
        self.good = [path.read_bytes() for path in sorted(corpus.glob("*.skae"))]
        self.counts = collections.Counter()

    def mutate(self, content, max_size, seed):
        """Change a file, in nearly all cases behind a checksum that is then right."""
        import atheris
        import corruption
        import numpy as np

        rng = np.random.default_rng(seed)
        if rng.integers(2):  # most files of the corpus are refused for one reason
            content = self.good[rng.integers(len(self.good))]
        action = rng.integers(8)
        start = corruption.N_UNCHECKED
        try:
            if action < 2:
                changed = atheris.Mutate(content[start:], max_size - start)
                changed = corruption.seal(changed)
            elif action < 4:
                changed = change_value(rng, content)
            elif action < 5:
                changed = change_array(rng, content)
            elif action < 7 or rng.integers(4):
                kinds = list(corruption.KINDS)
                kind = kinds[rng.integers(len(kinds))]
                with warnings.catch_warnings(action="ignore"):
                    changed = corruption.KINDS[kind](rng, content)
            else:
                changed = atheris.Mutate(content, max_size)
        except Exception:  # a file that cannot be taken apart
            changed = corruption.seal(atheris.Mutate(content[start:] or b"0", max_size))
        return changed if len(changed) <= max_size else content

    def test(self, content):
        """Load a file, use what comes out, and keep it if anything is wrong."""
        self.path.write_bytes(content)
        try:
            self.counts[self.load_and_use(content)] += 1
        except Exception as error:
            self.counts["wrong"] += 1
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} {frame.filename} {frame.lineno}"
            name = hashlib.sha256(place.encode()).hexdigest()[:12]
            if not (self.found / f"{name}.txt").exists():
                (self.found / f"{name}.skae").write_bytes(content)
                (self.found / f"{name}.txt").write_text(traceback.format_exc())
        if sum(self.counts.values()) % 200 == 0:
            self.counts_path.write_text(json.dumps(self.counts))

    def load_and_use(self, content):
        """Return what became of the file in `self.path`; raise if that is wrong."""
        import corruption
        import numpy as np

        import skae

        try:
            with warnings.catch_warnings(action="error"):
                detector = skae.load(self.path)
        except ValueError as error:
            assert str(self.path) in str(error), "not an error of ours"
            return "damaged" if "checksum" in str(error) else "refused"
        except ImportError as error:
            assert "python -m pip install keras" in str(error), "not an error of ours"
            return "of Keras"
        with warnings.catch_warnings(action="error"):
            if content[-1] % USED_WHOLE == 0:
                corruption.use(detector, self.path)
            else:
                scores = detector.score_samples(corruption.make_rows(detector))
                assert np.isfinite(scores).all() and (scores <= 0).all()
        return "work"


def change_value(rng, content):
    """Change the JSON text of one value, which stays JSON if that can be."""
    import atheris
    import corruption

    header, arrays = corruption.split(content)
    parent, key = corruption.pick_json(rng, header)
    text = atheris.Mutate(json.dumps(parent[key]).encode(), 200)
    try:
        parent[key] = json.loads(text)
    except (ValueError, RecursionError):
        parent[key] = text.decode("utf-8", "surrogateescape")
    return corruption.join(header, arrays)


def change_array(rng, content):
    """Change the bytes of one array, and what the JSON text says of its length."""
    import atheris
    import corruption
    import numpy as np

    header, arrays = corruption.split(content)
    name = list(arrays)[rng.integers(len(arrays))]
    dtype, shape = header["arrays"][name]
    n_bytes = len(arrays[name])
    if len(shape) > 1 or rng.integers(2):  # of the same length
        changed = atheris.Mutate(arrays[name], n_bytes)
        arrays[name] = changed.ljust(n_bytes, b"\0")
    else:
        size = np.dtype(dtype).itemsize
        changed = atheris.Mutate(arrays[name], 2 * n_bytes)
        arrays[name] = changed[: len(changed) // size * size]
        header["arrays"][name] = [dtype, [len(arrays[name]) // size]]
    return corruption.join(header, arrays)


def fuzz(arguments):
    """Fuzz in this process, up to the time limit or the first crash of Python."""
    import atheris

    for name in "keras", "tensorflow":
        sys.modules[name] = None  # importing it is an ImportError
    with atheris.instrument_imports(include=["skae"]):
        import corruption  # noqa: F401, which imports skae
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(
            Path(folder), arguments.corpus, arguments.found, arguments.child
        )
        options = [
            f"-max_total_time={max(1, round(60 * arguments.minutes))}",
            f"-max_len={MAX_BYTES}",
            f"-timeout={TIMEOUT}",
            f"-rss_limit_mb={MEMORY // 2**20}",
            f"-seed={arguments.child + 1}",
            f"-artifact_prefix={arguments.found}/",
            "-len_control=0",
            "-print_final_stats=1",
            str(arguments.corpus),
        ]
        atheris.Setup(
            [sys.argv[0], *options], fuzzer.test, custom_mutator=fuzzer.mutate
        )
        atheris.Fuzz()


# -------------------------------------------------------------------- all the processes


def write_fixtures(corpus):
    """Write files of all formats, and one that was calibrated."""
    import skae

    fixtures = ROOT / "tests" / "files" / "fixtures"
    for path in fixtures.glob("*.skae"):
        (corpus / path.name).write_bytes(path.read_bytes())
    path = fixtures / "detector_format_3.skae"
    detector = skae.load(path)
    import corruption

    rows = corruption.make_rows(detector, 40).iloc[:39]
    skae.save(
        detector.calibrate(rows, false_alarm_rate=0.1),
        corpus / "calibrated_format_3.skae",
    )


def write_fitted(corpus):
    """Files of detectors of all kinds, and of streams."""
    import corruption
    import numpy as np

    import skae

    rows = np.random.default_rng(0).normal(size=(40, 3))
    with warnings.catch_warnings(action="ignore"):  # of few rows
        for name, parameters in FITTED.items():
            detector = skae.AutoencoderOutlierDetector((3, 2), epochs=2, **parameters)
            skae.save(detector.fit(rows), corpus / f"{name}.skae")
        for file_format in 3, 4:
            name = f"detector_format_{file_format}.skae"
            detector = skae.load(corpus / name)
            detector.partial_fit(corruption.make_rows(detector, 20).iloc[:19])
            skae.save(detector, corpus / f"stream_format_{file_format}.skae")


def run(arguments):
    """Keep all processes going up to the time limit; return the last lines of each."""
    deadline = time.time() + 60 * arguments.minutes
    processes, seed = {}, 0
    totals = collections.Counter()
    while time.time() < deadline or processes:
        for worker, (process, log) in list(processes.items()):
            if process.poll() is not None:
                totals["ended early"] += process.returncode != 0
                del processes[worker]
                log.close()
        while len(processes) < arguments.workers and time.time() < deadline - 5:
            worker = min(set(range(arguments.workers)) - processes.keys())
            command = [sys.executable, __file__, "--child", str(seed)]
            command += ["--minutes", str((deadline - time.time()) / 60)]
            command += ["--corpus", arguments.corpus, "--found", arguments.found]
            log = open(arguments.found / f"log_{seed}.txt", "w")
            process = subprocess.Popen(command, stdout=log, stderr=log)
            processes[worker] = process, log
            seed += 1
        time.sleep(1)
    return totals


def report(arguments, totals):
    """Print the counts; return whether anything was wrong."""
    counts = collections.Counter(totals)
    covered = []
    for path in arguments.found.glob("counts_*.json"):
        counts.update(json.loads(path.read_text()))
    for path in arguments.found.glob("log_*.txt"):
        covered.append([int(n) for n in re.findall(r"cov: (\d+)", path.read_text())])
    first = min((c[0] for c in covered if c), default=0)
    last = max((c[-1] for c in covered if c), default=0)
    names = "damaged", "refused", "of Keras", "work", "wrong", "ended early"
    n_files = sum(counts[name] for name in names[:5])
    print(f"files {n_files}, " + ", ".join(f"{n} {counts[n]}" for n in names))
    print(f"branches of skae reached: {first} at the start, {last} at the end")
    print(f"files in the corpus: {len(list(arguments.corpus.iterdir()))}")
    texts = [path.read_text() for path in sorted(arguments.found.glob("*.txt"))]
    for text in (text for text in texts if text.startswith("Traceback")):
        print(f"\n{text}")
    artifacts = [*arguments.found.glob("crash-*"), *arguments.found.glob("timeout-*")]
    artifacts += arguments.found.glob("oom-*")
    print(*artifacts, sep="\n")
    return bool(counts["wrong"] or artifacts)


def main():
    """Fuzz, print what came of it; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--corpus", type=Path, default="corpus")
    parser.add_argument("--found", type=Path, default="found", help="made empty first")
    parser.add_argument("--fit", action="store_true", help="more files, with Keras")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        fuzz(arguments)
        return
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    arguments.found.mkdir(parents=True, exist_ok=True)
    for path in arguments.found.iterdir():
        path.unlink()
    write_fixtures(arguments.corpus)
    if arguments.fit:
        write_fitted(arguments.corpus)
    sys.exit(report(arguments, run(arguments)))


if __name__ == "__main__":
    main()
