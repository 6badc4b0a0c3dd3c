"""What a student does wrong, and the sentence that helps."""

import warnings
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
X = np.ones((6, 2), np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])
MULTICLASS = fnn.tasks.multiclass(3)


def run(x=X, y=Y, *, model=None, task=MULTICLASS, key=KEY, batch_size=2, **options):
    model = model or fnn.dense(3)
    return fnn.trainer(model, fnn.optim.sgd(0.1), task, epochs=1, batch_size=batch_size)(key, (x, y), **options)


def fit_on(data, **options):
    return fnn.fit(fnn.dense(3), fnn.optim.sgd(0.1), MULTICLASS, data, key=KEY, epochs=1, progress=False, **options)


def never_reached(key, x, targets):
    raise AssertionError("a step was taken")


class Examples:
    """A data set as torch has them: one example at a time."""

    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return X[row], Y[row]


CASES = {
    "wrong rank": (lambda: run(np.ones(6, np.float32)), r"expected x of shape \(batch, .*features\), got float32\[1\]"),
    "integer input": (lambda: run(X.astype(np.int32)), r"floating-point.*astype\(jnp.float32\)"),
    "text input": (lambda: run(np.array([["a", "b"]] * 6)), "numeric x"),
    "NaN": (lambda: run(np.where(np.eye(6, 2) == 1, np.nan, X)), "x contains nan at row 0, column 0"),
    "empty": (lambda: run(X[:0], Y[:0]), "at least one row"),
    "batch of zero": (lambda: run(batch_size=0), "batch_size >= 1, got 0"),
    "labels out of range": (lambda: run(y=Y + 1), r"classes 0 … 2, got 3 at row 2"),
    "text labels": (lambda: run(y=np.array(list("abcabc"))), "numpy.unique"),
    "fractional labels": (lambda: run(y=Y + 0.5), "got 0.5 at row 0"),
    "one class": (lambda: run(y=0 * Y), "every target is class 0"),
    "rows differ": (lambda: run(y=Y[:5]), r"one target per row of x, got 6 rows and targets of shape \(5,\)"),
    "targets two-dimensional": (
        lambda: run(y=np.eye(6, 3) + np.eye(6, 3, -3)),
        r"shape \(\d,\).*write targets.argmax\(axis=-1\)",
    ),
    "a class at every step": (lambda: run(y=np.ones((6, 2))), "a row has one row of outputs; .*return_sequences=True"),
    "targets by name": (lambda: run(y={"a": Y, "b": Y}), r"one array of targets, got dict; .*loss\(outputs, targets\)"),
    "two targets": (
        lambda: run(y=(Y, Y)),
        r"is one array of rows, and these are several.*write a dict",
    ),
    "a list of targets": (lambda: run(y=[Y, Y]), r"these are several arrays, \(int.*write a dict of them"),
    "key missing": (
        lambda: fnn.fit(fnn.dense(3), fnn.optim.sgd(0.1), MULTICLASS, (X, Y), epochs=1),
        r"needs a random key; write key=jax.random.key\(0\)",
    ),
    "key is a number": (lambda: run(key=0), r"random key, got int; write jax.random.key\(0\)"),
    "dropout without a key": (
        lambda: fnn.dropout(0.5).apply((), (), jnp.ones((2, 2)), train=True),
        "needs a random key",
    ),
    "negative rate": (lambda: fnn.dropout(-0.1), r"rate in \[0, 1\], got -0.1"),
    "negative learning rate": (lambda: fnn.optim.sgd(-0.1), "learning_rate"),
    "softmax twice": (
        lambda: run(model=fnn.serial(fnn.dense(3), fnn.softmax)),
        r"ends in softmax, but multiclass\(3\) takes logits",
    ),
    "sigmoid twice in an mlp": (
        lambda: run(y=Y % 2, model=fnn.serial(fnn.models.mlp((4,), 1), fnn.sigmoid), task=fnn.tasks.binary()),
        "ends in sigmoid",
    ),
    "outputs too few": (lambda: run(model=fnn.dense(2)), r"expected outputs of shape \(batch, 3\)"),
    "loss that is already reduced": (
        lambda: run(task=lambda outputs, targets: outputs.mean()),
        "one value per example",
    ),
    "constructor not called": (lambda: fnn.serial(fnn.dense), r"write dense\(...\)"),
    "a class as the model": (lambda: run(model=dict), "model to be a layer, got the class dict"),
    "not a layer": (lambda: fnn.serial(3), "a layer or a function of arrays, got int 3"),
    "task not called": (lambda: run(task=fnn.tasks.regression), "expected a task"),
    "rows out of range": (lambda: run(rows=np.array([0, 6])), "below 6, got 6"),
    "mask as rows": (lambda: run(rows=np.ones(6, bool)), "numpy.flatnonzero"),
    "negative weights": (
        lambda: fnn.trainer(fnn.dense(3), fnn.optim.sgd(0.1), MULTICLASS, epochs=1)(KEY, (X, Y, -np.ones(6))),
        "weights >= 0",
    ),
    "monitor that fit has no validation for": (
        lambda: fit_on((X, Y), early_stopping=fnn.early_stopping(), augment=never_reached),
        "got 'validation_loss'; give validation data",
    ),
    "early stopping as a callback": (
        lambda: fit_on((X, Y), callbacks=[fnn.early_stopping()]),
        r"callbacks to be a list of functions, .*write early_stopping=fnn.early_stopping\(…\)",
    ),
    "a data set of single examples": (lambda: fit_on(Examples()), r"got Examples; .*write torch.utils.data.DataLoader"),
    "a table of inputs and targets": (lambda: fit_on({"x": X, "y": Y}), r"\(x, targets, weights\), got dict$"),
    "a shape for an input": (lambda: fnn.dense(3).init(KEY, (1, 2)), r"where a shape is meant, write jax.ShapeDtype"),
    "a shape for an input of a model": (
        lambda: fnn.serial(fnn.conv(3, 3), fnn.relu).init(KEY, (1, 8, 8, 1)),
        r"where a shape is meant, write jax.ShapeDtypeStruct\(shape, jax.numpy.float32\) for x",
    ),
    "a task by a word": (
        lambda: fnn.predict(fnn.dense(3), fnn.Trained(*fnn.dense(3).init(KEY, X)), X, "classes"),
        "expected a task or a loss function, got 'classes'",
    ),
    "monitor by another name": (
        lambda: fnn.trainer(
            fnn.dense(3), fnn.optim.sgd(0.1), MULTICLASS, epochs=1, early_stopping=fnn.early_stopping("val_loss")
        )(KEY, (X, Y), validation=(X, Y)),
        "got 'val_loss'; write 'validation_loss'",
    ),
    "monitor unknown": (
        lambda: fnn.trainer(
            fnn.dense(3),
            fnn.optim.sgd(0.1),
            MULTICLASS,
            epochs=1,
            batch_size=2,
            early_stopping=fnn.early_stopping("validation_loss"),
        )(KEY, (X, Y)),
        "expected monitor to be one of 'loss', 'accuracy', got 'validation_loss'; give validation data",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_misuse_is_answered_with_a_sentence_that_helps(name):
    misuse, message = CASES[name]
    with pytest.raises((ValueError, TypeError), match=message):
        misuse()


def test_another_number_of_features_is_named():
    model = fnn.serial(fnn.dense(4), fnn.relu, fnn.dense(3))
    params, state = model.init(KEY, X)
    with pytest.raises(ValueError, match=r"layer 0, dense\(4\): .*2.*5"):
        model.apply(params, state, np.ones((6, 5), np.float32))


def test_float64_without_x64_is_said():
    with pytest.warns(UserWarning, match="x is float64 and is computed in float32"):
        run(X.astype(np.float64))
    with warnings.catch_warnings(), jax.enable_x64(True):
        warnings.simplefilter("error")
        trained, _ = run(X.astype(np.float64))
    assert trained.params["kernel"].dtype == jnp.float64


def test_a_pandas_column_is_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["age", "weight"])
    frame.loc[3, "weight"] = np.nan
    with pytest.raises(ValueError, match="x contains nan at row 3, column 'weight'"):
        run(frame)


def test_one_row_trains_and_predicts():
    task = fnn.tasks.regression()
    trained, history = fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.1), task, epochs=2, batch_size=1)(KEY, (X[:1], Y[:1]))
    assert np.isfinite(history["loss"]).all()
    assert fnn.predict(fnn.dense(1), trained, X[:1]).shape == (1, 1)


