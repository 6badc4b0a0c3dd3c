"""Cross-validation: every member is the run it would be alone, however the members are cut up."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
S = fnn.selection
TASK = fnn.tasks.multiclass(2)
MODEL = fnn.dense(2)
RATES = [0.003, 0.03, 0.1]


def data(rows=31):
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    return (rng.normal(size=(rows, 3)) + y[:, None]).astype(np.float32), y


def validate(x, y, model=MODEL, optimizer=fnn.optim.sgd, **options):
    options = {"epochs": 3, "batch_size": 8, "folds": S.k_fold(len(x), 3, seed=0), "progress": False} | options
    return S.cross_validate(model, optimizer, TASK, (x, y), key=KEY, over={"learning_rate": RATES}, **options)


@pytest.mark.thorough
def test_every_member_is_its_solo_run():
    x, y = data()
    folds = S.k_fold(31, 3, seed=0)
    model = fnn.models.mlp((4,), 2)
    found = validate(x, y, model, fnn.optim.adam, seeds=2)
    assert found.scores["accuracy"].shape == (3, 3, 2)
    for setting, fold, seed in ((2, 1, 1), (1, 2, 0)):
        run = fnn.trainer(model, fnn.optim.adam(RATES[setting]), TASK, epochs=3, batch_size=8)
        train, valid = (side[fold][side[fold] >= 0] for side in folds)
        trained, history = run(jax.random.split(KEY, 2)[seed], (x, y), train, validation=valid)
        np.testing.assert_allclose(
            found.curves["validation_loss"][setting, fold, seed], history["validation_loss"], rtol=1e-4
        )
        alone = fnn.predict(model, trained, x[valid])
        np.testing.assert_allclose(found.outputs[setting, seed, valid], alone, rtol=1e-3, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.devices(1, 2)
@pytest.mark.parametrize("how", [{"chunk": 4}, {"chunk": 1}, {"together": False}, {"mesh": "one device"}])
def test_chunks_devices_and_form_change_nothing(how):
    x, y = data()
    if "mesh" in how:
        how = {"mesh": fnn.devices.data_mesh(jax.devices()[:1])}
    whole, parts = validate(x, y), validate(x, y, **how)  # by default over all devices
    np.testing.assert_allclose(whole.scores["loss"], parts.scores["loss"], rtol=1e-4)
    np.testing.assert_allclose(whole.outputs, parts.outputs, rtol=1e-3, atol=1e-5)
    assert parts.finished.all()


def test_scaler_is_fitted_on_training_rows_only():
    """A leaking scaler would see the validation rows: it is watched, and the result is that of scaling by hand."""
    x, y = data()
    folds = S.k_fold(31, 3, seed=0)
    scaler = fnn.data.standard_scaler()
    found = validate(x * 100 + 7, y, scaler=scaler, folds=folds)
    train, valid = (side[1][side[1] >= 0] for side in folds)
    scaled = scaler.transform(scaler.fit((x * 100 + 7)[train]), x * 100 + 7)
    run = fnn.trainer(MODEL, fnn.optim.sgd(RATES[1]), TASK, epochs=3, batch_size=8)
    _, history = run(jax.random.split(KEY, 1)[0], (scaled, y), train, validation=valid)
    np.testing.assert_allclose(found.curves["validation_loss"][1, 1, 0], history["validation_loss"], rtol=1e-3)


@pytest.mark.thorough
def test_sequences_are_scaled_by_the_steps_of_the_training_rows():
    x, y = data()
    steps, lengths = np.stack([x, x[::-1]], 1) * 100 + 7, np.arange(31) % 2 + 1
    folds, scaler = S.k_fold(31, 3, seed=0), fnn.data.standard_scaler()
    model = fnn.serial(fnn.rnn(3), fnn.dense(2))
    how = dict(key=KEY, epochs=2, batch_size=None, progress=False)
    padded = fnn.Padded(steps, lengths)
    found = S.cross_validate(model, fnn.optim.sgd(0.1), TASK, (padded, y), folds=folds, scaler=scaler, **how)
    train, valid = (side[1][side[1] >= 0] for side in folds)
    scaled = scaler.transform(scaler.fit(padded, rows=train), padded)
    run = fnn.trainer(model, fnn.optim.sgd(0.1), TASK, epochs=2, batch_size=None)
    _, history = run(jax.random.split(KEY, 1)[0], (scaled, y), train, validation=valid)
    np.testing.assert_allclose(found.curves["validation_loss"][0, 1, 0], history["validation_loss"], rtol=1e-3)


def test_the_scaler_learns_nothing_from_rows_of_weight_0():
    x, y = data()
    weights = np.ones(31)
    weights[5] = 0
    far = x.copy()
    far[5] = 1e4
    kept = np.delete(np.arange(31), 5)
    one, other = (
        S.cross_validate(MODEL, fnn.optim.sgd(0.1), TASK, (given, y, weights), key=KEY, epochs=2, batch_size=None,
                         folds=S.k_fold(31, 3, seed=0), scaler=fnn.data.standard_scaler(), progress=False)
        for given in (x, far)
    )  # fmt: skip
    np.testing.assert_array_equal(one.outputs[0, 0, kept], other.outputs[0, 0, kept])


def test_every_row_is_predicted_by_a_model_that_did_not_see_it():
    x, y = data()
    found = validate(x, y, folds=S.leave_one_out(31), epochs=1)
    assert found.outputs.shape == (3, 1, 31, 2)
    assert np.isfinite(found.outputs).all()
    held = S.hold_out(31, 0.2)
    part = validate(x, y, folds=held, epochs=1).outputs
    np.testing.assert_array_equal(np.isfinite(part[0, 0, :, 0]), np.isin(np.arange(31), held.valid[0]))


@pytest.mark.thorough
def test_early_stopping_members_stop_on_their_own():
    x, y = data()
    rule = fnn.early_stopping("validation_loss", patience=1)
    found = validate(x, y, early_stopping=rule, epochs=12)
    run = fnn.trainer(MODEL, fnn.optim.sgd(RATES[2]), TASK, epochs=12, batch_size=8, early_stopping=rule)
    train, valid = (side[0][side[0] >= 0] for side in S.k_fold(31, 3, seed=0))
    _, history = run(jax.random.split(KEY, 1)[0], (x, y), train, validation=valid)
    best = int(history["best_epoch"])
    np.testing.assert_allclose(found.scores["loss"][2, 0, 0], history["validation_loss"][best], rtol=1e-4)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:cross_validate. odd is not defined")
def test_a_run_without_a_best_epoch_is_scored_where_its_network_is_from_at_its_end():
    odd = lambda outputs, targets, weights=None: jnp.float32(jnp.nan)  # noqa: E731
    rule = fnn.early_stopping("validation_odd", patience=2, mode="max")
    x, y = data()
    with pytest.warns(RuntimeWarning, match="watched validation_odd of 3 of 3 runs, which was nan in epoch 1"):
        found = S.cross_validate(MODEL, fnn.optim.sgd(0.1), TASK._replace(metrics={"odd": odd}), (x, y), key=KEY,
                                 folds=3, epochs=4, batch_size=8, early_stopping=rule, progress=False)  # fmt: skip
    assert (found.epochs == 2).all()
    np.testing.assert_array_equal(found.scores["loss"], found.curves["validation_loss"][..., 1])


def test_every_setting_is_looked_at_and_not_the_first_alone():
    with pytest.raises(ValueError, match=r"expected learning_rate in \[0, inf\), got -0.5"):
        S.cross_validate(MODEL, fnn.optim.sgd, TASK, data(), key=KEY, epochs=1, over={"learning_rate": [0.1, -0.5]})


@pytest.mark.thorough
def test_a_member_that_diverges_leaves_the_others_unharmed():
    x, y = data()
    given = (fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, y.astype(np.float32)))
    options = dict(key=KEY, folds=3, epochs=3, batch_size=8, progress=False)
    with pytest.warns(RuntimeWarning, match=r"3 of 6 runs diverged.*1e\+30.*fold 0, seed 0"):
        found = S.cross_validate(*given, over={"learning_rate": [0.01, 1e30]}, **options)
    assert found.diverged[1].all()
    assert not found.diverged[0].any()
    assert np.isnan(found.scores["mse"][1]).all()
    assert np.isnan(found.outputs[1]).all()
    assert np.isfinite(found.outputs[0]).all()
    with pytest.warns(RuntimeWarning, match="3 of 3"):
        lost = S.cross_validate(*given, over={"learning_rate": [1e30]}, **options)
    with pytest.raises(ValueError, match="no setting has a finite mse"):
        lost.best("mse", "min")
    assert np.isfinite(found.scores["mse"][0]).all()
    alone = S.cross_validate(*given, over={"learning_rate": [0.01]}, **options)
    np.testing.assert_allclose(found.scores["mse"][0], alone.scores["mse"][0], rtol=1e-5)


def test_table_mean_and_best():
    x, y = data()
    found = validate(x, y)
    lines = str(found).splitlines()
    assert len(lines) == 4
    assert "learning_rate" in lines[0]
    scores = found.scores["accuracy"].mean(axis=2)
    np.testing.assert_allclose(found.mean("accuracy"), scores.mean(axis=1))
    np.testing.assert_allclose(found.standard_error("accuracy"), scores.std(axis=1, ddof=1) / np.sqrt(3))
    assert found.best("accuracy") == found.settings[int(scores.mean(axis=1).argmax())]
    for called in (found.mean, found.standard_error, found.best):
        with pytest.raises(ValueError, match=rf"^{called.__name__}: expected metric to be one of .*, got 'f2'"):
            called("f2")


@pytest.mark.thorough
def test_scikit_learn_splitters_and_models_of_settings():
    model_selection = pytest.importorskip("sklearn.model_selection")
    x, y = data()
    found = S.cross_validate(
        lambda rate: fnn.serial(fnn.dropout(rate), MODEL),
        fnn.optim.sgd(0.1),
        TASK,
        (x, y),
        key=KEY,
        folds=model_selection.StratifiedKFold(3),
        over={"rate": [0.0, 0.5]},
        epochs=2,
        batch_size=8,
        progress=False,
    )
    assert found.scores["accuracy"].shape == (2, 3, 1)
    groups = np.arange(31) // 4
    grouped = validate(x, y, folds=model_selection.GroupKFold(3), groups=groups, epochs=1)
    assert np.isfinite(grouped.outputs).all()


class OfOtherData:
    """A splitter that does not look at the data it is given, as scikit-learn's `PredefinedSplit`."""

    def split(self, X, y=None, groups=None):
        yield np.arange(20, 40), np.arange(20)
        yield np.arange(20), np.arange(20, 31)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": S.Folds(np.zeros((2, 0), int), np.zeros((2, 3), int))}, r"\(folds, slots\), got int64\[2,0\] and"),
        ({"folds": S.Folds(np.zeros((2, 3)), np.zeros((2, 3), int))}, "got float64.* and .*write fnn.selection.using"),
        ({"folds": S.Folds(np.zeros((2, 3), int), np.zeros((1, 3), int))}, r"got int64\[2,3\] and int64\[1,3\]"),
        ({"folds": S.Folds([[0, 1], [2]], [[2], [0]])}, "cross_validate: expected folds.train to be one array"),
        ({"folds": S.Folds(np.array([[0, 2**64 - 1]], np.uint64), [[1]])}, "name row 18446744073709551615 of 31 rows"),
        ({"folds": 40}, "fewer than 40 folds|at most"),
        ({"folds": S.k_fold(99, 3)}, "name row 98 of 31"),
        ({"folds": S.group_k_fold(np.arange(20) % 4, 2)}, "11 of 31 rows stand in no fold, row 20 first"),
        ({"folds": OfOtherData()}, "cross_validate: the folds name row 39 of 31"),
        ({"batch_size": 0}, "cross_validate: expected batch_size >= 1"),
        (
            {"groups": np.arange(31) % 4},
            "cross_validate: fold 0 trains on rows of group 2, and validates on row 2 of it",
        ),
        ({"groups": np.arange(20) % 4}, r"cross_validate: expected groups of shape \(31,\), got \(20,\)"),
        ({"groups": "nonsense", "folds": 3}, r"cross_validate: expected groups of shape \(31,\)"),
        ({"groups": np.arange(31) % 4, "folds": 5}, "at most 4 folds, the number of groups"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ValueError, match=message):
        validate(*data(), **options)


