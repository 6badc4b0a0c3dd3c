"""Every rule against optax, every preset against its framework; 50 steps and more, float64."""

import warnings

import jax
import numpy as np
import optim_references as references
import pytest

from fnn.testing import check_transform

EVERY = [(family, name) for family, pairs in references.OPTAX.items() for name, _, _ in pairs]
COURSE = ("sgd", "momentum", "adagrad", "rmsprop", "adam")


def beside_optax(family, name):
    marks = () if name.split()[0] in COURSE else pytest.mark.thorough
    return pytest.param(family, name, marks=marks)


@pytest.mark.parametrize(("family", "name"), [beside_optax(*rule) for rule in EVERY])
def test_rule_takes_the_steps_of_optax(family, name):
    references.check(family, name, examples=4)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("family", "name", "dtype"),
    [
        (family, name, dtype)
        for family, name in (("gradient_descent", "sgd, nesterov"), ("adaptive", "rmsprop"), ("adam", "adam"))
        for dtype in ("float32", "complex128")
    ]
    # optax squares a complex gradient in the place of its modulus, and its steps leave the direction.
    + [("adaptive", "adadelta", "float32")],
)
def test_rule_takes_the_steps_of_optax_in_other_dtypes(family, name, dtype):
    references.check(family, name, params=None, examples=2, steps=20, dtype=dtype)  # a nested tree


@pytest.mark.parametrize(("name", "mine", "kind", "options"), references.TORCH)
def test_torch_preset(name, mine, kind, options, x64):
    pytest.importorskip("torch")
    for seed in range(2):
        case = references.random_case(seed)
        got, expected = references.fnn_path(mine(**options), *case), references.torch_path(kind, options, *case)
        np.testing.assert_allclose(got, expected, rtol=1e-7 if kind == "NAdam" else 1e-12, atol=1e-13)


@pytest.mark.parametrize(("mine", "numpy", "kind", "options"), references.KERAS)
def test_keras_preset(mine, numpy, kind, options, x64):
    for seed in range(2):
        case = references.random_case(seed)
        got, expected = references.fnn_path(mine(**options), *case), np.stack([*numpy(*case, **options)])
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("mine", "numpy", "kind", "options"), references.KERAS)
def test_keras_transcription_is_keras(mine, numpy, kind, options, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
        params, gradients = (x.astype(np.float32) for x in references.random_case(0))
        variable, rule = keras.Variable(params), getattr(keras.optimizers, kind)(**options)
        path = []
        for g in gradients:
            rule.apply([keras.ops.convert_to_tensor(g)], [variable])
            path.append(np.asarray(variable.value))
    np.testing.assert_allclose(np.stack([*numpy(params, gradients, **options)]), np.stack(path), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "mine", "numpy", "args"), references.TEXTBOOK)
def test_textbook_preset(name, mine, numpy, args, x64):
    for seed in range(2):
        case = references.random_case(seed)
        np.testing.assert_allclose(references.fnn_path(mine, *case), np.stack([*numpy(*case, *args)]), rtol=1e-12)


def test_presets_differ_from_one_another(x64):
    """The conventions are not one another's: each switch changes the path."""
    case = references.random_case(0)
    adams = (references.textbook.adam(1e-3, eps=1e-2), references.keras.adam(1e-3, epsilon=1e-2))
    squares = (references.torch.rmsprop(1e-3, 0.9, eps=1e-2), references.keras.rmsprop(1e-3, epsilon=1e-2))
    largest = (references.torch.adam(amsgrad=True), references.fnn.optim.amsgrad(1e-3))
    for mine, other in (adams, squares, largest):
        gap = references.difference(references.fnn_path(mine, *case), references.fnn_path(other, *case))
        assert gap > 1e-6
    with pytest.raises(AssertionError):
        check_transform(references.torch.adam(amsgrad=True), references.optax.amsgrad(1e-3), examples=2)