def test_huge_values_end_in_a_report_not_in_nan_parameters():
    task = fnn.tasks.regression()
    with pytest.warns(RuntimeWarning, match="the loss was not finite in epoch 1, step 1"):
        trained, _ = fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.1), task, epochs=2, batch_size=6)(KEY, (X * 1e30, Y))
    assert np.isfinite(trained.params["kernel"]).all()


def diverge():
    return fnn.optim.sgd(1e30), fnn.tasks.regression(), (X, Y.astype(np.float32))


WIDE = X.astype(np.float64)
PARAMS = ({"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}, ())
WARNED = {
    "predict": lambda: fnn.predict(fnn.dense(3), fnn.Trained(*PARAMS), WIDE),
    "evaluate": lambda: fnn.evaluate(fnn.dense(3), fnn.Trained(*PARAMS), (WIDE, Y), MULTICLASS),
    "fit": lambda: fnn.fit(fnn.dense(1), *diverge(), key=KEY, epochs=3, batch_size=3, progress=False),
    "trainer": lambda: fnn.trainer(fnn.dense(1), *diverge()[:2], epochs=3, batch_size=3)(KEY, diverge()[2]),
    "cross_validate": lambda: fnn.selection.cross_validate(
        fnn.dense(1), *diverge(), key=KEY, folds=2, epochs=3, batch_size=3
    ),
    "estimator": lambda: fnn.estimators.Regressor(optimizer=diverge()[0], epochs=3, batch_size=3).fit(X, Y * 1.0),
    "perceptron": lambda: fnn.models.perceptron(jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 1, 0]), epochs=2),
}


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_points_at_the_users_line(name):
    with pytest.warns((UserWarning, RuntimeWarning)) as caught:
        WARNED[name]()
    code = WARNED[name].__code__
    lines = {line for *_, line in code.co_lines() if line is not None}
    assert {warning.filename for warning in caught} == {code.co_filename}
    assert {warning.lineno for warning in caught} <= lines