def test_pairs_of_row_numbers_are_told_what_makes_folds_of_them():
    with pytest.raises(TypeError, match=r"cross_validate: expected folds to be .*write fnn.selection.using"):
        validate(*data(), folds=[(np.arange(20), np.arange(20, 31))])


def test_folds_of_lists_are_those_of_arrays():
    """Any negative number is an empty slot."""
    first, *others = (
        validate(*data(), folds=S.Folds(train, np.arange(20, 31)[None]), epochs=1).scores["loss"]
        for train in (np.append(np.arange(20), -1)[None], [[*range(20), -7]], np.arange(20, dtype=np.uint8)[None])
    )
    for found in others:
        np.testing.assert_array_equal(found, first)


VERBS = {
    "fit": lambda key, data: fnn.fit(*DENSE, data, key=key, epochs=1),
    "cross_validate": lambda key, data: S.cross_validate(*DENSE, data, key=key, epochs=1),
    "ensemble": lambda key, data: S.ensemble(*DENSE, data, key=key, epochs=1),
    "rate_range": lambda key, data: S.rate_range(DENSE[0], fnn.optim.sgd, DENSE[2], data, key=key),
    "snapshots": lambda key, data: S.snapshots(
        DENSE[0], fnn.optim.sgd, DENSE[2], data, key=key, epochs=1, learning_rate=0.1
    ),
}
DENSE = fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression()


