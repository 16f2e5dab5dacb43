"""A pytest plugin of `mutation.py`: which tests run which lines, and in what order.

`RECORD` names a file to write what each test and each fixture runs, and for how long.
`SELECT` names a file of node ids: these tests are run, in this order.
"""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

RECORD, SELECT = os.environ.get("MUTATION_RECORD"), os.environ.get("MUTATION_SELECT")


class Recorder:
    """What ran, by who ran it: a test, or a fixture on behalf of several."""

    def __init__(self):
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, source=["skae"], config_file=False, branch=False
        )
        self.seconds = defaultdict(float)
        self.fixtures, self.passed = {}, set()
        self.coverage.start()

    def run(self, owner):
        """Count what happens up to the next `yield` as the owner's."""
        self.coverage.switch_context(owner)
        start = time.perf_counter()
        result = yield
        self.seconds[owner] += time.perf_counter() - start
        self.coverage.switch_context("")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        return (yield from self.run(f"fixture {fixturedef.argname}"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        self.fixtures[item.nodeid] = [f"fixture {name}" for name in item.fixturenames]
        return (yield from self.run(item.nodeid))

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_sessionfinish(self):
        self.coverage.stop()
        data = self.coverage.get_data()
        owners = {}
        for path in data.measured_files():
            lines = data.contexts_by_lineno(path)
            name = str(Path(path).relative_to(Path.cwd()))
            owners[name] = {line: [o for o in lines[line] if o] for line in lines}
        tests = {test: self.fixtures[test] for test in sorted(self.passed)}
        record = {"tests": tests, "seconds": self.seconds, "owners": owners}
        Path(RECORD).write_text(json.dumps(record))


class Selection:
    """The tests that are asked for."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        order = {name: i for i, name in enumerate(json.loads(Path(SELECT).read_text()))}
        items[:] = sorted(
            (item for item in items if item.nodeid in order),
            key=lambda item: order[item.nodeid],
        )


def pytest_configure(config):
    """Register what is asked for; neither is, in a run of the tests by hand."""
    if RECORD:
        config.pluginmanager.register(Recorder())
    if SELECT:
        config.pluginmanager.register(Selection())