def test_a_warning_shown_once_per_line_is_shown_for_another_line():
    x = jnp.array([[0.0], [1.0], [2.0]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            fnn.models.perceptron(x, jnp.array([0, 1, 0]), epochs=2)
        fnn.models.perceptron(x, jnp.array([0, 1, 0]), epochs=2)
    assert len(caught) == 2


SQUARE = np.ones((4, 28, 28), np.float32)


@pytest.mark.parametrize(
    ("build", "rate"),
    [
        (fnn.dropout, "rate"),
        (fnn.spatial_dropout, "rate"),
        (fnn.variational_dropout, "rate"),
        (fnn.alpha_dropout, "rate"),
        (lambda rate: fnn.drop_connect(fnn.dense(3), rate), "rate"),
    ],
)
def test_dropping_everything_in_training_is_said(build, rate):
    layer, x = build(1.0), jnp.ones((2, 3, 4))
    params, state = layer.init(KEY, x)
    layer.apply(params, state, x)
    with pytest.raises(ValueError, match=f"{rate}=1 drops everything.*write a {rate} below 1"):
        jax.jit(lambda p: layer.apply(p, state, x, key=KEY, train=True)[0])(params)


@pytest.mark.parametrize("name", ["lenet5", "small_cnn", "vgg", "resnet"])
@pytest.mark.parametrize(
    ("x", "repair"),
    [
        (SQUARE, r"x\[..., None\]"),
        (SQUARE[:, None], "moveaxis"),
        (SQUARE[0], r"x\[None\]"),
    ],
)
def test_image_models_name_the_axis_that_is_missing_or_misplaced(name, x, repair):
    with pytest.raises(ValueError, match=rf"{name}: expected images of shape \(batch, height, width, chan.*{repair}"):
        getattr(fnn.models, name)(3).init(KEY, x)


def test_a_convolution_warns_of_channels_that_come_first():
    with pytest.warns(UserWarning, match=r"conv: channels are the last axis.*write jnp.moveaxis\(x, 1, -1\)"):
        fnn.conv(4, 3).init(KEY, jax.ShapeDtypeStruct((8, 3, 32, 32), jnp.float32))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y, model: fnn.fit(model, fnn.optim.sgd(0.1), fnn.losses.mse, (x, y), epochs=1, batch_size=2, key=KEY),
        lambda x, y, model: fnn.predict(model, fnn.Trained(*model.init(KEY, x)), x),
    ],
)
def test_lengths_longer_than_time_are_refused_before_they_are_compiled(call):
    x = fnn.Padded(np.ones((4, 3, 2), np.float32), np.array([3, 9, 1, 0]))
    with pytest.raises(ValueError, match=r"lengths from 0 to 3, .*got 9 for sequence 1; write numpy.clip"):
        call(x, np.ones((4, 1), np.float32), fnn.serial(fnn.lstm(2), fnn.dense(1)))