@pytest.mark.parametrize("verb", VERBS)
def test_what_looks_at_numbers_says_that_it_cannot_be_traced(verb):
    """It was an error of JAX's, after the training was traced."""
    x, y = np.ones((6, 1), np.float32), np.arange(6, dtype=np.float32)
    for traced in (
        lambda: jax.vmap(lambda key: VERBS[verb](key, (x, y)))(jax.random.split(KEY, 2)),
        lambda: jax.jit(lambda: VERBS[verb](KEY, (x, y)))(),
        lambda: jax.grad(lambda x: VERBS[verb](KEY, (x, y)))(jnp.asarray(x)),
    ):
        with pytest.raises(TypeError, match=f"{verb}: it looks at .* cannot inside jit, vmap or grad"):
            traced()


@pytest.mark.parametrize("verb", [S.cross_validate, S.sweep, S.learning_curve])
@pytest.mark.parametrize(("side", "fold", "name"), [(0, 0, "training"), (1, 2, "validation")])
def test_a_fold_without_a_row_that_counts_is_refused(verb, side, fold, name):
    x, y = data()
    folds = S.time_series(31, 3)
    weights, rows = np.ones(31), folds[side][fold]
    weights[rows[rows >= 0]] = 0
    given = {S.sweep: {"over": {"learning_rate": RATES}}, S.learning_curve: {"sizes": [1.0]}}.get(verb, {})
    with pytest.raises(ValueError, match=f"every weight of the {name} rows of fold {fold} is 0, so no row counts"):
        verb(MODEL, lambda learning_rate=0.1: fnn.optim.sgd(learning_rate), TASK, (x, y, weights), key=KEY,
             folds=folds, epochs=1, progress=False, **given)  # fmt: skip
    one = np.r_[1, 0, np.ones(29)]
    with pytest.raises(ValueError, match="every weight of the validation rows of fold 1 is 0"):
        verb(MODEL, lambda learning_rate=0.1: fnn.optim.sgd(learning_rate), TASK, (x, y, one), key=KEY,
             folds=S.leave_one_out(31), epochs=1, progress=False, **given)  # fmt: skip


