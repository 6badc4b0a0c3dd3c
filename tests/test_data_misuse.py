"""Data that are not what they seem: masked, ragged, in trees, of other numbers."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn


def masked(array, *place):
    mask = np.zeros(np.shape(array), bool)
    mask[place] = True
    return np.ma.masked_array(array, mask)


KEY = jax.random.key(0)
X, LABELS = np.arange(24, dtype=np.float32).reshape(12, 2) / 24, np.arange(12) % 3
NETWORK, CLASSES = fnn.dense(3), fnn.tasks.multiclass(3)
BRIEF = dict(key=jax.random.key(0), epochs=1, progress=False)


def fit_network(*data, **options):
    return fnn.fit(NETWORK, fnn.optim.sgd(0.1), CLASSES, data[0] if len(data) == 1 else data, **BRIEF, **options)


def trained_network():
    return fnn.Trained(*NETWORK.init(jax.random.key(0), X))


VALUES_MISSING = {
    "x": lambda: fit_network(masked(X, 3, 1), LABELS),
    "targets": lambda: fit_network(X, masked(LABELS, 3)),
    "weights": lambda: fit_network(X, LABELS, masked(np.ones(12), 3)),
    "rows": lambda: fit_network(X, LABELS, rows=masked(np.arange(5), 3)),
    "x, validation": lambda: fit_network(X, LABELS, validation=(masked(X, 3, 1), LABELS)),
    "x, of a stream": lambda: fit_network([(masked(X, 3, 1), LABELS)]),
    "targets, of a stream": lambda: fit_network([(X, masked(LABELS, 3))]),
    "weights, of a stream": lambda: fit_network([(X, LABELS, masked(np.ones(12), 3))]),
    "x, predict": lambda: fnn.predict(NETWORK, trained_network(), masked(X, 3, 1)),
    "x, evaluate": lambda: fnn.evaluate(NETWORK, trained_network(), (masked(X, 3, 1), LABELS), CLASSES),
    "x, scaler": lambda: fnn.data.standard_scaler().fit(masked(X, 3, 1)),
    "classes": lambda: fnn.selection.stratified_k_fold(masked(LABELS, 3), 3),
    "groups": lambda: fnn.selection.group_k_fold(masked(LABELS, 3), 3),
    "stratify": lambda: fnn.selection.hold_out(12, 0.5, stratify=masked(LABELS, 3)),
    "series": lambda: fnn.data.windows(masked(np.arange(12.0), 3), 2),
    "predictions": lambda: fnn.metrics.accuracy(masked(np.ones((12, 3)), 3, 1), LABELS),
    "X": lambda: fnn.estimators.Classifier(epochs=1).fit(masked(X, 3, 1), LABELS),
    "y": lambda: fnn.estimators.Regressor(epochs=1).fit(X, masked(np.ones(12), 3)),
    "sample_weight": lambda: fnn.estimators.Classifier(epochs=1).fit(X, LABELS, masked(np.ones(12), 3)),
}


@pytest.mark.parametrize("name", VALUES_MISSING)
def test_a_masked_value_is_missing_and_never_taken_for_what_lies_under_the_mask(name):
    with pytest.raises((ValueError, fnn.StreamError), match=rf"no value in {name.partition(',')[0]} at row 3"):
        VALUES_MISSING[name]()


def test_a_mask_that_hides_nothing_is_no_obstacle():
    plain, unmasked = (fit_network(x, LABELS)[1]["loss"] for x in (X, np.ma.masked_array(X, False)))
    assert plain == unmasked


RAGGED = [[1.0, 2.0], [3.0]]


@pytest.mark.parametrize("given", [(RAGGED, [0, 1]), (X, RAGGED)], ids=["x", "targets"])
def test_rows_of_several_lengths_are_named(given):
    with pytest.raises(ValueError, match=r"fit: expected (x|targets) to be one array, got list of 2"):
        fit_network(*given)


@pytest.mark.parametrize("given", [None, "name", np.float32(1)], ids=["nothing", "text", "number"])
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_what_has_no_rows_is_named_with_who_was_asked(verb, given):
    with pytest.raises((TypeError, ValueError), match=f"^{verb}: expected (one array of rows|arrays)"):
        fit_network(given, LABELS) if verb == "fit" else fnn.predict(NETWORK, trained_network(), given)


def test_rows_as_lists_are_rows_to_predict_too_and_fit_float32():
    found, expected = (fnn.predict(NETWORK, trained_network(), x) for x in (X.tolist(), X))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"expected x that fit float32, got 1e\+300 at row 1, column 0"):
        fit_network([[1.0, 2.0], [1e300, 3.0]], [0, 1])


@pytest.mark.parametrize("layer", [fnn.dense(3), fnn.embedding(5, 3), fnn.conv(3, 3), fnn.lstm(3)], ids=str)
@pytest.mark.parametrize("given", [{"a": X}, [X, X]], ids=["dict", "list"])
def test_a_tree_where_a_layer_takes_one_array_is_named(layer, given):
    with pytest.raises(TypeError, match=r"expected x to be an array, got (dict|list)"):
        layer.init(jax.random.key(0), given)


@pytest.mark.parametrize("keys", [jax.random.split(jax.random.key(0), 2), np.zeros((3, 2), np.uint32)])
def test_several_keys_are_not_one(keys):
    with pytest.raises(ValueError, match=r"fit: expected one random key, got .*; write jax.vmap"):
        fnn.fit(NETWORK, fnn.optim.sgd(0.1), CLASSES, (X, LABELS), key=keys, epochs=1)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="numbers of 64 bits")
def test_longer_numbers_than_jax_has_are_named():
    with pytest.raises(TypeError, match=r"fit: expected numeric x, got .*; write x.astype\(float\)"):
        fit_network(X.astype(np.longdouble), LABELS)


BY_INITIALIZER = {
    "dense": lambda given: fnn.dense(3, kernel_init=given),
    "bias": lambda given: fnn.dense(3, bias_init=given),
    "conv": lambda given: fnn.conv(3, 3, kernel_init=given),
    "embedding": lambda given: fnn.embedding(4, 3, embedding_init=given),
    "lstm": lambda given: fnn.lstm(3, recurrent_init=given),
    "norm": lambda given: fnn.layer_norm(scale_init=given),
}


@pytest.mark.parametrize("given", [0.0, "he", np.ones((4, 3), np.float32)], ids=["number", "text", "array"])
@pytest.mark.parametrize("name", BY_INITIALIZER)
def test_numbers_in_the_place_of_an_initializer_are_named_where_the_layer_is_made(name, given):
    with pytest.raises(TypeError, match=r"expected \w+_init to be a function \(key, shape, dtype\), got .*constant"):
        BY_INITIALIZER[name](given)


DRAWN = [
    (build, name)
    for build in (
        fnn.dense,
        fnn.embedding,
        fnn.batch_norm,
        fnn.layer_norm,
        fnn.rms_norm,
        fnn.group_norm,
        fnn.instance_norm,
    )
    for name, parameter in inspect.signature(build).parameters.items()
    if parameter.annotation == "Initializer"
]
FIRST = {fnn.dense: (3,), fnn.embedding: (4, 3), fnn.group_norm: (1,)}


@pytest.mark.parametrize(("build", "name"), DRAWN, ids=lambda given: getattr(given, "__name__", given))
def test_no_initializer_is_named_where_the_layer_is_made(build, name):
    with pytest.raises(TypeError, match=f"{name} to be a function .*, got None; .*leave it out for the default"):
        build(*FIRST.get(build, ()), **{name: None})


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ("he_normal", r"got 'he_normal'; write kernel_init=fnn.initializers.he_normal\(…\)"),
        ("zeros", r"got 'zeros'; write kernel_init=fnn.initializers.zeros$"),
        (fnn.initializers.he_normal, r"got the function he_normal; write kernel_init=fnn.initializers.he_normal\(…\)"),
        (fnn.initializers.constant, r"got the function constant; write kernel_init=fnn.initializers.constant\(…\)"),
        (fnn.relu, "got the function relu; give a function that takes the three"),
        (lambda key, shape: np.zeros(shape), "got the function <lambda>; give a function that takes the three"),
    ],
)
def test_what_makes_an_initializer_is_asked_to_be_called(given, instead):
    with pytest.raises(TypeError, match=instead):
        fnn.conv(3, 3, kernel_init=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (jax.nn.initializers.he_normal, r"to be an array, got the function init; .*he_normal\(…\)"),
        (lambda key, shape, dtype: 0.5, "to be an array, got 0.5; give a function that takes the three and returns an"),
        (lambda key, shape, dtype: np.zeros(3, dtype), r"of shape \(3, 2, 3\), got float32\[3\]"),
        (lambda key, shape, dtype: np.zeros(shape, int), "to be floating-point, got int.*; draw it in the dtype"),
    ],
)
def test_what_an_initializer_draws_is_looked_at(given, message):
    with pytest.raises((TypeError, ValueError), match=f"conv: expected the value of kernel_init {message}"):
        fnn.conv(3, 3, kernel_init=given).init(KEY, np.ones((1, 5, 2), np.float32))


def test_known_vectors_are_an_initializer_by_constant():
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    params, _ = fnn.embedding(4, 3, embedding_init=fnn.initializers.constant(vectors)).init(KEY, np.arange(2))
    np.testing.assert_array_equal(params["embedding"], vectors)


def test_lengths_of_a_table_are_lengths():
    pandas = pytest.importorskip("pandas")
    x, layer = np.ones((2, 3, 1), np.float32), fnn.rnn(2)
    trained = layer.init(KEY, x)
    found, expected = (layer.apply(*trained, fnn.Padded(x, n))[0] for n in (pandas.Series([1, 3]), np.array([1, 3])))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layer", [fnn.conv, fnn.conv_transpose, fnn.separable_conv])
def test_a_function_is_no_number_of_features(layer):
    with pytest.raises(TypeError, match="expected features to be a Python int"):
        layer(len, 3).init(KEY, np.ones((1, 5, 5, 2), np.float32))


def test_a_cycle_is_made_inside_a_program_with_a_known_turning_point():
    start = jax.numpy.array(0.3)
    rates = [
        jax.jit(lambda step, c=c: fnn.schedules.linear_onecycle_schedule(100, 1.0, c)(step))(5) for c in (start, 0.3)
    ]
    assert rates[0] == pytest.approx(rates[1])


def test_a_layer_of_ones_own_may_take_initializers_in_other_forms():
    @fnn.constructor
    def own(features: int, inits: "dict[str, Initializer]" = {}, first: "Initializer | str" = "zeros"):  # noqa: F821, B006
        return fnn.dense(features)

    assert str(own(3, inits={"a": fnn.initializers.zeros}, first="ones")).startswith("own(3, inits=")


@pytest.mark.parametrize(
    "half", [jax.numpy.bfloat16(0.5), np.asarray(0.5, jax.numpy.bfloat16), np.float16(0.5)], ids=str
)
def test_settings_may_be_numbers_of_any_width(half):
    x = np.ones((4, 8), np.float32)
    dropped = [fnn.dropout(rate).apply((), (), x, train=True, key=KEY)[0] for rate in (half, 0.5)]
    np.testing.assert_array_equal(*dropped)
    rule = fnn.optim.sgd(half)
    np.testing.assert_array_equal(
        rule.update(np.ones(2, np.float32), rule.init(np.ones(2, np.float32)))[0], [-0.5, -0.5]
    )


NUMBERS = np.array([1, 9, -1, 2])


@pytest.mark.parametrize(
    "give", [lambda x: x, lambda x: lambda: iter([x]), jnp.asarray], ids=["array", "stream", "jax"]
)
def test_what_is_decoded_of_nan_is_said(give):
    model, task = fnn.serial(fnn.embedding(4, 3), fnn.dense(2)), fnn.tasks.multiclass(2)
    trained = fnn.Trained(*model.init(jax.random.key(0), NUMBERS[:1]))
    with pytest.warns(RuntimeWarning, match="predict: the outputs of 2 of 4 rows are NaN, of row 1 first"):
        fnn.predict(model, trained, give(NUMBERS), task)
    fnn.predict(model, trained, give(NUMBERS[::3]), task)
    assert np.isnan(fnn.predict(model, trained, give(NUMBERS))).any(axis=1).tolist() == [False, True, True, False]


TRAINED = fnn.Trained(*fnn.dense(3).init(KEY, np.ones((2, 2), np.float32)))


@pytest.mark.parametrize(
    "use",
    [
        lambda path, table: fnn.serial(fnn.dense(3)).init(KEY, table),
        lambda path, table: fnn.save(path / "m", TRAINED, model=fnn.dense(3), x=table),
        lambda path, table: fnn.load(path / "m", like=(fnn.dense(3), table)),
        lambda path, table: fnn.export(fnn.dense(3), TRAINED, table, path=path / "m"),
        lambda path, table: fnn.summary(fnn.dense(3), table),
    ],
    ids=["init", "save", "load", "export", "summary"],
)
def test_a_table_as_an_example_of_the_input_is_asked_for_its_numbers(use, tmp_path):
    table = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pytest.raises(TypeError, match=r"expected x to be an array, got DataFrame; write x.to_numpy"):
        use(tmp_path, table)


@pytest.mark.parametrize(
    "layer",
    [fnn.conv(2, 3), fnn.flatten(), fnn.batch_norm(), fnn.layer_norm(axis=1), fnn.activity_penalty(1.0)],
    ids=lambda layer: fnn.as_layer(layer).name,
)
def test_padded_sequences_reach_other_layers_step_by_step(layer):
    padded = fnn.Padded(np.ones((2, 4, 3), np.float32), np.array([4, 2]))
    with pytest.raises(TypeError, match=r"got Padded; write fnn.time_distributed\("):
        fnn.serial(layer).init(KEY, padded)


STEP = fnn.train_step(fnn.dense(3), fnn.optim.sgd(0.1), fnn.losses.softmax_cross_entropy)
BATCH = np.ones((2, 2), np.float32), np.array([0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda state: (state, KEY, BATCH[0]), r"expected batch \(x, targets\) or .*got float32\[2,2\]"),
        (lambda state: (state, KEY, dict(enumerate(BATCH))), r"expected batch \(x, targets\) or .*got dict"),
        (lambda state: (state, BATCH, KEY), r"expected a random key, got \(float32\[2,2\], int"),
        (lambda state: (state.trained, KEY, BATCH), "train_state to be what step.init or step.update returned"),
        (lambda state: (state, KEY, (BATCH[0], BATCH[1][:1])), r"labels of shape \(1,\)"),
    ],
)
def test_what_a_training_step_is_called_with_is_looked_at(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        jax.jit(STEP.update)(*arguments(STEP.init(KEY, BATCH[0])))


def test_a_part_of_a_model_is_asked_to_be_a_model():
    with pytest.raises(TypeError, match=r"write fnn.serial\(\*layers\), and fnn.serial\(\*model.parts\[:2\]\)"):
        fnn.train_step(fnn.serial(fnn.dense(3), fnn.relu)[:2], fnn.optim.sgd(0.1), fnn.losses.mse)


def test_one_example_is_no_batch():
    with pytest.raises(ValueError, match=r"write x\[None\] for a single example"):
        fnn.predict(fnn.dense(3), TRAINED, BATCH[0][0])


def test_a_folder_of_images_is_asked_for_its_batches(tmp_path):
    folder = fnn.data.ImageFolder((tmp_path,), np.zeros(1, np.int32), ("a",), (2, 2, 1), False)
    with pytest.raises(TypeError, match=r"got ImageFolder; write data.batches\(32, key=key\), or data.arrays\(\)"):
        fnn.fit(fnn.dense(3), fnn.optim.sgd(0.1), fnn.tasks.multiclass(3), folder, key=KEY, epochs=1)


def test_one_image_is_told_from_parameters_of_another_model():
    model, image = fnn.conv(2, 3), np.ones((5, 5, 1), np.float32)
    trained = fnn.Trained(*model.init(KEY, image[None]))
    with pytest.raises(ValueError, match=r"write x\[None\] for a single example"):
        fnn.predict(model, trained, image)
    with pytest.raises(ValueError, match=r"returned for such x(\n|$)"):
        fnn.predict(model, trained, np.ones((1, 5, 5, 2), np.float32))


MIXED = {1: np.ones((4, 1), np.float32), "a": np.ones((4, 2), np.float32)}
OF_MIXED = fnn.Layer(
    lambda key, x: ({1: jnp.ones((2, 2)), "a": jnp.zeros(2)}, ()),
    lambda params, state, x, *, key=None, train=False: (x @ params[1] + params["a"][None], state),
)
ROWS = np.ones((4, 2), np.float32)


def train(model, data, verb=fnn.fit, **options):
    return verb(model, fnn.optim.sgd(0.1), fnn.losses.mse, data, key=jax.random.key(0), epochs=1, **options)


@pytest.mark.parametrize(
    ("where", "use"),
    [
        ("fit", lambda: train(fnn.dense(1), (ROWS, MIXED))),
        ("fit", lambda: train(fnn.dense(1), (MIXED, ROWS))),
        ("fit, batch 1 of epoch 1", lambda: train(fnn.dense(1), lambda: iter([(ROWS, MIXED)]), progress=False)),
        ("cross_validate", lambda: train(fnn.dense(1), (ROWS, MIXED), fnn.selection.cross_validate)),
        ("trainer", lambda: fnn.trainer(fnn.dense(1), fnn.optim.sgd(0.1), fnn.losses.mse, epochs=1)(
            jax.random.key(0), (ROWS, [{"b": MIXED}]))),
        ("predict", lambda: fnn.predict(OF_MIXED, fnn.Trained(OF_MIXED.init(None, ROWS)[0], ()), ROWS)),
        ("save", lambda: fnn.save("model.npz", fnn.Trained(OF_MIXED.init(None, ROWS)[0], ()), model=OF_MIXED)),
        ("init", lambda: train(OF_MIXED, (ROWS, ROWS))),
        ("init", lambda: train(OF_MIXED, (ROWS, ROWS), fnn.selection.ensemble)),
        ("init", lambda: fnn.serial(OF_MIXED).init(jax.random.key(0), ROWS)),
        ("init", lambda: fnn.optim.adam(0.1).init({1: ROWS, "a": ROWS})),
        ("init", lambda: fnn.optim.sgd(0.1).init([{1: ROWS, "a": ROWS}])),
        ("init", lambda: fnn.optim.masked(fnn.optim.scale(2.0), True).init({1: ROWS, "a": ROWS})),
        ("init", lambda: fnn.optim.swa_params(fnn.optim.identity()).init({1: ROWS, "a": ROWS})),
        ("apply", lambda: fnn.predict(fnn.as_layer(lambda x: {1: x, "a": x}), fnn.Trained((), ()), ROWS)),
    ],
)  # fmt: skip
def test_dict_keys_that_cannot_be_sorted_are_named(where, use):
    message = rf"{where}: expected dict keys of one type, which JAX can sort, got 1 and 'a' in one dict; write '1' and"
    with pytest.raises((TypeError, fnn.StreamError), match=message):
        use()


PLAIN = (fnn.dense(1), (ROWS, ROWS[:, :1]))


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("random_crop", lambda make: train(*PLAIN, augment=make)),
        ("random_crop", fnn.data.compose),
        ("l2", lambda make: train(*PLAIN, penalty=make)),
        ("cosine_decay_schedule", fnn.optim.sgd),
        ("cosine_decay_schedule", lambda make: fnn.schedules.in_epochs(make, 3)),
        ("csv_log", lambda make: train(*PLAIN, callbacks=[make])),
        ("csv_log", lambda make: train(*PLAIN, callbacks=[fnn.every(2, make)])),
        ("multiclass", lambda make: fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), make, PLAIN[1], key=KEY, epochs=1)),
        ("dense", lambda make: train(make, PLAIN[1])),
        ("dense", fnn.serial),
    ],
)
@pytest.mark.parametrize("wrap", [lambda make: make, functools.partial], ids=["bare", "partial"])
def test_what_makes_one_is_asked_to_be_called_in_a_partial_too(name, use, wrap):
    homes = (fnn, fnn.data, fnn.optim, fnn.schedules, fnn.callbacks, fnn.tasks)
    make = next(getattr(home, name) for home in homes if hasattr(home, name))
    with pytest.raises(TypeError, match=rf"(write|call it,) (fnn\.tasks\.)?{name}\((…|\.\.\.)\)"):
        use(wrap(make))


@pytest.mark.parametrize("scaler", [fnn.data.standard_scaler, functools.partial(fnn.data.min_max_scaler)])
def test_what_is_no_scaler_is_named(scaler):
    with pytest.raises(TypeError, match=r"expected scaler to be a scaler, .*write fnn\.data\.standard_scaler\(\)"):
        train(*PLAIN, fnn.selection.cross_validate, scaler=scaler)


def test_keys_that_read_alike_are_to_be_renamed():
    with pytest.raises(TypeError, match="got 1 and '1' in one dict; rename one of them"):
        train(fnn.dense(1), ({1: ROWS, "1": ROWS}, ROWS))
