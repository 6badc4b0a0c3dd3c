"""Augmentations against loops over examples and pixels, and their place inside training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.kernels import placement
from fnn.train import console

D = fnn.data
KEY = jax.random.key(3)
N, H, W, C = 6, 7, 5, 2
IMAGES = jnp.arange(1.0, N * H * W * C + 1).reshape(N, H, W, C)
LABELS = jnp.arange(N, dtype=jnp.int32) % 3
PARTS = {
    "random_flip": D.random_flip(),
    "random_crop": D.random_crop(2),
    "random_shift": D.random_shift(1.5),
    "random_rotation": D.random_rotation(20.0),
    "gaussian_noise": D.gaussian_noise(0.1),
    "cutout": D.cutout(3),
    "mixup": D.mixup(classes=3),
    "cutmix": D.cutmix(classes=3),
}
EVERY = {**PARTS, "compose": D.compose(*PARTS.values())}


jitted = functools.cache(jax.jit)


def images(augment, x=IMAGES, key=KEY):
    return np.asarray(jitted(augment)(key, x, LABELS)[0])


@pytest.mark.parametrize("name", ["random_flip", "random_crop", "random_shift", "random_rotation", "cutmix", "compose"])
def test_what_moves_pixels_refuses_targets_of_pixels(name):
    with pytest.raises(ValueError, match=r"belong to the pixels of x \(6, 7, 5, 2\), which move while they stay"):
        EVERY[name](KEY, IMAGES, jnp.zeros((N, H, W), jnp.int32))
    rowwise = jnp.zeros((N, 4))
    assert PARTS["random_flip"](KEY, IMAGES, rowwise)[1] is rowwise


def test_steps_that_are_flipped_refuse_targets_of_steps():
    series, steps = jnp.zeros((N, 5, 2)), jnp.zeros((N, 5))
    for axis in (1, -2):
        with pytest.raises(ValueError, match=r"targets \(6, 5\) belong to the steps of x \(6, 5, 2\), which move"):
            D.random_flip(axis=axis)(KEY, series, steps)
        assert D.random_flip(axis=axis)(KEY, series, LABELS)[1] is LABELS
    with pytest.raises(
        ValueError, match="if they are 5 values of the whole series, write lambda key, x, targets: "
    ) as e:
        D.random_flip(axis=1, rate=1.0)(KEY, series, steps)
    written = str(e.value).rpartition("write ")[2].replace("random_flip(…)", "fnn.data.random_flip(axis=1, rate=1.0)")
    moved, same = eval(written)(KEY, jnp.arange(5.0).reshape(1, 5, 1), steps[:1])
    np.testing.assert_array_equal(moved.ravel(), np.arange(5)[::-1])
    np.testing.assert_array_equal(same, steps[:1])
    assert D.random_flip(axis=2)(KEY, series, steps)[1] is steps


def test_mixed_targets_are_targets_of_the_task():
    _, shares = PARTS["mixup"](KEY, IMAGES, LABELS)
    losses = fnn.tasks.multiclass(3).loss(jnp.zeros((N, 3)), shares)
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_the_key_decides(name):
    augment = EVERY[name]
    compiled, again = (jitted(augment)(KEY, IMAGES, LABELS) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, compiled, again)
    assert any((images(augment, key=jax.random.key(seed)) != compiled[0]).any() for seed in range(9))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.uint8, jnp.int32])
def test_dtype_and_shape_are_kept(name, dtype):
    y = jax.eval_shape(PARTS[name], KEY, jnp.zeros(IMAGES.shape, dtype), LABELS)[0]
    assert (y.dtype, y.shape) == (dtype, IMAGES.shape)


def test_float64_is_kept(x64):
    for augment in PARTS.values():
        assert jax.eval_shape(augment, KEY, IMAGES.astype(jnp.float64), LABELS)[0].dtype == jnp.float64


@pytest.mark.thorough
def test_vmap_over_keys_is_a_loop_that_is_not_compiled():
    keys = jax.random.split(KEY, 3)
    augment = D.compose(D.random_crop(2), D.random_flip(), D.cutout(3))
    together = jax.jit(jax.vmap(lambda key: augment(key, IMAGES, LABELS)))(keys)
    for place, key in enumerate(keys):
        alone = augment(key, IMAGES, LABELS)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[place], b, rtol=1e-4, atol=1e-4), together, alone)


IDENTITY = [
    D.random_flip(rate=0.0), D.random_crop(0), D.random_shift(0.0), D.random_rotation(0.0), D.gaussian_noise(0.0),
    D.random_flip(rate=0), D.cutout(0), D.mixup(0.0, classes=3), D.cutmix(0.0, classes=3), D.compose(),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("augment", IDENTITY)
def test_nothing_asked_nothing_changed(augment):
    x, targets = augment(KEY, IMAGES, LABELS)
    np.testing.assert_array_equal(x, IMAGES)
    expected = LABELS if targets.ndim == 1 else jax.nn.one_hot(LABELS, 3)
    np.testing.assert_array_equal(targets, expected)


@pytest.mark.parametrize("axis", [1, 2, -2])
def test_flip_mirrors_or_leaves_each_example(axis):
    x = jnp.tile(IMAGES, (200, 1, 1, 1))
    y = images(D.random_flip(axis, rate=0.3), x)
    mirrored = (y == np.flip(x, axis)).all((1, 2, 3))
    np.testing.assert_array_equal(y[~mirrored], np.asarray(x)[~mirrored])
    assert abs(mirrored.mean() - 0.3) < 4 * np.sqrt(0.21 / len(x))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
def test_crop_is_a_window_of_the_padded_image_all_equally_often(mode):
    x = jnp.tile(IMAGES[:1], (900, 1, 1, 1))
    padded = np.pad(np.asarray(x[0]), ((1, 1), (1, 1), (0, 0)), mode=mode)
    places = [(i, j) for i in range(3) for j in range(3)]
    windows = np.stack([padded[i : i + H, j : j + W] for i, j in places])
    hits = (images(D.random_crop(1, mode), x)[:, None] == windows).all((2, 3, 4))
    assert hits.any(1).all()
    assert (abs(hits.sum(0) - 100) < 45).all()


def bilinear(image, i, j):
    """One interpolated pixel, written out."""
    total = np.zeros(image.shape[-1])
    for a in range(image.shape[0]):
        for b in range(image.shape[1]):
            total += max(0, 1 - abs(i - a)) * max(0, 1 - abs(j - b)) * image[a, b]
    return total


def test_shift_moves_every_pixel_by_one_offset():
    x = np.asarray(jax.random.normal(KEY, (4, H, W, C)))
    y = images(D.random_shift(1.5), jnp.asarray(x))
    for place, key in enumerate(jax.random.split(KEY, 4)):
        a, b = np.asarray(jax.random.uniform(key, (2,), minval=-1.5, maxval=1.5))
        expected = [[bilinear(x[place], i - a, j - b) for j in range(W)] for i in range(H)]
        np.testing.assert_allclose(y[place], expected, atol=1e-5)


def test_rotation_is_the_formula_and_a_quarter_turn_is_exact():
    x = np.asarray(jax.random.normal(KEY, (4, H, H, C)))
    y = images(D.random_rotation(90.0), jnp.asarray(x))
    for place, key in enumerate(jax.random.split(KEY, 4)):
        turn = np.deg2rad(float(jax.random.uniform(key, minval=-90.0, maxval=90.0)))
        for i in range(H):
            for j in range(H):
                u, v = i - (H - 1) / 2, j - (H - 1) / 2
                row = u * np.cos(turn) + v * np.sin(turn) + (H - 1) / 2
                column = v * np.cos(turn) - u * np.sin(turn) + (H - 1) / 2
                np.testing.assert_allclose(y[place, i, j], bilinear(x[place], row, column), atol=2e-4)


def test_rotation_by_a_positive_angle_is_counterclockwise():
    x = np.asarray(jax.random.normal(KEY, (64, H, H, 1)))
    turns = [float(jax.random.uniform(key, minval=-1, maxval=1)) for key in jax.random.split(KEY, 64)]
    degrees = 90 / turns[0]
    y = images(D.random_rotation(abs(degrees)), jnp.asarray(x))
    np.testing.assert_allclose(y[0], np.rot90(x[0], 1 if degrees > 0 else -1), atol=1e-3)


@pytest.mark.parametrize("augment", [D.gaussian_noise(0.5), D.jitter(0.5)])
def test_noise_is_normal_and_independent(augment):
    noise = images(augment, jnp.zeros((50, 40, 10)))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 0.5) < 0.02
    assert abs(np.corrcoef(noise.reshape(50, -1))[np.triu_indices(50, 1)]).max() < 0.3


@pytest.mark.parametrize("size", [2, 3])
def test_cutout_is_a_square_cut_off_at_the_border(size):
    x = jnp.ones((700, H, W, C))
    y = images(D.cutout(size), x)
    allowed = set()
    for i in range(H):
        for j in range(W):
            image = np.ones((H, W, C))
            image[max(0, i - size // 2) : i - size // 2 + size, max(0, j - size // 2) : j - size // 2 + size] = 0
            allowed.add(image.tobytes())
    assert {one.astype(float).tobytes() for one in y} == allowed


def test_mixup_mixes_inputs_and_targets_alike():
    hot = jax.nn.one_hot(LABELS, 3)
    x = hot[:, None, None, :] * jnp.ones((1, H, W, 1))
    y, targets = D.mixup(0.8, classes=3)(KEY, x, LABELS)
    np.testing.assert_allclose(y, np.broadcast_to(targets[:, None, None, :], y.shape), atol=1e-6)
    assert ((targets > 0.01) & (targets < 0.99)).any()
    values = jnp.arange(6.0)[:, None]
    y, targets = D.mixup(0.8)(KEY, values, 3 * values)
    np.testing.assert_allclose(targets, 3 * y, rtol=1e-6)


def test_mixup_share_is_beta():
    x = jnp.concatenate([jnp.zeros((4000, 1)), jnp.ones((4000, 1))])
    y = np.asarray(D.mixup(0.5)(KEY, x, x)[0])[:, 0]
    between = y[(y > 0) & (y < 1)]
    # Beta(1/2, 1/2) has variance 1/8 about 1/2, and the ones mix with a zero half of the time.
    assert abs(between.mean() - 0.5) < 0.03
    assert abs(between.var() - 0.125) < 0.01


def test_cutmix_pastes_a_box_and_mixes_by_area():
    hot = np.asarray(jax.nn.one_hot(jnp.arange(N), N))
    x = jnp.asarray(hot)[:, None, None, :] * jnp.ones((1, H, W, 1))
    y, targets = D.cutmix(classes=N)(KEY, x, jnp.arange(N))
    np.testing.assert_allclose(targets, np.asarray(y).mean((1, 2)), atol=1e-6)
    for place, one in enumerate(np.asarray(y)):
        np.testing.assert_array_equal(one.sum(-1), 1)
        foreign = np.argwhere(one[..., place] == 0)
        if len(foreign):
            (top, left), (bottom, right) = foreign.min(0), foreign.max(0)
            assert len(foreign) == (bottom - top + 1) * (right - left + 1)
            assert len(np.unique(one[..., :].argmax(-1)[tuple(foreign.T)])) == 1
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_window_is_a_stretch_of_the_series_from_anywhere():
    x = jnp.arange(10.0)[None, :, None] * jnp.ones((300, 1, 2))
    y = images(D.random_window(7), x)
    np.testing.assert_array_equal(y - y[:, :1], np.broadcast_to(np.arange(7.0)[None, :, None], y.shape))
    assert set(y[:, 0, 0]) == {0.0, 1.0, 2.0, 3.0}


def test_out_of_range_classes_that_are_traced_give_nan():
    targets = jax.jit(D.mixup(classes=3))(KEY, IMAGES, LABELS.at[0].set(3))[1]
    assert np.isnan(targets).any()


MISUSE = {
    r"random_crop: expected x of shape \(batch, height, width, channels\)": lambda: D.random_crop(1)(
        KEY, IMAGES[0], None
    ),
    "random_crop: expected padding >= 0, got -1": lambda: D.random_crop(-1),
    "random_crop: expected mode to be one of 'constant'": lambda: D.random_crop(1, "mirror"),
    "random_crop: expected padding <= 4": lambda: D.random_crop(5, "reflect")(KEY, IMAGES, None),
    r"random_flip: expected rate in \[0, 1\]": lambda: D.random_flip(rate=1.5),
    "random_flip: expected axis": lambda: D.random_flip(0)(KEY, IMAGES, None),
    "cutout: expected size <= 5": lambda: D.cutout(6)(KEY, IMAGES, None),
    "random_rotation: expected degrees": lambda: D.random_rotation(-1.0),
    "gaussian_noise: expected deviation": lambda: D.gaussian_noise(-1.0),
    "random_window: expected length <= 3": lambda: D.random_window(4)(KEY, jnp.ones((2, 3, 1)), None),
    "mixup: expected class numbers 0 … 1, got 2 at row 2": lambda: D.mixup(classes=2)(KEY, IMAGES, LABELS),
    r"write mixup\(classes=…\)": lambda: D.mixup()(KEY, IMAGES, LABELS),
    r"cutmix: expected class numbers of shape \(batch,\)": lambda: D.cutmix(classes=3)(KEY, IMAGES, LABELS[:, None]),
    "compose: expected augmentation 1 to be a function .*got 3": lambda: D.compose(D.cutout(1), 3),
    "compose: .*got the function random_flip, which makes one; write random_flip": lambda: D.compose(D.random_flip),
    "random_flip: one input is changed, got dict; write": lambda: D.random_flip()(KEY, {"a": IMAGES}, None),
    "cutout: one input is changed, got dict; write": lambda: D.cutout(1)(KEY, {"a": IMAGES}, None),
    "mixup: one input is changed": lambda: D.mixup(classes=2)(KEY, (IMAGES, IMAGES), None),
    "train_step: expected augment to be a function": lambda: fnn.train_step(
        fnn.dense(1), fnn.optim.sgd(0.1), fnn.losses.mse, augment=3
    ),
}


@pytest.mark.parametrize("message", MISUSE)
def test_misuse_is_explained(message):
    with pytest.raises((TypeError, ValueError), match=message):
        MISUSE[message]()


MODEL = fnn.serial(fnn.dense(3), fnn.dropout(0.2), fnn.global_avg_pool())
DATA = (IMAGES / 100, LABELS)


def train(augment, **options):
    run = fnn.trainer(MODEL, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3), epochs=2, batch_size=4, augment=augment)
    return run(jax.random.key(1), DATA, **options)


@pytest.mark.thorough
def test_training_sees_the_changed_batch_and_validation_does_not():
    plain, _ = train(None)
    same, history = train(lambda key, x, targets: (x, targets), validation=DATA)
    jax.tree.map(np.testing.assert_array_equal, plain, same)
    zeros, history = train(lambda key, x, targets: (0 * x, targets), validation=DATA)
    assert float(jnp.abs(zeros.params[0]["kernel"] - plain.params[0]["kernel"]).max()) > 0
    scores = fnn.evaluate(MODEL, zeros, DATA, fnn.tasks.multiclass(3))
    np.testing.assert_allclose(history["validation_loss"][-1], scores["loss"], rtol=1e-5)


@pytest.mark.thorough
def test_fit_gives_the_numbers_of_trainer_with_soft_targets():
    augment = D.compose(D.random_flip(), D.mixup(classes=3))
    expected, _ = train(augment)
    trained, history = fnn.fit(
        MODEL, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3), DATA,
        key=jax.random.key(1), epochs=2, batch_size=4, augment=augment, progress=False,
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), expected, trained)
    assert np.isfinite(history["loss"]).all()
    assert all(0 <= accuracy <= 1 for accuracy in history["accuracy"])


@pytest.mark.devices(2)
def test_the_number_of_devices_changes_nothing():
    augment = D.compose(D.random_crop(1), D.random_flip(), D.random_rotation(9.0), D.cutout(2), D.mixup(classes=3))
    results = []
    for mesh in (None, fnn.devices.data_mesh(jax.devices()[:2])):
        run = fnn.trainer(
            MODEL, fnn.optim.sgd(0.1), fnn.tasks.multiclass(3), epochs=2, batch_size=4, augment=augment, mesh=mesh
        )
        results.append(jax.device_get(run(jax.random.key(1), DATA)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *results)


def test_idle_cores_are_named_once(monkeypatch, capsys):
    monkeypatch.setattr(placement, "cores", lambda: 3)
    console._say_once.cache_clear()
    model = fnn.serial(fnn.conv(3, 3), fnn.global_avg_pool(), fnn.dense(3))
    monkeypatch.setattr(placement, "threads_convolutions", lambda: True)
    console.suggest_cores(model, None)  # one convolution takes them all
    monkeypatch.setattr(placement, "threads_convolutions", lambda: False)
    console.suggest_cores(fnn.dense(1), None)
    console.suggest_cores(model, False)
    assert capsys.readouterr().err == ""
    console.suggest_cores(model, None)
    console.suggest_cores(model, None)
    assert capsys.readouterr().err.count("there are 3. To use them, write fnn.devices.use_cpu_cores()") == 1
