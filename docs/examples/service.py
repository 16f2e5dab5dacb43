"""
====================================
A service that scores rows over HTTP
====================================

A small service, complete in this file, for a detector that ``skae.save`` has written. A
row comes as a JSON object of column names and numbers, or categories, and is answered
by its score, p-value and label and, if it is an outlier, the three columns that speak
most against it. It needs FastAPI and uvicorn, and imports neither Keras nor TensorFlow.

Start it by ``python service.py model.skae``, or in two processes by
``SKAE_FILE=model.skae uvicorn --factory service:create_app --workers 2``.
"""

import argparse
import asyncio
import contextlib
import os
import reprlib
import sys
from functools import partial
from itertools import islice
from typing import Any

import fastapi
import numpy as np
import uvicorn
from pydantic import BaseModel

import skae

MAX_ROWS = 1000  # in one request
MAX_REASONS = 3
LARGEST = sys.float_info.max

# %%
# Rows in
# -------
#
# A row has a finite number, or null for a missing cell, under the name of each column,
# and nothing else: a misspelt column must not pass for a missing one. In a column of
# categories it may have text, true or false, too. What is wrong is answered with status
# 422, row and column by name.

Row = dict[str, Any]


def refuse(message):
    """Answer with status 422."""
    raise fastapi.HTTPException(422, message)


