"""Corrupted files, and what must become of them; for the tests and for a benchmark.

Each function of `KINDS` makes a corrupted file out of a good one. `load_and_use` raises
unless `skae.load` refuses the file or returns a detector that works.
"""

import hashlib
import io
import json
import math
import pickle
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pandas as pd
from sklearn.base import clone

import skae

N_UNCHECKED = 40  # bytes before the part that the checksum covers
ODD_VALUES = [
    *(None, True, False, 0, 1, 2, 5, 8, -1, 2**31, 2**63, 10**400, 10**4000),
    *(0.0, -0.0, 0.3, 1.5, 5e-324, 1e-310, 1e308, -1e308, math.nan, math.inf),
    *("", "relu", "sigmoid", "neighbors", "reconstruction", "auto", "cosine", "pandas"),
    *("softmax", "hard_tanh", "glu", "no such name", "os.system", "__lambda__"),
    *("skae.load", "\0", "\ud800", "<f8", "<f4", "|O", "|u1", "x" * 10_000),
    *([], [0], [1], [5], [8, 2], [2, 8], [1, 2, 3], [[8], [2]], [8, 2.0], [True]),
    *({}, {"a": 1}, {"class_name": "Lambda", "config": {}}, [None], ["os.system"]),
]
EXTREME_NUMBERS = [
    *(0.0, -0.0, 1.0, -1.0, 5e-324, 1e-310, 2.3e-308, 1e-45, 1e-30, 1e30),
    *(3e38, -3e38, 1e300, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan),
]


def split(content):
    """The JSON text as an object, and the arrays as bytes by name, of a good file."""
    start = N_UNCHECKED + 8
    _, length = struct.unpack("<II", content[N_UNCHECKED:start])
    header = json.loads(content[start : start + length])
    arrays, start = {}, start + length
    for name, (dtype, shape) in header["arrays"].items():
        stop = start + np.dtype(dtype).itemsize * math.prod(shape)
        arrays[name] = content[start:stop]
        start = stop
    assert start == len(content)
    return header, arrays