def test_a_long_text_is_cut_in_an_error():
    with pytest.raises(TypeError) as error:
        fnn.fit("a" * 1000, fnn.optim.sgd(0.1), fnn.tasks.regression(), None, key=jax.random.key(0), epochs=1)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("value", [-1.0, float("nan"), "a", [], None, {}], ids=str)
@pytest.mark.parametrize(
    "rule",
    [
        lambda v: fnn.optim.adamw(1e-3, weight_decay=v),
        lambda v: fnn.optim.adadelta(1.0, weight_decay=v),
        lambda v: fnn.optim.lion(1e-3, weight_decay=v),
        lambda v: fnn.optim.adam(1e-3, eps=v),
        lambda v: fnn.schedules.linear_onecycle_schedule(10, 1.0, pct_start=v),
        lambda v: fnn.schedules.cosine_onecycle_schedule(10, 1.0, pct_start=v),
    ],
    ids=["adamw", "adadelta", "lion", "eps", "linear cycle", "cosine cycle"],
)
def test_a_setting_that_is_no_number_or_out_of_its_range_is_named_when_it_is_given(rule, value):
    with pytest.raises(
        (TypeError, ValueError), match=r"expected (weight_decay|eps|pct_start) (to be a number|in [\[(]0)"
    ):
        rule(value)


@pytest.mark.parametrize("value", [1j, np.complex64(0.1), np.ones(2, complex), jnp.asarray(0.1 + 0j)], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        fnn.optim.sgd,
        lambda v: fnn.optim.sgd(0.1, momentum=v),
        lambda v: fnn.optim.adamw(1e-3, b1=v),
        lambda v: fnn.optim.adamw(1e-3, weight_decay=v),
        lambda v: fnn.optim.l2(v),
        lambda v: fnn.batch_norm(decay=v),
        lambda v: fnn.batch_norm(eps=v),
        fnn.dropout,
        fnn.prelu,
        lambda v: fnn.tasks.multiclass(3, label_smoothing=v),
        lambda v: fnn.schedules.cosine_decay_schedule(v, 10),
        fnn.initializers.normal,
    ],
)
def test_a_complex_setting_is_no_real_number(make, value):
    """In the dtype of a real array it was its real part, a learning rate of 1j one of 0."""
    with pytest.raises(TypeError, match=r"expected \w+ to be a real number, got .*j"):
        make(value)


def test_a_complex_rate_is_named_inside_a_program_too():
    with pytest.raises(TypeError, match="expected learning_rate to be a real number"):
        jax.jit(lambda rate: fnn.optim.sgd(rate).update(jnp.ones(2), ())[0])(jnp.asarray(1j))


