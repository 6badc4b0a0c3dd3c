"""Linear models against scikit-learn and each other, the perceptron's theorem, parameter counts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)


def data(rows=80, features=6, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    return x, x @ rng.normal(size=(features, outputs)) + 2 + 0.1 * rng.normal(size=(rows, outputs))


def test_closed_form_and_descent_agree(x64):
    x, y = data()
    exact = fnn.models.least_squares(x, y)
    run = fnn.trainer(
        fnn.models.linear_regression(), fnn.optim.sgd(0.2), fnn.tasks.regression(), epochs=400, batch_size=None
    )
    trained, _ = run(KEY, (x, y))
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(trained.params[name], exact[name], rtol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 3.0, 1e4])
def test_least_squares_is_scikit_learns(x64, ridge):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = data(outputs=2)
    params = fnn.models.least_squares(x, y, ridge=ridge)
    theirs = linear_model.Ridge(ridge, solver="svd").fit(x, y)
    np.testing.assert_allclose(params["kernel"].T, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(params["bias"], theirs.intercept_, rtol=1e-9)


def test_least_squares_with_more_features_than_rows_takes_the_smallest_weights(x64):
    x, y = data(rows=5, features=9)
    params = fnn.models.least_squares(x, y)
    np.testing.assert_allclose(x @ params["kernel"] + params["bias"][None], y, rtol=1e-9)
    centred = np.linalg.pinv(x - x.mean(0)) @ (y - y.mean(0))
    np.testing.assert_allclose(params["kernel"], centred, rtol=1e-8)


def test_least_squares_with_a_constant_column_is_finite():
    x, y = data()
    x[:, 2] = 7
    params = fnn.models.least_squares(x.astype(np.float32), y.astype(np.float32))
    assert abs(float(params["kernel"][2, 0])) < 1e-6
    assert np.isfinite(params["bias"]).all()


@pytest.mark.parametrize("l1", [0.01, 0.3, 10.0])
def test_lasso_is_scikit_learns(x64, l1):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = data()
    found = fnn.models.lasso(x, y, l1=l1, tolerance=1e-12)
    theirs = linear_model.Lasso(l1, tol=1e-12, max_iter=100_000).fit(x, y[:, 0])
    np.testing.assert_allclose(found.params["kernel"][:, 0], theirs.coef_, atol=1e-8)
    np.testing.assert_array_equal(found.params["kernel"][:, 0] == 0, theirs.coef_ == 0)
    assert found.converged


def test_perceptron_separates_what_is_separable():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4)).astype(np.float32)
    side = x @ np.array([1, -2, 0.5, 0], np.float32) + 0.3
    x, side = x[np.abs(side) > 0.2], side[np.abs(side) > 0.2]
    for key, labels in ((None, (side > 0).astype(int)), (KEY, np.where(side > 0, 1, -1))):
        found = fnn.models.perceptron(x, labels, key=key)
        assert found.converged
        decided = (x @ found.params["kernel"] + found.params["bias"][None])[:, 0]
        np.testing.assert_array_equal(decided > 0, side > 0)
        # Novikoff: at most (R/γ)² mistakes, with the bias as a feature.
        points = np.c_[x, np.ones(len(x))]
        w = np.array([1, -2, 0.5, 0, 0.3])
        margin = np.abs(points @ w).min() / np.linalg.norm(w)
        assert int(found.mistakes.sum()) <= (np.linalg.norm(points, axis=1).max() / margin) ** 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_linear_models_of_16_bits_are_those_of_32_rounded(dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), dtype)
    y = x[:, 0] * 2 + 1
    wide, target = x.astype(jnp.float32), y.astype(jnp.float32)
    for solve in (fnn.models.least_squares, lambda x, y: fnn.models.lasso(x, y, l1=0.1).params):
        found, exact = solve(x, y), solve(wide, target)
        assert found["kernel"].dtype == found["bias"].dtype == jnp.dtype(dtype)
        for name in found:
            np.testing.assert_array_equal(found[name], exact[name].astype(dtype))


def test_perceptron_gets_no_row_right_that_is_nan():
    with pytest.warns(RuntimeWarning, match="1 mistakes in epoch 2, the last"):
        found = fnn.models.perceptron(jnp.array([[jnp.nan]]), jnp.array([1]), epochs=2)
    assert not found.converged


def test_perceptron_says_when_it_does_not_converge():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    with pytest.warns(RuntimeWarning, match="may not be linearly separable"):
        found = fnn.models.perceptron(x, np.array([0, 1, 1, 0]), epochs=20)
    assert not found.converged
    assert found.epochs == 20
    with pytest.raises(ValueError, match="labels 0 and 1"):
        fnn.models.perceptron(x, np.array([0, 1, 2, 0]))


@pytest.mark.parametrize("hidden", [(), (5,), (7, 3)])
def test_mlp_has_the_parameters_of_the_formula(hidden):
    model = fnn.models.mlp(hidden, 2)
    params, state = model.init(KEY, jnp.ones((4, 3, 3)))
    widths = (9, *hidden, 2)
    count = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(params))
        == count
        == fnn.summary(model, jnp.ones((4, 3, 3))).parameters
    )
    assert model.apply(params, state, jnp.ones((4, 3, 3)))[0].shape == (4, 2)


def test_mlp_takes_normalization_dropout_and_activation():
    model = fnn.models.mlp((8,), 2, activation=fnn.tanh, norm=fnn.batch_norm, dropout=0.5)
    params, state = model.init(KEY, jnp.ones((4, 3)))
    y, new = model.apply(params, state, jnp.ones((4, 3)), key=KEY, train=True)
    assert y.shape == (4, 2)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    with pytest.raises(TypeError, match=r"write \(8,\)"):
        fnn.models.mlp(8, 2)


def test_summary_counts_layers_parameters_and_operations():
    model = fnn.serial(fnn.dense(16), fnn.relu, fnn.residual(fnn.dense(16)), fnn.dense(4))
    table = fnn.summary(model, jax.ShapeDtypeStruct((8, 10), jnp.float32))
    assert [row.name for row in table.rows] == ["dense(16)", "relu", "dense(16)", "identity", "dense(4)"]
    assert table.parameters == 11 * 16 + 17 * 16 + 17 * 4
    assert table.rows[0].output == "float32[8,16]"
    products = 2 * 8 * (10 * 16 + 16 * 16 + 16 * 4)
    assert products <= table.flops <= 1.2 * products
    lines = str(table).splitlines()
    assert lines[-1].split()[:2] == ["total", f"{table.parameters:,}"]
    assert len({len(line) for line in lines if "─" not in line}) == 1


def test_summary_counts_a_large_convolution_by_the_formula():
    """Not by the form it takes on a CPU, which has fewer operations."""
    table = fnn.summary(fnn.conv(64, 3), (32, 32, 32, 64))
    assert 0.9 < table.flops / (32 * 32**2 * 64 * 9 * 64 * 2) < 1.1


@pytest.mark.parametrize("unit", [1e-23, 1e20])
def test_least_squares_in_any_unit(unit):
    """The squares of its singular values are no numbers of float32."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32) * np.float32(unit)
    wanted = np.array([1.0, 2.0, -1.0], np.float32)
    np.testing.assert_allclose(fnn.models.least_squares(x, x @ wanted)["kernel"][:, 0], wanted, rtol=1e-4)


def test_a_perceptron_learns_towards_its_labels():
    with pytest.raises(ValueError, match=r"perceptron: expected learning_rate in \(0, inf\), got -1"):
        fnn.models.perceptron(np.eye(2, dtype=np.float32), np.array([0, 1]), learning_rate=-1.0)