def test_a_number_of_folds_keeps_groups_together():
    x, y = data()
    groups = np.arange(31) // 4
    found = validate(x, y, folds=3, groups=groups, epochs=1)
    same = validate(x, y, folds=S.group_k_fold(groups, 3), groups=groups, epochs=1)
    np.testing.assert_array_equal(found.outputs, same.outputs)


def test_a_setting_nobody_takes_is_named():
    x, y = data()
    with pytest.raises(ValueError, match="neither model nor optimizer takes 'width'"):
        S.cross_validate(MODEL, fnn.optim.adam(0.1), TASK, (x, y), key=KEY, over={"width": [1]}, epochs=1)


@pytest.mark.thorough
def test_a_class_without_training_rows_is_said():
    x, y = data(30)
    y = np.sort(y)
    with pytest.warns(UserWarning, match="fold 0 has no training row of class"):
        validate(x, jnp.asarray(y), folds=S.k_fold(30, 2), epochs=1)


def test_only_new_objects_compile(compilations):
    """Other values, rates, folds and keys are arguments of the same program."""
    x, y = data()
    model = fnn.dense(2)

    def programs(x, y, key, rates, folds):
        before = compilations()
        S.cross_validate(
            model, fnn.optim.sgd, TASK, (x, y), key=key, folds=folds, over={"learning_rate": rates}, epochs=2,
            batch_size=8, progress=False,
        )  # fmt: skip
        return compilations() - before

    assert programs(x, y, KEY, [0.1, 0.2], S.k_fold(31, 3, seed=0)) > 0
    # A bound on what runs outside the program: eager operations on shapes that were seen are not compiled again.
    assert programs(x + 1, 1 - y, jax.random.key(5), [0.3, 0.4], S.k_fold(31, 3, seed=9)) == 0