def join(header, arrays, *, file_format=4):
    """A file with a checksum that is right, whatever is in it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    start = struct.pack("<II", file_format, len(text))
    return seal(start + text + b"".join(arrays.values()))


def seal(checked):
    """A file with a checksum that is right."""
    return b"SKAE\r\n\x1a\n" + hashlib.sha256(checked).digest() + checked


def cut_off(rng, content):
    return content[: rng.integers(len(content))]


def flip_bits(rng, content):
    corrupted = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        corrupted[rng.integers(len(corrupted))] ^= 1 << int(rng.integers(8))
    return bytes(corrupted)


def move_bytes(rng, content):
    """Leave out, repeat or overwrite a run of bytes, or add some at the end."""
    start, stop = sorted(rng.integers(len(content), size=2))
    noise = rng.bytes(rng.integers(1, 100))
    return [
        content[:start] + content[stop:],
        content[:stop] + content[start:],
        content[:start] + noise + content[start + len(noise) :],
        content + noise,
    ][rng.integers(4)]


def sealed(corrupt):
    """The same behind the checksum, which is then made right."""
    return lambda rng, content: seal(corrupt(rng, content[N_UNCHECKED:]))


def edit_json(rng, content):
    """Replace one to three values of the JSON text by odd ones."""
    header, arrays = split(content)
    for _ in range(rng.integers(1, 4)):
        parent, key = pick_json(rng, header)
        parent[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    return join(header, arrays)


def rearrange_json(rng, content):
    """Leave out, rename, add or move a name of the JSON text, or say it twice."""
    header, arrays = split(content)
    parts = [part for part in header.values() if isinstance(part, dict)]
    part, other = (parts[i] for i in rng.integers(len(parts), size=2))
    name = list(part)[rng.integers(len(part))]
    value = part.pop(name)
    action = rng.integers(5)
    if action == 1:
        part[name.upper()] = value
    elif action == 2:
        other[name] = value
    elif action == 3:
        part |= {name: value, "__reduce__": ["os.system", "true"]}
    elif action == 4:
        text = json.dumps(header)
        twice = json.dumps({name: value})[1:-1]
        return join(text.replace("{", "{" + twice + ",", 2).encode(), arrays)
    return join(header, arrays)


def pick_json(rng, header):
    """A random place in a random part of the JSON text, as its parent and key."""
    part = header[list(header)[rng.integers(len(header))]]
    if not isinstance(part, dict | list) or not part or rng.integers(20) == 0:
        part = header
    places = list(iterate_places(part))
    return places[rng.integers(len(places))]


def iterate_places(parent):
    """Yield each place in an object of JSON as its parent and key."""
    for key in parent if isinstance(parent, dict) else range(len(parent)):
        yield parent, key
        if isinstance(parent[key], dict | list):
            yield from iterate_places(parent[key])


def swap_arrays(rng, content):
    """Exchange two arrays, or their names, or reshape one."""
    header, arrays = split(content)
    first, second = rng.choice(list(arrays), size=2, replace=False)
    forms = header["arrays"]
    action = rng.integers(4)
    if action == 0:
        arrays[first], arrays[second] = arrays[second], arrays[first]
    elif action == 1:
        forms[first], forms[second] = forms[second], forms[first]
        arrays[first], arrays[second] = arrays[second], arrays[first]
    elif action == 2:
        header["arrays"] = {name: forms[name] for name in rng.permutation(list(forms))}
    else:
        dtype, shape = forms[first]
        n = math.prod(shape)
        forms[first] = [dtype, [shape[::-1], [n], [1, n], [n, 1]][rng.integers(4)]]
    return join(header, arrays)


def resize_arrays(rng, content):
    """Give an array another length, in its bytes and in the JSON text alike."""
    header, arrays = split(content)
    name = rng.choice(list(arrays))
    dtype, shape = header["arrays"][name]
    size = np.dtype(dtype).itemsize
    new_shape = [int(max(0, n + rng.integers(-2, 3))) for n in shape]
    arrays[name] = np.resize(
        np.frombuffer(arrays[name], np.uint8), math.prod(new_shape) * size
    ).tobytes()
    header["arrays"][name] = [dtype, new_shape]
    return join(header, arrays)


def edit_numbers(rng, content):
    """Put extreme numbers into one to three arrays."""
    header, arrays = split(content)
    for name in rng.choice(list(arrays), size=rng.integers(1, 4)):
        dtype = np.dtype(header["arrays"][name][0])
        numbers = np.frombuffer(arrays[name], dtype).copy()
        if dtype == np.uint8:
            numbers[rng.integers(len(numbers))] = rng.integers(256)
        else:
            places = rng.uniform(size=len(numbers)) < rng.choice([0.01, 0.3, 1.0])
            with np.errstate(over="ignore", under="ignore"):
                numbers[places | (rng.integers(len(numbers)) == 0)] = rng.choice(
                    EXTREME_NUMBERS
                )
        arrays[name] = numbers.tobytes()
    return join(header, arrays)


def edit_categories(rng, content):
    """Replace, leave out, add or exchange lines of the categories, if there are any."""
    header, arrays = split(content)
    lines = arrays.get("categories_", b"").split(b"\n")[:-1]
    for _ in range(rng.integers(1, 4)):
        odd = json.dumps(ODD_VALUES[rng.integers(len(ODD_VALUES))]).encode()
        place, other = rng.integers(len(lines) + 1, size=2)
        action = rng.integers(4)
        if action == 0:
            lines[place : place + 1] = [odd]
        elif action == 1:
            del lines[place : place + 1]
        elif action == 2:
            lines.insert(place, odd)
        else:
            lines.insert(place, lines.pop(other) if other < len(lines) else odd)
    arrays["categories_"] = b"".join(line + b"\n" for line in lines)
    header["arrays"]["categories_"] = ["|u1", [len(arrays["categories_"])]]
    return join(header, arrays)


def make_another(rng, content):
    """Another network, of random weights, in a file that is right in every respect."""
    header, _ = split(content)
    n_columns, n_networks, n_iter = (int(n) for n in rng.integers(1, 40, size=3))
    is_category = rng.uniform(size=n_columns) < rng.choice([0.0, 0.3, 1.0])
    blocks = rng.integers(1, 6, size=is_category.sum()).tolist()
    n_numbers, n_logits = n_columns - len(blocks), sum(blocks)
    n_units = n_numbers + n_logits
    sizes = rng.integers(1, 40, size=rng.integers(1, 5)).tolist()
    widths = [n_units, *sizes, *sizes[-2::-1], n_units]
    n_weights = sum(a * b + b for a, b in zip(widths[:-1], widths[1:], strict=True))
    names = [*"relu elu gelu selu tanh softplus sigmoid exponential mish".split()]
    header["values"] |= {
        "n_features_in_": n_columns,
        "n_iter_": n_iter,
        "_architecture.n_features": n_units,
        "_architecture.n_logits": n_logits,
        "_architecture.hidden_layer_sizes": sizes,
        "_architecture.activation": str(rng.choice(names)),
        "_architecture.output_activation": str(rng.choice(names)),
        "_neighborhood.spread": float(rng.uniform(0.1, 10)),
    }
    n_references = int(rng.integers(1, 40))
    size = float(10.0 ** rng.uniform(-3, 3))
    shares = [rng.dirichlet(np.ones(n)) for n in blocks]
    spreads = [np.sqrt(1 - np.sum(f**2)) if len(f) > 1 else 1.0 for f in shares]
    codes = [rng.integers(n, size=n_references) for n in blocks]
    cells = rng.normal(size=(n_references, n_numbers))
    zeros = np.zeros(n_logits)
    numbers = {
        "_pivot": np.concatenate([rng.normal(size=n_numbers), *shares]),
        "_remainder": np.append(rng.normal(size=n_numbers), zeros),
        "_scale": np.append(
            rng.uniform(0.1, 10, size=n_numbers), np.repeat(spreads, blocks)
        ),
        "_weights": rng.normal(size=(n_networks, n_weights)) * size,
        "_mask_values": np.append(rng.normal(size=n_numbers), zeros),
        "_neighborhood.references": np.column_stack([cells, *codes]).astype(float),
        "_neighborhood.residual_scale": rng.uniform(0.1, 1, n_columns),
        "loss_curve_": rng.uniform(size=n_iter),
    }
    numbers["_weights"] = numbers["_weights"].astype("f4")
    if n_numbers:
        numbers["_neighborhood.center"] = rng.normal(size=n_numbers)
    if n_logits:
        lines = [[json.dumps(f"v{i}") for i in range(n - 1)] for n in blocks]
        text = "".join("\n".join([*values, "null", ""]) for values in lines)
        numbers["categories_"] = np.frombuffer(text.encode(), np.uint8)
        numbers["_column_kinds"] = np.where(is_category, 3, 0).astype(np.uint8)
    header["arrays"] = {n: [a.dtype.str, list(a.shape)] for n, a in numbers.items()}
    return join(header, {name: array.tobytes() for name, array in numbers.items()})


def make_bomb(rng, content):
    """Say that there is far more than there is, or hide it in little."""
    header, arrays = split(content)
    name = rng.choice(list(arrays))
    huge = int(10 ** rng.integers(6, 30))
    action = rng.integers(7)
    if action == 0:
        header["arrays"][name][1] = [huge] * int(rng.integers(1, 40))
    elif action == 1:
        header["arrays"] |= {str(i): ["<f8", [huge]] for i in range(100)}
    elif action == 2:
        header["values"]["_architecture.hidden_layer_sizes"] = [huge] * 2
    elif action == 3:
        header["values"]["_architecture.hidden_layer_sizes"] = [1] * 20_000
    elif action == 4:
        opening = rng.choice(["[", '{"a":'])
        return join(opening.encode() * int(rng.integers(100, 60_000)), arrays)
    elif action == 5:
        length = int(rng.integers(2**16, 2**32))
        return seal(struct.pack("<II", 4, length) + content[N_UNCHECKED + 8 :])
    else:
        header["parameters"]["loss"] = [[]] * int(rng.integers(1_000, 100_000))
    return join(header, arrays)


def pack_many_networks(rng, content):
    """Very many networks of a single weight a layer: more objects than bytes."""
    return pack_networks(content, int(rng.integers(500, 5_000)))


def pack_networks(content, n_networks):
    """A file of so many networks of one column and one hidden unit."""
    header, _ = split(content)
    header["values"] |= {
        "n_features_in_": 1,
        "n_iter_": 1,
        "_architecture.n_features": 1,
        "_architecture.n_logits": 0,
        "_architecture.hidden_layer_sizes": [1],
    }
    numbers = {
        "_pivot": np.zeros(1),
        "_remainder": np.zeros(1),
        "_scale": np.ones(1),
        "_weights": np.ones((n_networks, 4), "f4"),
        "_mask_values": np.zeros(1),
        "_neighborhood.references": np.zeros((1, 1)),
        "_neighborhood.center": np.zeros(1),
        "_neighborhood.residual_scale": np.ones(1),
        "loss_curve_": np.ones(1),
    }
    header["arrays"] = {n: [a.dtype.str, list(a.shape)] for n, a in numbers.items()}
    return join(header, {name: array.tobytes() for name, array in numbers.items()})


def change_format(rng, content):
    header, arrays = split(content)
    header["versions"]["skae"] = "9.9"
    return join(header, arrays, file_format=int(rng.choice([0, 1, 99, 2**32 - 1])))


def make_another_kind_of_file(rng, content):
    """Noise, a pickle, a zip bomb, or an array of Python objects."""
    action = rng.integers(5)
    if action == 0:
        return rng.bytes(rng.integers(5_000))
    if action == 1:
        return pickle.dumps({"a": ZeroDivisionError()})
    buffer = io.BytesIO()
    if action == 2:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("state.json", b"\0" * 10**6)
    elif action == 3:
        np.save(buffer, np.array([{}, None]), allow_pickle=True)
    else:
        return content[: rng.integers(N_UNCHECKED)] + buffer.getvalue()
    return buffer.getvalue()


KINDS = {
    "cut off": cut_off,
    "bits flipped": flip_bits,
    "bytes moved": move_bytes,
    "cut off, checksum right": sealed(cut_off),
    "bits flipped, checksum right": sealed(flip_bits),
    "bytes moved, checksum right": sealed(move_bytes),
    "JSON values edited, checksum right": edit_json,
    "JSON names edited, checksum right": rearrange_json,
    "arrays swapped, checksum right": swap_arrays,
    "arrays resized, checksum right": resize_arrays,
    "numbers edited, checksum right": edit_numbers,
    "categories edited, checksum right": edit_categories,
    "another network": make_another,
    "bombs, checksum right": make_bomb,
    "many networks, checksum right": pack_many_networks,
    "another format, checksum right": change_format,
    "another kind of file": make_another_kind_of_file,
}


def load_and_use(path):
    """Whether the file was refused (or works), and the memory that loading it took.

    Returns
    -------
    refused : bool

    peak : int
        Bytes that were in use at once beyond those before.
    """
    tracemalloc.start()
    try:
        detector = skae.load(path)
    except ValueError as error:
        assert str(path) in str(error)  # ours, and not a stray one
        return True, tracemalloc.get_traced_memory()[1]
    else:
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with warnings.catch_warnings(action="error"):
        use(detector, path)
    return False, peak


def make_rows(detector, n_rows=6):
    """Rows as the detector takes them; the last one is far out, or has unknown text."""
    d = detector.n_features_in_
    X = np.random.default_rng(0).normal(size=(n_rows, d))
    X[-1] = 1e300
    X = pd.DataFrame(X, columns=range(d), dtype=object)
    for j, kind in enumerate(detector._column_kinds or ()):
        if kind == "category":
            gap = [None] if j == 0 and d > 1 else []  # no row of gaps alone
            values = [*detector.categories_[j], "unknown", *gap]
            cells = [values[i % len(values)] for i in range(n_rows - 1)]
            X[j] = pd.Series([*cells, "unknown"], dtype=object)
        elif kind != "number":
            as_times = pd.to_datetime if kind == "date" else pd.to_timedelta
            X[j] = as_times(np.arange(n_rows), unit="s")
    if detector.categories_ is None:
        X = X.infer_objects()
    if not hasattr(detector, "feature_names_in_"):
        return X.to_numpy()
    return X.set_axis(pd.Index(detector.feature_names_in_, dtype=object), axis=1)


def use(detector, path):
    """Assert that a detector is a consistent one."""
    d, X = detector.n_features_in_, make_rows(detector)
    scores = detector.score_samples(X)
    assert scores.shape == (6,) and scores.dtype == np.float64
    assert np.isfinite(scores).all() and (scores <= 0).all()
    assert set(detector.predict(X)) <= {-1, 1}
    contributions = detector.explain(X)
    assert contributions.shape == (6, d) and (contributions >= 0).all()
    in_range = scores > -1e300  # beyond, sums in another order overflow elsewhere
    np.testing.assert_allclose(
        contributions.sum(axis=1)[in_range], -scores[in_range], rtol=1e-6
    )
    with np.errstate(all="ignore"):  # very large weights overflow, as they would
        codes = np.asarray(detector.transform(X))
        assert codes.shape == (6, len(detector.get_feature_names_out()))
        assert detector.reconstruct(X).shape == (6, d)
    assert clone(detector).get_params() == detector.get_params()
    assert len(detector.loss_curve_) == detector.n_iter_
    skae.save(detector, path)
    for copy in (skae.load(path), pickle.loads(pickle.dumps(detector))):
        assert copy.get_params() == detector.get_params()
        np.testing.assert_array_equal(copy.score_samples(X), scores)
