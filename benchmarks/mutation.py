"""Small changes of the code: which of them do the tests not notice.

Cosmic Ray makes the mutants: an operator replaced, a condition negated, a number one
higher or lower, a loop left out. Mutants of annotations, decorators and messages are
left out, and so are operators that hardly ever leave code that runs. A mutant is
*killed* if one of the tests in `TESTS` of its module fails, or takes far too long; one
that *lives* is printed as a diff, and needs a test or a reason.

The first run records which tests run which lines. After that a mutant meets the tests
that run its line, the quickest first, up to `--seconds` of them; `--again` shows those
that lived all the tests of their module's files. Results are kept in `--session`, a
session of Cosmic Ray's, after each mutant: the same command goes on where it was
stopped.

    python benchmarks/mutation.py --session mutants.sqlite --workers 2 --minutes 60
    python benchmarks/mutation.py --session mutants.sqlite --report
"""

import argparse
import ast
import json
import multiprocessing
import os
import queue
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The files whose tests are to notice, the most specific first.
_SCORES = "scoring/test_scores scoring/test_neighbors"
_FILES = "files/test_container test_without_keras files/test_persistence"
_FILES += " files/test_categories_saved"
_TABLES = "test_categories tables/test_missing"
_STREAMS = "test_calibration_cv learning/test_stream"
TESTS = {
    "_scoring/_diagnosis": "scoring/test_diagnosis test_calibration_cv test_categories",
    "_scoring/_explanation": f"{_SCORES} {_TABLES} test_detector",
    "_scoring/_forward": f"scoring/test_forward {_SCORES} {_TABLES} test_detector "
    "learning/test_network learning/test_keras_models",
    "_scoring/_neighbors": f"{_SCORES} scoring/test_forward {_TABLES} test_detector "
    "tables/test_weighting",
    "_scoring/_ranking": "scoring/test_ranking test_search test_categories",
    "_scoring/_scores": f"{_SCORES} test_detector",
    "_scoring/_surprise": f"{_SCORES} test_categories",
    "_scoring/_synthetic": "scoring/test_synthetic test_categories",
    "_scoring/_threads": "scoring/test_threads scoring/test_forward test_without_keras",
    "_scoring/_threshold": f"scoring/test_threshold {_STREAMS} test_detector "
    "tables/test_weighting",
    "_tables/_weighting": "tables/test_weighting test_categories learning/test_stream",
    "_files/_container": _FILES,
    "_files/_entries": f"{_FILES} {_STREAMS}",
    "_files/_persistence": f"{_FILES} {_STREAMS}",
}

OPERATORS = re.compile(
    "core/("
    "ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul"
    "|Pow_Mul|BitOr_BitAnd|BitAnd_BitOr|RShift_LShift)"
    "|ReplaceComparisonOperator_(Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt"
    "|GtE_Lt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)"
    "|ReplaceUnaryOperator_Delete_(USub|Not|Invert)"
    "|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr"
    "|ReplaceOrWithAnd|ReplaceBreakWithContinue|ReplaceContinueWithBreak"
    "|ExceptionReplacer|NumberReplacer|ZeroIterationForLoop)"
)
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
PYTEST += ["-p", "_mutation_plugin", "-m", "not slow"]
NOT_COPIED = shutil.ignore_patterns(".*", "*.egg-info", "*.sqlite*", "dist", "build")
START_SECONDS = 15  # of Python, pytest and TensorFlow, on a busy machine
COLUMNS = "{:<28}{:>8}{:>8}{:>8}{:>8}{:>8}"


# ------------------------------------------------------------------------- the mutants


