"""What a run trains on and what it is judged by: no row stands on both sides, and nothing counts for nothing unsaid."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.train.inputs import check_run, shares

KEY = jax.random.key(0)
ROWS = 12
TASK = fnn.tasks.regression()
MODEL = fnn.dense(1, use_bias=False, kernel_init=fnn.initializers.zeros)
X = np.eye(ROWS, dtype=np.float32)
Y = np.ones(ROWS, np.float32)


def by_trainer(data=(X, Y), *, rows=None, epochs=1, batch_size=4, model=MODEL, task=TASK, key=KEY, **options):
    given = {name: options.pop(name) for name in ("validation",) if name in options}
    run = fnn.trainer(model, fnn.optim.sgd(1.0), task, epochs=epochs, batch_size=batch_size, **options)
    return run(key, data, rows, **given)


def by_fit(data=(X, Y), *, epochs=1, batch_size=4, model=MODEL, task=TASK, key=KEY, **options):
    return fnn.fit(
        model, fnn.optim.sgd(1.0), task, data, key=key, epochs=epochs, batch_size=batch_size, progress=False, **options
    )


BOTH = pytest.mark.parametrize("train", [by_trainer, by_fit])


def trained_on(trained):
    """One input per row: the weights that moved belong to the rows that were trained on."""
    return np.flatnonzero(np.asarray(trained.params["kernel"])[:, 0]).tolist()


@BOTH
@pytest.mark.parametrize("held", [np.array([3, 7]), [3, 7], (3, 7), range(3, 8, 4), np.array([3, 7, -1]), [3, 7, 3]])
def test_rows_given_as_validation_are_not_trained_on(train, held):
    trained, history = train(validation=held)
    assert trained_on(trained) == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert len(history["validation_loss"]) == 1


@BOTH
def test_only_the_given_rows_are_trained_on(train):
    assert trained_on(train(rows=[5, 2, 9])[0]) == [2, 5, 9]
    assert trained_on(train(rows=[5, 2, 9], validation=[1, 3])[0]) == [2, 5, 9]


def test_fit_and_trainer_agree_on_rows():
    options = dict(rows=[0, 1, 2, 3, 4, 5, 6], validation=[8, 9, 10], epochs=3, batch_size=3)
    model = fnn.serial(fnn.dense(4), fnn.tanh, fnn.dense(1))
    trained, history = by_trainer(model=model, **options)
    same, rows = by_fit(model=model, **options)
    jax.tree.map(np.testing.assert_array_equal, trained, same)
    np.testing.assert_array_equal(history["validation_loss"], rows["validation_loss"])


@BOTH
def test_coin_flips_are_not_known_beforehand(train):
    flips = np.random.default_rng(0).integers(0, 2, 60)
    _, history = train(
        (np.eye(60, dtype=np.float32), flips), epochs=30, model=fnn.dense(2), validation=np.arange(40, 60),
        task=fnn.tasks.multiclass(2),
    )  # fmt: skip
    assert history["validation_accuracy"][-1] < 0.9


@BOTH
def test_rows_on_both_sides_are_named(train):
    with pytest.raises(ValueError, match=r"rows \[4, 5\], 2 in all, are to be trained on and validated on"):
        train(rows=np.arange(6), validation=[4, 5, 6])
    with pytest.raises(ValueError, match="holds out all 12 rows"):
        train(validation=np.arange(12))


def test_traced_rows_that_validate_are_not_trained_on_either():
    run = fnn.trainer(MODEL, fnn.optim.sgd(1.0), TASK, epochs=1, batch_size=4)
    held = jnp.array([[0, 1], [4, 5]])
    trained, _ = jax.vmap(lambda valid: run(KEY, (X, Y), validation=valid))(held)
    rows = jnp.array([[0, 1, 2, -1], [3, 4, 5, 6]])
    some, _ = jax.jit(jax.vmap(lambda rows, valid: run(KEY, (X, Y), rows, validation=valid)))(rows, held)
    kernels, few = np.asarray(trained.params["kernel"]), np.asarray(some.params["kernel"])
    assert [np.flatnonzero(k[:, 0]).tolist() for k in kernels] == [[*range(2, 12)], [0, 1, 2, 3, *range(6, 12)]]
    assert [np.flatnonzero(k[:, 0]).tolist() for k in few] == [[2], [3, 6]]


def held_by(validation, targets, key=KEY, rows=None, task=TASK):
    data = (np.zeros((len(targets), 1), np.float32), targets)
    inputs = check_run("fit", task, data, rows, validation, key)
    return np.asarray(inputs.rows), np.asarray(inputs.validation_rows)


def test_a_fraction_holds_out_rows_by_the_key():
    train, valid = held_by(0.25, Y)
    assert len(valid) == 3
    assert sorted([*train, *valid]) == list(range(ROWS))
    assert held_by(0.25, Y)[1].tolist() == valid.tolist()
    others = {tuple(held_by(0.25, Y, jax.random.key(seed))[1].tolist()) for seed in range(8)}
    assert len(others) > 4
    train, valid = held_by(0.5, Y, rows=[2, 3, 5, 7, -1])
    assert sorted([*train, *valid]) == [2, 3, 5, 7]


@pytest.mark.parametrize("column", [False, True])
def test_a_fraction_of_classes_has_each_class_in_its_share_and_leaves_some_of_each_to_train_on(column):
    targets = np.repeat([0, 1, 2], [20, 9, 1])
    task = fnn.tasks.Task(None, None, jnp.asarray, {}, None, "own") if column else fnn.tasks.multiclass(3)
    given = targets[:, None] if column else targets
    for seed in range(3):
        train, valid = held_by(0.2, given, jax.random.key(seed), task=task)
        assert np.bincount(targets[valid], minlength=3).tolist() == [4, 2, 0]
        assert sorted([*train, *valid]) == list(range(30))


@BOTH
def test_a_fraction_trains_without_the_rows_that_it_validates_on(train):
    trained, history = train(validation=0.25)
    _, valid = held_by(0.25, Y)
    assert trained_on(trained) == sorted(set(range(ROWS)) - set(valid.tolist()))
    assert len(history["validation_loss"]) == 1


def test_seeds_under_vmap_draw_the_fractions_that_they_draw_alone():
    keys = jax.random.split(KEY, 2)
    targets = np.arange(ROWS) % 2
    run = fnn.trainer(fnn.dense(2), fnn.optim.sgd(1.0), fnn.tasks.multiclass(2), epochs=1, batch_size=4)
    together, _ = jax.vmap(lambda key: run(key, (X, targets), validation=0.25))(keys)
    for place, key in enumerate(keys):
        alone, _ = run(key, (X, targets), validation=0.25)
        np.testing.assert_allclose(together.params["kernel"][place], alone.params["kernel"], rtol=1e-5, atol=1e-6)


def test_inside_jit_known_rows_are_checked_and_known_classes_split():
    run = fnn.trainer(fnn.dense(2), fnn.optim.sgd(1.0), fnn.tasks.multiclass(2), epochs=1, batch_size=4)
    data = (X, np.arange(ROWS) % 2)
    for validation in (0.25, [3, 4]):
        inside, _ = jax.jit(lambda key, validation=validation: run(key, data, validation=validation))(KEY)
        outside, _ = run(KEY, data, validation=validation)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), inside, outside)
    with pytest.raises(ValueError, match="are to be trained on and validated on"):
        jax.jit(lambda key: run(key, data, [0, 1, 2], validation=[2, 4]))(KEY)


@pytest.mark.parametrize(
    ("validation", "rows", "message"),
    [
        (1.0, None, r"fraction validation in \(0, 1\), got 1.0"),
        (0, None, "row numbers, or a fraction of the rows between 0 and 1, got int 0"),
        (True, None, "or a fraction"),
        ("0.2", None, "to be a number"),
        (0.2, [1], "at least 2 rows"),
        (0.2, [1, 1, 2], "row 1 stands more than once"),
        ([], None, "validation: expected at least one row number, got none$"),
        (None, np.array([], int), "expected at least one row number, got none$"),
        ([True, False], None, "flatnonzero"),
        ([12], None, "below 12, got 12"),
        (np.array([2**32 + 5]), None, "below 12, got 4294967301"),
        (np.array([-1]), None, "validation: expected at least one row"),
        (None, [-1, -1], "expected at least one row, got 2 negative numbers"),
    ],
)
@BOTH
def test_what_cannot_be_validated_on_is_said(train, validation, rows, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train(rows=rows, validation=validation)


@BOTH
@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (np.zeros(ROWS), {}, "every weight is 0"),
        (np.full(ROWS, 1e-40), {}, "got 1e-40 at row 0; only their ratios count"),
        (np.full(ROWS, 1e30), {}, r"got 1e\+30 at row 0; only their ratios count"),
        (np.where(np.arange(ROWS) == 3, np.nan, 1), {}, "got nan at row 3"),
        (np.where(np.arange(ROWS) == 3, np.inf, 1), {}, "got inf at row 3"),
        (np.where(np.arange(ROWS) == 3, -1, 1), {}, "weights >= 0, got -1 at row 3"),
        (np.arange(ROWS) < 3, {"rows": [4, 5]}, "training rows: the weight of every one of them is 0, that of row 4"),
        (
            np.arange(ROWS) > 3,
            {"validation": [0, 1]},
            "validation rows: the weight of every one of them is 0, that of row 0",
        ),
        (np.array(["1"] * ROWS), {}, "expected numeric weights"),
    ],
)
def test_weights_by_which_nothing_is_learned_are_an_error(train, weights, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train((X, Y, weights), **options)
    if not options:
        with pytest.raises((ValueError, TypeError), match=f"validation: .*{message}"):
            train(validation=(X, Y, weights))


def test_estimators_refuse_weights_that_float32_loses():
    pytest.importorskip("sklearn")
    from fnn.estimators import Regressor

    with pytest.raises(ValueError, match="only their ratios count"):
        Regressor(epochs=1).fit(X, Y, sample_weight=np.full(ROWS, 1e-30))


def test_scores_of_rows_that_do_not_count_are_an_error():
    trained = fnn.Trained(*MODEL.init(KEY, X))
    with pytest.raises(ValueError, match="evaluate, rows: the weight of every one of them is 0, that of row 1"):
        fnn.evaluate(MODEL, trained, (X, Y, np.arange(ROWS) > 5), TASK, rows=[1, 2])
    with pytest.raises(ValueError, match="evaluate: expected at least one row, got 1 negative"):
        fnn.evaluate(MODEL, trained, (X, Y), TASK, rows=[-1])


def test_traced_weights_that_count_no_row_or_are_nan_are_seen_in_the_history():
    run = fnn.trainer(MODEL, fnn.optim.sgd(0.1), TASK, epochs=2, batch_size=4)
    weights = jnp.stack([jnp.ones(ROWS), jnp.zeros(ROWS), jnp.ones(ROWS).at[2].set(jnp.nan), -jnp.ones(ROWS)])
    _, history = jax.vmap(lambda w: run(KEY, (X, Y, w)))(weights)
    assert np.isfinite(history["loss"]).all(axis=1).tolist() == [True, False, False, False]
    assert (np.asarray(history["diverged_at"]) >= 0).tolist() == [False, False, True, True]


@BOTH
def test_early_stopping_that_never_saw_a_number_returns_the_last_parameters_and_says_so(train):
    task = TASK._replace(metrics={"odd": lambda outputs, targets, weights=None: jnp.float32(jnp.nan)})
    rule = fnn.early_stopping("validation_odd", patience=2, mode="max")
    with pytest.warns(RuntimeWarning, match="watched validation_odd, which was nan in epoch 1") as seen:
        trained, history = train(task=task, validation=[0, 1], early_stopping=rule, epochs=5)
    assert seen[0].filename == __file__
    assert int(history["best_epoch"]) == -1
    assert int(history["epochs"]) == 2
    assert trained_on(trained) == list(range(2, ROWS))


@BOTH
@pytest.mark.parametrize("training_metrics", [True, False])
def test_a_metric_of_several_numbers_has_no_place_in_a_history(train, training_metrics):
    each = lambda outputs, targets, weights=None: (outputs - targets)[:2, 0]  # noqa: E731
    with pytest.raises(ValueError, match=r"the metric 'each' to be one number, .* got float32\[2\]"):
        train(task=TASK._replace(metrics={"each": each}), validation=[0, 1], training_metrics=training_metrics)


def test_one_class_among_the_rows_is_nothing_to_learn():
    data, rows = (X, np.arange(ROWS) % 3), [0, 3, 6]
    for train in (by_trainer, by_fit):
        with pytest.raises(ValueError, match="every target is class 0"):
            train(data, model=fnn.dense(3), task=fnn.tasks.multiclass(3), rows=rows)


@BOTH
def test_a_batch_larger_than_the_data_is_all_of_the_data(train):
    small, _ = train(batch_size=None)
    large, _ = train(batch_size=100)
    jax.tree.map(np.testing.assert_array_equal, small, large)


@pytest.mark.parametrize("batch_size", [0, -3, 2.5])
def test_a_batch_holds_at_least_one_row_wherever_it_is_asked_for(batch_size):
    given = (MODEL, fnn.optim.sgd(0.1), TASK, (X, Y))
    calls = [
        lambda: by_trainer(batch_size=batch_size),
        lambda: by_fit(batch_size=batch_size),
        lambda: fnn.selection.cross_validate(*given, key=KEY, epochs=1, batch_size=batch_size),
        lambda: fnn.selection.ensemble(*given, key=KEY, epochs=1, batch_size=batch_size),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match="batch_size"):
            call()


def test_shares_are_within_one_row_and_never_all_of_a_class():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(1, 30, rng.integers(1, 8))
        sizes[0] += 1  # of classes that all have one row none can be held out
        count = int(rng.integers(0, sizes.sum()))
        held = shares("fit", sizes, count)
        assert ((held >= 0) & (held < sizes)).all()
        assert (held <= np.ceil(sizes * count / sizes.sum())).all()
        assert held.sum() <= count
        if (sizes >= 2 * sizes.sum() / max(1, sizes.sum() - count)).all():
            assert held.sum() == count


def test_a_class_with_one_row_is_never_held_out_whole():
    classes = [0] * 10 + [1] * 10 + ["rare"]
    for seed in range(6):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            train, valid = fnn.selection.hold_out(21, 0.3, seed=seed, stratify=np.array(classes))
        assert 20 in train[0]
        assert len(valid[0]) >= 6
        assert all("class 'rare' has one row" in str(one.message) for one in seen)
    crowded = np.repeat([0, 1, 2], [5, 5, 40])
    for seed in range(6):
        train, valid = fnn.selection.hold_out(50, 0.9, seed=seed, stratify=crowded)
        assert set(crowded[train[0]]) == {0, 1, 2}


def test_a_fraction_of_classes_of_one_row_is_refused():
    data = (jnp.ones((4, 2)), jnp.arange(4))
    with pytest.raises(ValueError, match="fit: every class has one row, which trains, so none is left to validate on"):
        fnn.fit(
            fnn.dense(4), fnn.optim.sgd(0.1), fnn.tasks.multiclass(4), data, key=jax.random.key(0), epochs=1,
            validation=0.25,
        )  # fmt: skip


@BOTH
def test_tables_to_train_and_to_validate_on_have_their_columns_in_one_order(train):
    frame = pytest.importorskip("pandas").DataFrame(X[:, :3], columns=list("abc"))
    model = fnn.dense(1)
    with pytest.raises(
        ValueError, match="validation: expected column 'a' at place 0, as in the data, got 'c'; write x"
    ):
        train((frame, Y), model=model, validation=(frame[list("cba")], Y))
    several, task = frame.rename(columns=str.upper), fnn.tasks.regression(3)
    with pytest.raises(ValueError, match=r"expected column 'B' at place 1, as in the data, got 'C'; write targets"):
        train((frame, several), model=fnn.dense(3), task=task, validation=(frame, several[list("ACB")]))
    train((frame, Y), model=model, validation=(frame.to_numpy(), Y))


@pytest.mark.parametrize(
    ("data", "validation", "said"),
    [
        ([0, 1], None, "fit, batch 2 of epoch 1: .* as in the first batch, got 'c'; write x"),
        ([0], [1], "fit, validation, batch 1 of epoch 1: .* as in the data, got 'c'; write x"),
        ([0], 1, "fit, batch 1 of epoch 1: expected column 'c' at place 0, as in the validation, got 'a'"),
        (0, [1], "fit, validation, batch 1 of epoch 1: .* as in the data, got 'c'"),
        ([2], [0, 1], "fit, validation, batch 2 of epoch 1: .* as in the first batch, got 'c'"),
    ],
    ids=["batches", "streams", "stream and arrays", "arrays and stream", "stream of arrays"],
)
def test_tables_of_streams_have_their_columns_in_one_order(data, validation, said):
    """They were mixed up."""
    frame = pytest.importorskip("pandas").DataFrame(X[:, :3], columns=list("abc"))
    parts = (frame, Y), (frame[list("cba")], Y), (frame.to_numpy(), Y)
    take = lambda which: [parts[one] for one in which] if isinstance(which, list) else parts[which]  # noqa: E731
    with pytest.raises((ValueError, fnn.StreamError), match=said):
        fnn.fit(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), take(data), key=jax.random.key(0), epochs=1,
            validation=None if validation is None else take(validation), progress=False,
        )  # fmt: skip
