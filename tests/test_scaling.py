"""Scalers against scikit-learn; folds by rows, weights and vmap; constant columns, NaN and wrong shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn.data import scaling

SCALERS = {"min_max": lambda: scaling.min_max_scaler((-2.0, 3.0)), "standard": scaling.standard_scaler}


def reference(name):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    return preprocessing.MinMaxScaler((-2.0, 3.0)) if name == "min_max" else preprocessing.StandardScaler()


def table(seed, rows=9):
    x = np.random.default_rng(seed).normal(size=(rows, 4)) * [1, 1e4, 1e-3, 0] + [0, 1e5, -1, 0.1]
    return x


@pytest.mark.parametrize("name", SCALERS)
@given(seed=st.integers(0, 1000))
def test_equals_sklearn(name, seed):
    x, new = table(seed), table(seed + 1)
    theirs, ours = reference(name).fit(x), SCALERS[name]()
    with jax.enable_x64(True):
        statistics = ours.fit(x)
        z = ours.transform(statistics, new)
        np.testing.assert_allclose(z, theirs.transform(new), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ours.inverse_transform(statistics, z)[:, :3], new[:, :3], rtol=1e-9)


@pytest.mark.parametrize("name", SCALERS)
def test_rows_and_weights_fit_the_chosen_only(x64, name):
    x, scaler = table(0), SCALERS[name]()
    rows = np.array([0, 2, 5, 7])
    weights = np.isin(np.arange(9), rows)
    expected = scaler.fit(x[rows])
    for statistics in (
        scaler.fit(x, rows=rows),
        scaler.fit(x, weights=weights),
        scaler.fit(x, rows=rows, weights=weights),
    ):
        for a, b in zip(statistics, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    x[1] = np.nan
    np.testing.assert_allclose(scaler.fit(x, weights=weights)[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(scaler.fit(x, rows=rows)[1], expected[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_steps_of_sequences_are_rows_and_their_padding_is_none(name, dtype):
    scaler, lengths = SCALERS[name](), np.array([3, 1, 2])
    x = table(0).reshape(3, 3, 4).astype(dtype)
    real = np.arange(3) < lengths[:, None]
    expected = scaler.fit(x[real])
    x[~real] = np.nan
    padded = fnn.Padded(x, lengths)
    jax.tree.map(np.testing.assert_allclose, scaler.fit(padded), expected)
    z = scaler.transform(expected, padded)
    np.testing.assert_array_equal(z.values[real], scaler.transform(expected, x[real]))
    assert (np.asarray(z.values)[~real] == 0).all()
    np.testing.assert_array_equal(z.lengths, lengths)
    back = scaler.inverse_transform(expected, z).values
    np.testing.assert_allclose(back[real][:, :3], x[real][:, :3], rtol=1e-5)
    some, weights = np.array([0, 2, -1]), np.array([1.0, 5.0, 2.0])
    chosen = np.concatenate([x[0], x[2, :2]])
    shares = np.array([1.0, 1, 1, 2, 2])
    fitted = scaler.fit(padded, rows=some, weights=weights)
    for one, other in zip(fitted, scaler.fit(chosen, weights=shares), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    drawn = jax.jit(lambda rows: scaler.fit(fnn.Padded(x.astype(np.float32), lengths), rows=rows))(some)
    for one, other in zip(drawn, scaler.fit(padded, rows=some), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    with pytest.raises(ValueError, match=r"x\.values.*\(batch, time, features\)"):
        scaler.fit(fnn.Padded(x[..., 0], lengths))
    for use in (scaler.fit, lambda x: scaler.transform(expected, x)):
        with pytest.raises(ValueError, match="expected lengths from 0 to 3, the number of time steps, got 4"):
            use(fnn.Padded(x, lengths + 1))
        with pytest.raises(TypeError, match="expected integer lengths, got float64"):
            use(fnn.Padded(x, lengths * 1.0))
    for nothing in ({"x": fnn.Padded(x, lengths * 0)}, {"x": padded, "weights": np.zeros(3)}):
        with pytest.raises(ValueError, match="expected a step that counts, got none"):
            scaler.fit(**nothing)


def test_sample_weights_equal_sklearn(x64):
    x, weights = table(0), np.array([1.0, 2, 0, 3, 1, 0.5, 1, 1, 4])
    theirs = reference("standard").fit(x, sample_weight=weights)
    statistics = scaling.standard_scaler().fit(x, weights=weights)
    np.testing.assert_allclose(statistics.mean, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(statistics.deviation[:3], np.sqrt(theirs.var_)[:3], rtol=1e-9)


@pytest.mark.parametrize("name", SCALERS)
def test_every_fold_in_one_call(name):
    x, scaler = jnp.asarray(table(0), jnp.float32), SCALERS[name]()
    folds = jnp.array([[0, 1, 2, 3], [2, 4, 6, 8], [5, 6, 7, 8]])
    many = jax.jit(jax.vmap(lambda rows: scaler.transform(scaler.fit(x, rows=rows), x)))(folds)
    for z, rows in zip(many, folds, strict=True):
        np.testing.assert_allclose(z, scaler.transform(scaler.fit(x, rows=rows), x), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32", "bool"])
def test_dtype(dtype):
    x = jnp.asarray(np.array([[1, 0], [0, 0], [1, 0]]), dtype)
    for build in SCALERS.values():
        scaler = build()
        statistics = scaler.fit(x)
        z = scaler.transform(statistics, x)
        assert statistics[0].dtype == jnp.float32
        assert z.dtype == (x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32)
        back = scaler.inverse_transform(statistics, z)
        np.testing.assert_allclose(back.astype(jnp.float32), x.astype(jnp.float32), atol=2e-2)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 3.3e-7])
def test_constant_column(value):
    x = jnp.full((1000, 1), value)
    standard, min_max = scaling.standard_scaler(), scaling.min_max_scaler((-1.0, 1.0))
    statistics = standard.fit(x)
    assert float(statistics.deviation[0]) == 0.0
    np.testing.assert_array_equal(standard.transform(statistics, x), 0)
    np.testing.assert_array_equal(standard.inverse_transform(statistics, jnp.zeros((2, 1))), np.float32(value))
    np.testing.assert_array_equal(min_max.transform(min_max.fit(x), x), -1)
    np.testing.assert_array_equal(min_max.inverse_transform(min_max.fit(x), -jnp.ones((2, 1))), np.float32(value))


def test_training_extremes_meet_the_range_exactly():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 6)) * 7 + 3, jnp.float32)
    scaler = scaling.min_max_scaler((0.1, 0.7))
    z = scaler.transform(scaler.fit(x), x)
    np.testing.assert_array_equal(z.min(0), np.float32(0.1))
    np.testing.assert_array_equal(z.max(0), np.float32(0.7))


def test_large_offset_does_not_swallow_the_deviation():
    x = jnp.asarray(1e6 + np.arange(100)[:, None], jnp.float32)
    np.testing.assert_allclose(scaling.standard_scaler().fit(x).deviation, np.arange(100).std(), rtol=1e-5)


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("exponent", [-75, 75])
def test_the_unit_of_a_column_changes_no_digit(name, exponent):
    """Squares of 1e-23 are 0 in float32, those of 1e23 are infinite: columns stayed as they were, or became 0."""
    x, scaler = table(0).astype(np.float32), SCALERS[name]()
    expected = scaler.transform(scaler.fit(x), x)
    unit = x * np.float32(2.0**exponent)
    np.testing.assert_array_equal(scaler.transform(scaler.fit(unit), unit), expected)


def test_dataframe_names_its_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ram": [1, 2, 3], "price": [1.0, np.nan, 3.0]})
    with pytest.raises(ValueError, match=r"nan in column 'price' \(row 1\)"):
        scaling.standard_scaler().fit(frame)
    whole = frame.fillna(2.0)
    for build in SCALERS.values():
        scaler = build()
        np.testing.assert_array_equal(scaler.fit(whole)[0], scaler.fit(whole.to_numpy())[0])
    with pytest.raises(TypeError, match="numbers in column 'name'"):
        scaling.standard_scaler().fit(pandas.DataFrame({"name": ["a", "b"]}))


@pytest.mark.parametrize("way", ["transform", "inverse_transform"])
@pytest.mark.parametrize("name", SCALERS)
def test_a_table_with_its_columns_in_another_order_is_refused(name, way):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [10.0, 30.0], "c": [5.0, 7.0]})
    scaler = SCALERS[name]()
    statistics, given = scaler.fit(frame), getattr(scaler, way)
    with pytest.raises(
        ValueError, match=r"_scaler: expected column 'b' at place 1, as in fit, got 'c'; write x\[list\("
    ):
        given(statistics, frame[["a", "c", "b"]])
    with pytest.raises(ValueError, match="expected column 'c' at place 2, as in fit, got 'd'"):
        given(statistics, frame.rename(columns={"c": "d"}))
    expected = given(scaler.fit(frame.to_numpy()), frame.to_numpy())
    for x in (
        frame,
        frame[["c", "b", "a"]][list(statistics.columns)],
        frame.to_numpy(),
        frame.set_axis([0, 1, 2], axis=1),
    ):
        np.testing.assert_array_equal(given(statistics, x), expected)
    mapped = jax.tree.map(jnp.asarray, statistics)  # whose fields are arrays alone
    np.testing.assert_allclose(jax.jit(given)(mapped, jnp.asarray(frame.to_numpy(np.float32))), expected, rtol=1e-6)


STANDARD = scaling.standard_scaler()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: STANDARD.fit(np.array([[1.0, 2.0], [3.0, np.nan]])), ValueError, r"nan in column 1 \(row 1\)"),
        (lambda: STANDARD.fit(np.array([[1.0, np.inf]])), ValueError, "inf in column 1"),
        (lambda: STANDARD.fit(np.array([[1.0], [2.0], [np.nan]]), rows=[0, 2]), ValueError, r"column 0 \(row 2\)"),
        (lambda: STANDARD.transform(STANDARD.fit(np.ones((2, 2))), np.array([[np.nan, 1.0]])), ValueError, "column 0"),
        (lambda: STANDARD.transform(STANDARD.fit(np.ones((2, 2))), np.ones((2, 3))), ValueError, "features as in fit"),
        (lambda: STANDARD.fit(np.ones((0, 2))), ValueError, "at least one row"),
        (lambda: STANDARD.fit(np.ones((3, 2)), weights=np.ones(2)), ValueError, r"weights of shape \(3,\)"),
        (lambda: STANDARD.fit(np.ones((3, 2)), weights=np.zeros(3)), ValueError, "one above 0"),
        (lambda: STANDARD.fit(np.ones((3, 2)), rows=np.array([True, False, True])), TypeError, "weights=rows"),
        (lambda: STANDARD.fit(np.float64(1.0)), ValueError, r"\(rows, features\)"),
        (lambda: scaling.min_max_scaler((1.0, 1.0)), ValueError, "low < high"),
        (lambda: scaling.min_max_scaler((np.zeros(2), np.ones(2))), ValueError, "low < high"),
        (lambda: STANDARD.fit(np.ones((2, 1)) * 1j), TypeError, r"expected real x, got complex128\[2,1\]"),
        (lambda: STANDARD.fit(jnp.ones((2, 1), np.complex64)), TypeError, r"expected real x, got complex64\[2,1\]"),
    ],
)
def test_misuse(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("name", SCALERS)
def test_no_rows_are_scaled_to_none(name):
    scaler = SCALERS[name]()
    assert scaler.transform(scaler.fit(np.ones((3, 2))), np.ones((0, 2))).shape == (0, 2)


SECONDS = 1.7e9 + np.arange(200.0).reshape(-1, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint32])
@pytest.mark.parametrize("name", SCALERS)
def test_columns_of_the_host_are_centred_before_they_are_rounded(name, dtype):
    x, scaler, theirs = SECONDS.astype(dtype), SCALERS[name](), reference(name).fit(SECONDS)
    statistics = scaler.fit(x)
    z = scaler.transform(statistics, x)
    assert z.dtype == jnp.float32
    assert len(np.unique(z)) == 200
    np.testing.assert_allclose(z, theirs.transform(SECONDS), rtol=1e-6, atol=1e-6)
    back = scaler.inverse_transform(statistics, z)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, SECONDS, rtol=0, atol=1e-3)
    rows = np.arange(0, 200, 2)
    np.testing.assert_allclose(scaler.fit(x, rows=rows)[0], scaler.fit(x[rows])[0], rtol=1e-15)


@pytest.mark.parametrize("name", SCALERS)
def test_dates_of_a_data_frame_keep_their_seconds(name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"when": SECONDS[:, 0].astype(np.int64), "size": np.arange(200, dtype=np.uint8)})
    scaler = SCALERS[name]()
    assert len(np.unique(scaler.transform(scaler.fit(frame), frame)[:, 0])) == 200


@pytest.mark.parametrize("name", SCALERS)
def test_traced_rows_of_columns_that_float32_cannot_tell_apart_are_refused(name):
    with pytest.raises(ValueError, match=r"x has 200 distinct values, of which float32 keeps \d; centre and scale"):
        jax.vmap(lambda rows: SCALERS[name]().fit(SECONDS, rows=rows))(jnp.array([[0, 1], [2, 3]]))


@pytest.mark.parametrize("values", [np.array([[0], [255], [3]], np.uint8), jnp.array([[0], [255], [3]], jnp.uint8)])
@pytest.mark.parametrize("name", SCALERS)
def test_pixels_are_scaled_as_the_numbers_they_are(name, values):
    scaler, theirs = SCALERS[name](), reference(name).fit(np.array([[0.0], [255.0], [3.0]]))
    z = scaler.transform(scaler.fit(values), values)
    np.testing.assert_allclose(z, theirs.transform(np.asarray(values, float)), rtol=1e-6, atol=1e-6)
    assert z.dtype == jnp.float32


@pytest.mark.parametrize("where", ["host", "jax", "traced"])
@pytest.mark.parametrize("name", SCALERS)
def test_a_negative_row_number_is_an_empty_slot(name, where):
    x, rows, scaler = table(0).astype(np.float32), np.array([0, 3, -1]), SCALERS[name]()
    expected = scaler.fit(x[[0, 3]])
    if where == "traced":
        found = jax.jit(lambda rows: scaler.fit(x, rows=rows))(rows)
    else:
        found = scaler.fit(x if where == "host" else jnp.asarray(x), rows=rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_rows_beyond_the_last_are_named():
    with pytest.raises(ValueError, match="standard_scaler: expected row numbers below 2, got 4294967296"):
        STANDARD.fit(np.ones((2, 2)), rows=np.array([0, 2**32]))
    with pytest.raises(TypeError, match="expected numeric x, got object, 'a' at row 1, column 0"):
        STANDARD.fit(np.array([[1.0], ["a"]], object))