@pytest.mark.parametrize("value", [Fraction(1, 10), Decimal("0.1"), 10**30], ids=str)
def test_other_numbers_of_python_are_asked_to_be_floats(value):
    with pytest.raises(TypeError, match=r"learning_rate to be a number, got .*; write float\(learning_rate\)"):
        fnn.optim.sgd(value)


@pytest.mark.parametrize("rule", [fnn.optim.sgd, fnn.optim.adam, fnn.optim.rmsprop, fnn.optim.presets.torch.adam])
def test_no_learning_rate_is_named(rule):
    """It was a rate of 1 up the gradient."""
    with pytest.raises(TypeError, match="expected learning_rate to be a number, got None"):
        rule(None)


@pytest.mark.parametrize("value", [np.ones(2), np.ones(2, int), np.array("a"), jnp.ones(()), 3.0], ids=repr)
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(TypeError, match="dense: expected features to be a Python int, got"):
        fnn.dense(value)


def test_a_whole_number_of_numpy_or_jax_is_one():
    assert [fnn.dense(width).init(KEY, X)[0]["bias"].shape for width in (np.int64(3), jnp.asarray(3))] == [(3,), (3,)]


WRAPPERS = {
    "weight_norm": fnn.weight_norm,
    "spectral_norm": fnn.spectral_norm,
    "drop_connect": lambda layer: fnn.drop_connect(layer, 0.5),
    "bidirectional": fnn.bidirectional,
    "backward": lambda layer: fnn.bidirectional(fnn.lstm(3), layer),
    "mc_dropout": fnn.mc_dropout,
    "frozen": fnn.frozen,
    "residual": fnn.residual,
    "time_distributed": fnn.time_distributed,
    "stacked": fnn.stacked,
    "shared": lambda layer: fnn.shared(layer, lambda use: use),
    "body": lambda layer: fnn.shared(fnn.dense(2), lambda use: layer),
}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (fnn.dense, r"expected a layer, got its constructor; write dense\(...\)"),
        ([fnn.dense(3)], r"expected layers one by one, got a list of them; write serial\(\*layers\)"),
        (3, "expected a layer or a function of arrays, got int 3"),
    ],
    ids=["constructor", "list", "number"],
)
@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_no_layer_is_named_by_whatever_takes_one(name, given, message):
    with pytest.raises(TypeError, match=message):
        WRAPPERS[name](given)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: fnn.dense(3, use_bias="no"), "dense: expected use_bias to be True or False, got 'no'"),
        (lambda: fnn.lstm(3, return_sequences=None), "lstm: expected return_sequences to be True or False, got None"),
        (lambda: fnn.shared(fnn.dense(2), fnn.dense(3)), "body to be a function layer -> layer, got Layer dense"),
        (lambda: fnn.parallel(fnn.dense(2), merge="sum"), "merge to be a function .*, got 'sum'; write fnn.concat"),
        (lambda: fnn.bidirectional(fnn.gru(2), merge=None), "merge to be a function .*, got None"),
        (lambda: fnn.tasks.regression(loss="mae"), "loss to be a function .*, got 'mae'; write fnn.losses.mae"),
        (lambda: fnn.tasks.quantile(0.5), r"levels to be a sequence of numbers, got 0.5; write \(0.5,\)"),
        (lambda: fnn.tasks.distribution(np.ones(2)), "family to be one of 'gaussian', 'laplace', got array"),
        (lambda: fnn.checkpoints(True), "checkpoints: expected directory to be the path of a directory, got True"),
        (lambda: fnn.early_stopping(5), "monitor to be the name of a score, got 5; write"),
        (lambda: fnn.rrelu("a"), "rrelu: expected lower to be a number, got 'a'"),
    ],
)
def test_a_word_a_flag_or_a_function_of_another_kind_is_named_when_it_is_given(misuse, message):
    with pytest.raises((TypeError, ValueError), match=message):
        misuse()