@pytest.mark.thorough
def test_balanced_class_weights_are_those_of_the_training_rows():
    x, y = data()
    y = (np.arange(31) % 5 == 0).astype(np.int32)
    folds = S.stratified_k_fold(y, 3, seed=0)
    found = validate(x, y, folds=folds, class_weight="balanced", scaler=None)
    train, valid = (side[1][side[1] >= 0] for side in folds)
    counts = np.bincount(y[train])
    weights = (len(train) / (2 * counts))[y].astype(np.float32)
    run = fnn.trainer(MODEL, fnn.optim.sgd(RATES[0]), TASK, epochs=3, batch_size=8)
    _, history = run(jax.random.split(KEY, 1)[0], (x, y, weights), train, validation=(x[valid], y[valid]))
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(found.curves[name][0, 1, 0], history[name], rtol=1e-4)
    with pytest.raises(ValueError, match="class_weight"):
        validate(x, y, class_weight="even")
    with pytest.raises(ValueError, match="class_weight needs class numbers"):
        S.cross_validate(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, x[:, 0]), key=KEY, epochs=1,
            batch_size=8, class_weight="balanced",
        )  # fmt: skip


@pytest.mark.thorough
def test_augmentation_reaches_the_members():
    x, y = data()
    plain, noisy = (validate(x, y, augment=a) for a in (None, fnn.data.gaussian_noise(1.0)))
    assert np.abs(plain.scores["loss"] - noisy.scores["loss"]).max() > 1e-4


def test_leave_one_out_scores_what_one_row_cannot_over_all_rows_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 2)).astype(np.float32)
    y = (x @ [2.0, -1.0] + 0.1 * rng.normal(size=12)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="cross_validate: r2 is not defined on the one row that fold 0"):
        found = S.cross_validate(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, y), key=KEY, folds=S.leave_one_out(12),
            epochs=30, batch_size=None, progress=False,
        )  # fmt: skip
    assert found.pooled == ("r2",)
    outputs = found.outputs[0, 0, :, 0]
    expected = 1 - ((outputs - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert expected > 0.9
    np.testing.assert_allclose(found.mean("r2"), expected, rtol=1e-5)
    assert np.isnan(found.standard_error("r2")).all()
    head, line = str(found).splitlines()
    assert "r2 (pooled)" in head
    assert f"  {expected:.4f}  " in line
    assert "mse (± s.e.)" in head


@pytest.mark.thorough
def test_a_fold_of_which_no_target_counts_is_warned_of():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3, 1)).astype(np.float32)
    halves = S.Folds(np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)[::-1])
    with pytest.warns(UserWarning, match="cross_validate: no target counted in any epoch of 1 of 2 runs"):
        found = S.cross_validate(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (fnn.Padded(x, np.array([0, 0, 0, 3, 2, 3])), y),
            key=KEY, folds=halves, epochs=2, batch_size=None, progress=False,
        )  # fmt: skip
    for scores in found.scores.values():  # the second fold validates on what does not count
        assert np.isnan(scores).ravel().tolist() == [False, True]


@pytest.mark.parametrize("verb", [S.cross_validate, S.sweep, S.learning_curve])
@pytest.mark.parametrize("weights", [(), ([1.0, 0.0, 1.0, 1.0, 1.0, 1.0],)])
def test_a_fold_without_a_step_to_fit_the_scaler_on_is_named(verb, weights):
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3, 1)).astype(np.float32)
    halves = S.Folds(np.arange(6).reshape(2, 3)[::-1], np.arange(6).reshape(2, 3))
    padded = fnn.Padded(x, np.array([0, 2 if weights else 0, 0, 3, 2, 3]))
    how = {"sizes": [1, 3], "seed": None} if verb is S.learning_curve else {}
    how |= {"over": {"learning_rate": [0.1]}} if verb is S.sweep else {}
    with pytest.raises(ValueError, match=rf"{verb.__name__}: the scaler has nothing .* in fold 1: every"):
        verb(
            fnn.dense(1), fnn.optim.sgd if verb is S.sweep else fnn.optim.sgd(0.1), fnn.tasks.regression(),
            (padded, y, *weights), key=KEY, folds=halves, epochs=1, scaler=fnn.data.min_max_scaler(), **how,
        )  # fmt: skip