def make_session(path, names, n_sampled, seed):
    """Write down all mutants, and skip those that nobody wants to know about."""
    import cosmic_ray.commands
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    modules = [Path(f"skae/{module}.py") for module in names]
    noise = {str(module): find_noise(module) for module in modules}
    with use_db(path, WorkDB.Mode.create) as session:
        cosmic_ray.commands.init(modules, session, {})
        wanted, others = [], []
        for item in session.work_items:
            (mutation,) = item.mutations
            is_noise = any(
                start <= mutation.start_pos < end
                for start, end in noise[str(mutation.module_path)]
            )
            if is_noise or not OPERATORS.fullmatch(mutation.operator_name):
                others.append(item.job_id)
            else:
                wanted.append((*place(mutation), item.job_id))
        wanted.sort()
        if n_sampled and n_sampled < len(wanted):  # evenly over all modules
            step = len(wanted) / n_sampled
            start = random.Random(seed).uniform(0, step)
            kept = {int(start + i * step) for i in range(n_sampled)}
            others += [w[-1] for i, w in enumerate(wanted) if i not in kept]
        session.set_multiple_results(others, WorkResult(WorkerOutcome.SKIPPED))


def place(mutation):
    """Where a mutant is, and what it is."""
    return (
        str(mutation.module_path),
        mutation.start_pos,
        mutation.operator_name,
        mutation.occurrence,
    )