def read_rows(rows, columns):
    """Return an array, the cells of each row in the order of the columns.

    `columns` are the categories that each column is known to hold, None for numbers.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        refuse(f"Send 1 to {MAX_ROWS} rows at once; received {len(rows)}.")
    cells = [read_row(row, columns, i) for i, row in enumerate(rows)]
    has_categories = any(known is not None for known in columns.values())
    return np.array(cells, dtype=object if has_categories else float)


def read_row(row, columns, number):
    """Return the cells of a row."""
    for name in columns:
        if name not in row:
            refuse(f"Row {number}: column {name!r} is missing; null is an empty cell.")
    if len(row) > len(columns):
        unknown = next(name for name in row if name not in columns)
        refuse(f"Row {number}: there is no column {reprlib.repr(unknown)}.")
    return [read_cell(row[name], name, columns[name], number) for name in columns]


def read_cell(value, name, known, number):
    """Return a number as a float and None as NaN; JSON may hold 1e999 and NaN."""
    if value is None:
        return np.nan
    if known is not None and type(value) in (str, bool):
        return value
    if type(value) not in (int, float) or not -LARGEST <= value <= LARGEST:
        kinds = "a finite number or null"
        if known is not None:
            kinds = f"text, true, false, {kinds}"
        refuse(
            f"Row {number}: column {name!r} must be {kinds}; received "
            f"{reprlib.repr(value)}."
        )
    return float(value)


# %%
# Answers out
# -----------
#
# A score is that of ``score_samples``, to the bit: JSON has as many digits as it takes
# to read the same float again. To explain a row takes ten times as long as to score it,
# so that only outliers are explained, unless the client asks otherwise.


Cell = float | bool | str


class Reason(BaseModel):
    """A column that speaks against a row, and its part of minus the score."""

    column: str
    contribution: float
    observed: Cell
    expected: Cell | None  # null where no category is common enough to be expected


class Answer(BaseModel):
    """What the detector says of a row."""

    score: float
    p_value: float | None  # null if the detector is not calibrated
    label: int
    reasons: list[Reason] | None  # null if the row was not explained


def judge(detector, X):
    """Return for each row its score, p-value (or None) and label."""
    scores = detector.score_samples(X)
    labels = np.where(scores < detector.offset_, -1, 1)
    p_values = [None] * len(X)
    if detector.calibration_cv is not None:
        p_values = detector.p_values(X)
    elif detector.calibration_scores_ is not None:  # the same, in one go
        n_lower = np.searchsorted(detector.calibration_scores_, scores, side="right")
        p_values = (1 + n_lower) / (1 + len(detector.calibration_scores_))
    return list(zip(scores, p_values, labels, strict=True))


def find_reasons(detector, columns, X):
    """Return for each row the columns that speak most against it, in order."""
    contributions, expected = detector.explain(X, return_expected=True)
    names = list(columns)
    orders = np.argsort(-contributions, axis=1, kind="stable")[:, :MAX_REASONS]
    return [
        [
            Reason(
                column=names[j],
                contribution=contributions[i, j],
                observed=X[i, j],
                expected=expected[i, j],
            )
            for j in order
            if contributions[i, j] > 0.0
        ]
        for i, order in enumerate(orders)
    ]


# %%
# Many clients
# ------------
#
# Rows that come in while others are computed wait, and are then computed together: of
# eight it takes hardly longer than of one, and what comes out for a row does not depend
# on the rows around it. Scores do not wait for explanations.

PASSES = 5  # of the event loop, in which a request gets from its socket to the queue


class Together:
    """A function of rows that is called in a thread, with all rows that wait for it."""

    def __init__(self, function):
        self.function = function
        self.waiting = asyncio.Queue()

    async def __call__(self, X):
        """Return the list of what the function makes of the rows of X."""
        job = X, asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(job)
        return await job[1]

    async def run(self):
        """Call the function again and again, until cancelled."""
        while True:
            jobs = [await self.waiting.get()]
            for _ in range(PASSES):
                await asyncio.sleep(0)
            while not self.waiting.empty():
                jobs.append(self.waiting.get_nowait())
            try:
                await self.answer(jobs)
            except Exception as error:
                for _, answer in jobs:
                    if not answer.done():
                        answer.set_exception(error)

    async def answer(self, jobs):
        """Call the function once, and give each job its part."""
        X = np.concatenate([rows for rows, _ in jobs])
        results = iter(await asyncio.to_thread(self.function, X))
        for rows, answer in jobs:
            own = list(islice(results, len(rows)))
            if not answer.done():  # its client may have gone
                answer.set_result(own)


# %%
# The service
# -----------


def load(path):
    """Return a detector, and its columns: by name, the categories it knows, or None.

    If the detector has no names, they are x0, x1, ...
    """
    detector = skae.load(path)
    names = [f"x{i}" for i in range(detector.n_features_in_)]
    if hasattr(detector, "feature_names_in_"):
        names = detector.feature_names_in_.tolist()
        del detector.feature_names_in_  # `read_row` checks them; an array has none
    known = detector.categories_ or [None] * len(names)
    return detector, dict(zip(names, known, strict=True))


def create_app(path=None):
    """Return the service for a file, by default the one that SKAE_FILE names."""
    detector, columns = load(path or os.environ["SKAE_FILE"])
    judge_together = Together(partial(judge, detector))
    explain_together = Together(partial(find_reasons, detector, columns))
    row = {name: (known or [0])[0] for name, known in columns.items()}
    try:  # the first call takes longer
        for together in judge_together, explain_together:
            together.function(read_rows([row], columns))
    except ValueError as error:
        raise ValueError(
            "The service scores columns of numbers and categories; the detector was "
            "fitted on dates."
        ) from error

    @contextlib.asynccontextmanager
    async def run(app):
        tasks = [
            asyncio.create_task(together.run())
            for together in (judge_together, explain_together)
        ]
        yield
        for task in tasks:
            task.cancel()

    app = fastapi.FastAPI(title="Outlier scores", lifespan=run)

    @app.get("/health")
    async def health():
        return {"status": "ok"}

    @app.post("/score")
    async def score(
        rows: Row | list[Row], explain: bool | None = None
    ) -> Answer | list[Answer]:
        is_one = isinstance(rows, dict)
        X = read_rows([rows] if is_one else rows, columns)
        answers = [
            Answer(score=score, p_value=p_value, label=label, reasons=None)
            for score, p_value, label in await judge_together(X)
        ]
        explained = [
            i
            for i, answer in enumerate(answers)
            if explain or (explain is None and answer.label == -1)
        ]
        if explained:
            reasons = await explain_together(X[explained])
            for i, why in zip(explained, reasons, strict=True):
                answers[i].reasons = why
        return answers[0] if is_one else answers

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Score rows over HTTP.")
    parser.add_argument("file", help="detector that skae.save has written")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        app = create_app(arguments.file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    uvicorn.run(app, host=arguments.host, port=arguments.port)