@pytest.mark.thorough
def test_what_one_step_cannot_score_is_scored_over_all_steps_of_padded_outputs():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3, 1)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="r2 is not defined on the one row"):
        found = S.cross_validate(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (fnn.Padded(x, np.ones(6, int)), y), key=KEY,
            folds=S.leave_one_out(6), epochs=1, batch_size=None, progress=False,
        )  # fmt: skip
    expected = fnn.metrics.r2_score(found.outputs.values[0, 0, :, 0].astype(np.float32), y[:, 0])
    np.testing.assert_allclose(found.mean("r2"), expected, rtol=1e-5)


def test_a_fold_that_validates_on_no_row_is_not_said_to_have_weights():
    x, y = np.random.default_rng(0).normal(size=(2, 4, 1)).astype(np.float32)
    folds = S.Folds(np.array([[0, 1], [2, 3]]), np.array([[2, 3], [-1, -1]]))
    found = S.cross_validate(
        fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, y), key=KEY, folds=folds, epochs=1
    )
    assert np.isfinite(found.scores["loss"]).ravel().tolist() == [True, False]


@pytest.mark.thorough
def test_the_lengths_of_outputs_are_integers_and_0_where_no_network_speaks():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3, 1)).astype(np.float32)
    lengths = np.array([0, 1, 3, 3, 2, 3])
    twice = S.repeated([S.k_fold(6, 2, seed=seed) for seed in range(2)])
    once = S.Folds(np.array([[0, 1, 2, 3]]), np.array([[4, 5]]))
    for folds, expected in ((twice, lengths), (once, [0, 0, 0, 0, 2, 3])):
        found = S.cross_validate(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (fnn.Padded(x, lengths), y), key=KEY,
            folds=folds, epochs=1, batch_size=None, progress=False,
        )  # fmt: skip
        assert np.issubdtype(found.outputs.lengths.dtype, np.integer)
        np.testing.assert_array_equal(found.outputs.lengths[0, 0], expected)


@pytest.mark.thorough
def test_a_learning_curve_scores_what_one_row_cannot_over_all_rows_of_a_size():
    x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    given = (fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, 3 * x[:, 0]))
    options = {"key": KEY, "epochs": 4, "batch_size": None, "progress": False}
    with pytest.warns(RuntimeWarning, match="learning_curve: r2 is not defined on the one row"):
        curve = S.learning_curve(*given, folds=S.leave_one_out(8), sizes=[2, 7], seed=None, **options)
    with pytest.warns(RuntimeWarning, match="cross_validate: r2"):
        whole = S.cross_validate(*given, folds=S.leave_one_out(8), **options)
    assert len(np.unique(curve.scores["r2"])) == 2
    np.testing.assert_allclose(curve.scores["r2"][1, 0], whole.mean("r2"), rtol=1e-5)


@pytest.mark.parametrize("verb", [S.sweep, S.learning_curve])
def test_every_verb_takes_the_same_options(verb):
    own, shared = (inspect.signature(function).parameters for function in (verb, S.cross_validate))
    assert not set(shared) - set(own) - {"over"}
    assert all(option.kind is not option.VAR_KEYWORD for option in own.values())
    for name in set(shared) & set(own) - {"over"}:
        assert (own[name].annotation, own[name].default) == (shared[name].annotation, shared[name].default), name


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["grid", "halving"])
def test_a_sweep_takes_the_same_options_however_it_searches(how):
    x, y = data(12)
    given = (fnn.dense(2), fnn.optim.sgd, TASK, (x, y))
    options = {"key": KEY, "over": {"learning_rate": [0.1, 0.2]}, "epochs": 2, "how": how, "folds": 2}
    assert S.sweep(*given, batch_size=4, shuffle=False, factor=2, progress=False, **options).scores["loss"].size == 4
    with pytest.raises(TypeError, match=r"sweep\(\) got an unexpected keyword argument 'epoch'"):
        S.sweep(*given, epoch=3, **options)


def test_a_setting_that_decides_a_shape_is_named():
    x, y = data(12)
    with pytest.raises(TypeError) as raised:
        S.sweep(
            lambda width: fnn.serial(fnn.dense(width), fnn.dense(2)), fnn.optim.sgd(0.1), TASK, (x, y), key=KEY,
            over={"width": [8, 16]}, epochs=1, folds=2, progress=False,
        )  # fmt: skip
    assert "sweep: the values of 'width' are arguments of one program" in raised.value.__notes__[0]