def find_noise(path):
    """Annotations, decorators, and what is raised or warned of, as pairs of places."""
    parts = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts += node.exc.args
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            parts += [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.FunctionDef):
            parts += [*node.decorator_list, node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts.append(node.annotation)
    return [
        ((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset))
        for part in parts
        if part is not None
    ]


# --------------------------------------------------------------- which tests run a line


def record(path, folder, names, n_workers):
    """Which tests of the modules run which lines, and for how long, kept in a file."""
    recorded = {"files": [], "tests": {}, "seconds": {}, "owners": {}}
    if path.exists():
        recorded = json.loads(path.read_text())
    files = {file for name in names for file in TESTS[name].split()}
    files = sorted(files.difference(recorded["files"]))
    with ThreadPoolExecutor(n_workers) as pool:
        for part in pool.map(lambda file: record_file(folder, file), files):
            recorded["tests"] |= part["tests"]
            for owner, seconds in part["seconds"].items():  # of shared fixtures too
                known = recorded["seconds"].get(owner, 0.0)
                recorded["seconds"][owner] = max(seconds, known)
            for module, lines in part["owners"].items():
                known = recorded["owners"].setdefault(module, {})
                for line, owners in lines.items():
                    known[line] = sorted({*known.get(line, ()), *owners})
    recorded["files"] += files
    path.write_text(json.dumps(recorded))
    return recorded


def record_file(folder, file):
    """Run a file of tests once; those that fail without a mutant are left out."""
    path = folder / f"record_{file.replace('/', '_')}.json"
    start = time.time()
    result = subprocess.run(
        [*PYTEST, f"tests/{file}.py"],
        cwd=folder,
        env=make_environment(folder) | {"MUTATION_RECORD": str(path)},
        capture_output=True,
        text=True,
    )
    outcome = result.stdout.strip().splitlines()
    print(f"{file}, {time.time() - start:.0f} s: {outcome[-1]}", flush=True)
    print("\n".join(line for line in outcome if re.match("FAILED|ERROR", line)))
    return json.loads(path.read_text())


def make_environment(folder):
    """Name the tests' own copy of skae, and allow one thread."""
    paths = [str(folder), str(folder / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def choose_tests(mutation, recorded, budget):
    """Return the tests that run the line, quickest first, and their seconds.

    With no budget all of the module's files, and so where no test runs the line: it
    runs at import, or in a process that a test starts.
    """
    path = str(mutation.module_path)
    files = TESTS[path.removeprefix("skae/").removesuffix(".py")].split()
    files = [f"tests/{file}.py" for file in files]
    tests = [t for t in recorded["tests"] if t.split("::")[0] in files]
    costs = {
        test: sum(
            recorded["seconds"].get(owner, 0.0)
            for owner in (test, *recorded["tests"][test])
        )
        for test in tests
    }
    if budget is not None:
        lines = find_statement(path, mutation.start_pos[0])
        recorded_lines = recorded["owners"].get(path, {})
        owners = {o for line in lines for o in recorded_lines.get(str(line), ())}
        related = [t for t in tests if owners & {t, *recorded["tests"][t]}]
        chosen, total = [], 0.0
        for test in sorted(related or tests, key=costs.get):
            total += costs[test]
            if chosen and total > budget:
                break
            chosen.append(test)
        tests = chosen
    first = {}  # a file's tests stay together, for the sake of its fixtures
    for test in sorted(tests, key=costs.get):
        first.setdefault(test.split("::")[0], len(first))
    tests.sort(key=lambda test: (first[test.split("::")[0]], costs[test]))
    return tests, sum(map(costs.get, tests))


def find_statement(path, line):
    """Return the lines of the innermost statement at a line, without its body."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(Path(path).read_text())):  # outer ones first
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno
            if line <= max(end, node.lineno):
                found = range(node.lineno, max(end, node.lineno) + 1)
    return found


# -------------------------------------------------------------------------- the workers


def work(folder, recorded, budget, deadline, tasks, results):
    """Apply one mutant after the other to a copy of the tree, and test it."""
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import TestOutcome, WorkResult

    os.chdir(folder)
    os.environ |= make_environment(folder)
    os.environ["MUTATION_SELECT"] = str(folder / "selected.json")
    is_checked, broken = False, set()
    while (item := tasks.get()) is not None:
        tests, seconds = choose_tests(item.mutations[0], recorded, budget)
        command = select(tests, broken)
        while not is_checked:  # that what fails fails because of a mutant
            checked = subprocess.run(command, capture_output=True, text=True)
            failed = re.findall(r"^FAILED (.+?)(?: - .*)?$", checked.stdout, re.M)
            print(*(f"fails unchanged: {test}\n" for test in failed), sep="", end="")
            broken.update(failed)
            is_checked = checked.returncode == 0
            if not (is_checked or failed):
                raise RuntimeError(checked.stdout + checked.stderr)
            command = select(tests, broken)
        timeout = START_SECONDS + 3 * seconds
        left = deadline - time.time()
        result = mutate_and_test(
            item.mutations,
            shlex.join(command),
            min(timeout, left),
        )
        was_cut = result.output == "timeout" and left < timeout
        if result.test_outcome != TestOutcome.INCOMPETENT:
            last = (result.output or "").strip().splitlines()[-2:]
            result = WorkResult(
                result.worker_outcome, "\n".join(last), result.test_outcome, result.diff
            )
        results.put((item.job_id, None if was_cut else result))


def select(tests, broken):
    """Write down which tests are to run; return the command that runs them."""
    tests = [test for test in tests if test not in broken]
    Path("selected.json").write_text(json.dumps(tests))
    files = list(dict.fromkeys(test.split("::")[0] for test in tests))
    return [*PYTEST, "-x", "--tb=line", *files]


def run(arguments, recorded, copy):
    """Share the mutants that are left out to workers, up to the time limit."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome

    deadline = arguments.start + 60 * arguments.minutes
    tasks, results = multiprocessing.Queue(), multiprocessing.Queue()
    names = {f"skae/{name}.py" for name in arguments.modules or TESTS}
    with use_db(arguments.session, WorkDB.Mode.open) as session:
        if arguments.again:
            done = dict(session.results)
            items = [
                item
                for item in session.work_items
                if item.job_id in done
                and done[item.job_id].test_outcome == TestOutcome.SURVIVED
                and not (done[item.job_id].output or "").startswith("all: ")
            ]
        else:
            items = list(session.pending_work_items)
        items = [i for i in items if str(i.mutations[0].module_path) in names]
        items.sort(key=lambda item: place(item.mutations[0]))
        random.Random(arguments.seed).shuffle(items)  # a cut run is a fair sample
        budget = None if arguments.again else arguments.seconds
        workers = []
        for i in range(min(arguments.workers, len(items))):
            folder = copy.parent / f"worker_{i}"
            shutil.copytree(copy, folder)
            worker = multiprocessing.Process(
                target=work,
                args=(folder, recorded, budget, deadline, tasks, results),
                daemon=True,
            )
            worker.start()
            workers.append(worker)
        waiting = iter(items)
        n_running = sum(put_next(waiting, tasks) for _ in workers)
        n_done, started = 0, time.time()
        while n_running:
            try:
                job_id, result = results.get(timeout=5)
            except queue.Empty:
                if all(worker.is_alive() for worker in workers):
                    continue
                raise RuntimeError("A worker has died.") from None
            n_running -= 1
            if result is not None:
                if arguments.again:
                    result = result.__class__(
                        result.worker_outcome,
                        f"all: {result.output}",
                        result.test_outcome,
                        result.diff,
                    )
                session.set_result(job_id, result)
                n_done += 1
                if n_done % 50 == 0:
                    passed = time.time() - started
                    print(f"{n_done} of {len(items)} in {passed:.0f} s", flush=True)
            if time.time() < deadline:
                n_running += put_next(waiting, tasks)
        for _ in workers:
            tasks.put(None)
        for worker in workers:
            worker.join()
    passed = time.time() - started
    print(f"{n_done} of {len(items)} mutants in {passed:.0f} s on {len(workers)} cores")


def put_next(waiting, tasks):
    """Whether there was another one."""
    item = next(waiting, None)
    if item is not None:
        tasks.put(item)
    return item is not None


# --------------------------------------------------------------------------- the report


def report(path):
    """Print those that live, then the figures by module."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome

    counts = defaultdict(Counter)
    with use_db(path, WorkDB.Mode.open) as session:
        done = dict(session.results)
        items = sorted(session.work_items, key=lambda item: place(item.mutations[0]))
    for item in items:
        (mutation,) = item.mutations
        result = done.get(item.job_id)
        if result and result.worker_outcome == WorkerOutcome.SKIPPED:
            continue
        count = counts[str(mutation.module_path)]
        if result is None:
            count["not tried"] += 1
        elif result.test_outcome == TestOutcome.SURVIVED:
            count["live"] += 1
            operator = mutation.operator_name.removeprefix("core/")
            where = f"{mutation.module_path}:{mutation.start_pos[0]}"
            print(f"{where} {mutation.definition_name or 'module'} {operator}")
            changed = re.findall(r"^[-+](?![-+]{2} ).*$", result.diff, re.MULTILINE)
            print("\n".join(changed), end="\n\n")
        elif result.test_outcome == TestOutcome.KILLED:
            count["timeout" if "timeout" in result.output else "killed"] += 1
        else:
            count["error"] += 1
    names = "killed", "timeout", "live", "error", "not tried"
    counts["all"] = sum(counts.values(), Counter())
    print(COLUMNS.format("", *names))
    for module, count in counts.items():
        figures = [str(count[name]) for name in names]
        n_killed = count["killed"] + count["timeout"]
        n_tried = n_killed + count["live"] + count["error"]
        share = f"{n_killed / n_tried:>9.1%}" if n_tried else ""
        print(COLUMNS.format(module.removeprefix("skae/"), *figures) + share)


def main():
    """Make the mutants if there are none, test those that are left, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--session", type=Path, default="mutants.sqlite")
    parser.add_argument("--modules", nargs="+", choices=TESTS, metavar="MODULE")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=24 * 60.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of tests a mutant")
    parser.add_argument("--sample", type=int, help="so many mutants, of all modules")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="those that lived")
    parser.add_argument("--report", action="store_true", help="and nothing else")
    parser.add_argument("--list", action="store_true", help="the mutants, by module")
    arguments = parser.parse_args()
    arguments.start = time.time()
    names = arguments.modules or list(TESTS)
    arguments.session = arguments.session.resolve()
    if not arguments.report:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "skae"
            shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
            os.chdir(copy)
            if not arguments.session.exists():
                make_session(arguments.session, names, arguments.sample, arguments.seed)
            if not arguments.list:
                path = arguments.session.with_suffix(".tests.json")
                recorded = record(path, copy, names, arguments.workers)
                run(arguments, recorded, copy)
            os.chdir(ROOT)
    report(arguments.session)


if __name__ == "__main__":
    main()
