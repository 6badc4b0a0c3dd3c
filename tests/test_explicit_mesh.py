"""Everything under a mesh with explicit axes, the kind `jax.make_mesh` makes, and inside `shard_map`.

Rows are split over two devices; the numbers are those of one device, and no row is gathered.
"""

import functools
import inspect
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from test_losses_values import CALLS

import fnn

pytestmark = pytest.mark.devices(2)

KEY, ROWS = jax.random.key(0), 4
EXAMPLES = 14  # as many as no axis of a parameter has
WHOLE, SPLIT = PartitionSpec(), PartitionSpec("data")


def mesh_of(kind=AxisType.Explicit):
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


MESH = mesh_of() if jax.device_count() > 1 else None


def whole(tree, mesh=None):
    return jax.device_put(tree, NamedSharding(mesh or MESH, WHOLE))


def spec_of(a, rows=EXAMPLES):
    return SPLIT if jnp.shape(a)[:1] == (rows,) else WHOLE


def by_rows(tree, mesh=None, rows=ROWS):
    """Split where there is a row for each example, whole elsewhere."""
    return jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh or MESH, spec_of(a, rows))), tree)


def by_features(tree):
    """Split along the last axis, as the parameters of a wide layer may be."""
    return jax.tree.map(
        lambda a: jax.device_put(a, NamedSharding(MESH, PartitionSpec(*[None] * (a.ndim - 1), "data"))), tree
    )


def assert_equal(found, expected):
    def same(path, a, b):
        if jax.dtypes.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        size = np.abs(np.asarray(b, np.float64)).max(initial=1)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * size, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(same, found, expected)


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def inputs_of(case):
    def drawn(shape):
        if jnp.issubdtype(shape.dtype, jnp.integer):
            return jax.random.randint(KEY, shape.shape, 0, 3)
        return normal(*shape.shape)

    return jax.tree.map(drawn, case.x(EXAMPLES))


def pass_of(case, train):
    """Outputs, state and gradients of a weighted sum of the outputs."""

    def both(params, x, state):
        def total(differentiable):
            params, inputs = differentiable
            y, new = case.layer.apply(params, state, x if inputs is None else inputs, key=KEY, train=train)
            return jnp.sum(jnp.sin(y) * y), (y, new)

        inputs = x if case.dtype == "float32" else None
        (_, aux), gradients = jax.value_and_grad(total, has_aux=True)((params, inputs))
        return aux, gradients

    return both


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_a_layer_has_the_numbers_of_one_device_and_gathers_no_row(name):
    case = (LAYERS | MODELS)[name]
    x, both = inputs_of(case), jax.jit(pass_of(case, train=True))
    params, state = case.layer.init(KEY, x)
    compiled = both.lower(whole(params), *by_rows((x, state), rows=EXAMPLES)).compile()
    found = compiled(whole(params), *by_rows((x, state), rows=EXAMPLES))
    assert_equal(found, both(params, x, state))
    assert jax.typeof(found[0][0]).sharding.spec[0] == "data"
    assert not re.findall(r" (?:all-gather|all-to-all|collective-permute)(?:-start)?\(", compiled.as_text())


COMPUTED = ("lstm, in segments", "lstm, variants", "max_pool, overlapping", "conv, groups", "embedding", "small_cnn")


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_inside_shard_map_a_layer_has_the_numbers_of_one_device(name):
    """Traced for all, which is where types that differ between devices do not fit; computed for some."""
    case = (LAYERS | MODELS)[name]
    x = inputs_of(case)
    params, state = case.layer.init(KEY, x)

    def total(params, x, state):
        y, _ = case.layer.apply(params, state, x, key=KEY, train=name not in COMPUTED)
        return jnp.sum(jnp.sin(y) * y)

    specs = (WHOLE, SPLIT, jax.tree.map(spec_of, state))

    @functools.partial(jax.shard_map, mesh=MESH, in_specs=specs, out_specs=WHOLE)
    def shared(params, x, state):
        # Every device holds the same parameters: the gradient of its rows is summed over the devices.
        return jax.lax.psum(total(params, x, state), "data"), jax.grad(total)(params, x, state)

    traced = jax.jit(shared).trace(whole(params), *by_rows((x, state), rows=EXAMPLES))
    if name in COMPUTED:
        found = traced.lower().compile()(whole(params), *by_rows((x, state), rows=EXAMPLES))
        assert_equal(found, jax.jit(jax.value_and_grad(total))(params, x, state))


@pytest.mark.parametrize("members", [SPLIT, PartitionSpec(None, "data")], ids=["members split", "rows split"])
def test_members_under_vmap(members):
    case = LAYERS["max_pool, overlapping"]
    layer = fnn.serial(fnn.conv(2, 3), case.layer, fnn.flatten(), fnn.reshape(5, -1), fnn.lstm(2))
    x = normal(2, ROWS, *case.shape)
    params = jax.vmap(lambda key: layer.init(key, x[0])[0])(jax.random.split(KEY))

    def total(params, x):
        return jnp.sum(layer.apply(params, layer.init(KEY, x)[1], x)[0] ** 2)

    step = jax.jit(jax.vmap(jax.value_and_grad(total)))
    of_params = NamedSharding(MESH, SPLIT if members == SPLIT else WHOLE)
    found = step(jax.device_put(params, of_params), jax.device_put(x, NamedSharding(MESH, members)))
    assert_equal(found, step(params, x))


def test_activations_losses_tasks_and_metrics():
    tasks = {"regression": (fnn.tasks.regression(), (ROWS, 1)), "multiclass": (fnn.tasks.multiclass(3), (ROWS, 3))}
    labels, weights = jnp.array([0, 2, 1, 1]), jnp.array([1.0, 0.0, 2.0, 1.0])
    outputs, bits = normal(ROWS, 3), jnp.array([1, 0, 1, 0])
    of_classes = {"accuracy": (outputs, labels), "top_k_accuracy": (outputs, labels), "perplexity": (outputs, labels)}
    of_bits = dict.fromkeys(("confusion_matrix", "f1", "precision", "recall"), (labels % 2, bits))
    given = of_classes | of_bits | {"roc_auc": (outputs[:, 0], bits)}
    options = {"confusion_matrix": {"classes": 2}, "top_k_accuracy": {"k": 2}}
    metrics = {
        name: given.get(name, (outputs[:, 0], outputs[:, 1])) for name in fnn.metrics.__all__ if name != "metric"
    }
    calls = {name: (inputs, others) for name, (inputs, others, _) in CALLS.items()}

    def everything(outputs, calls, metrics, labels, weights):
        def of_loss(name):
            inputs, others = calls[name]
            loss = functools.partial(getattr(fnn.losses, name), **CALLS[name][2])
            gradient = jax.grad(lambda inputs: jnp.sum(jnp.sin(loss(*inputs, *others))))(inputs)
            return loss(*inputs, *others), loss(*inputs, *others, reduction="mean"), gradient

        def of_metric(name):
            metric = functools.partial(getattr(fnn.metrics, name), **options.get(name, {}))
            return metric(*metrics[name]), metric(*metrics[name], weights=weights)

        def of_task(task, shape):
            targets = labels if shape[1] > 1 else labels[:, None].astype(float)
            y = outputs[:, : shape[1]]
            scores = {name: metric(y, targets) for name, metric in task.metrics.items()}
            return jax.value_and_grad(lambda y: task.loss(y, targets).sum())(y), task.decode(y), scores

        return {
            "losses": {name: of_loss(name) for name in calls},
            "metrics": {name: of_metric(name) for name in metrics},
            "tasks": {name: of_task(*task) for name, task in tasks.items()},
            "activations": {
                name: jax.value_and_grad(lambda x: getattr(fnn.activations, name)(x).sum())(
                    jnp.concatenate([outputs, outputs], 1)
                )
                for name in fnn.activations.__all__
            },
            "smooth_labels": fnn.losses.smooth_labels(jax.nn.one_hot(labels, 3), 0.1),
        }

    arguments = outputs, calls, metrics, labels, weights
    assert_equal(jax.jit(everything)(*by_rows(arguments)), jax.jit(everything)(*arguments))


def rules():
    """Every optimizer that takes a learning rate alone or nothing, and those that take more."""
    optim, inner = fnn.optim, fnn.optim.adam(0.1)
    matrices = lambda params: jax.tree.map(lambda a: a.ndim > 1, params)  # noqa: E731
    found = {
        "multi_steps": optim.multi_steps(inner, 2), "ema_params": optim.ema_params(inner, 0.9),
        "swa_params": optim.swa_params(inner), "ema": optim.ema(0.9), "trace": optim.trace(0.9),
        "freeze": optim.freeze(matrices), "masked": optim.masked(inner, matrices),
        "multi_transform": optim.multi_transform({True: inner, False: optim.sgd(0.1)}, matrices),
        "partition": optim.partition({True: inner, False: optim.sgd(0.1)}, matrices),
        "clip_by_block_rms": optim.clip_by_block_rms(1.0), "scale": optim.scale(0.1),
        "scale_by_schedule": optim.scale_by_schedule(lambda count: 0.1), "max_norm": optim.max_norm(1.0),
        "proximal_l1": optim.proximal_l1(0.1, 0.1), "schedule_free": optim.schedule_free(inner, 0.1),
        "apply_if_finite": optim.apply_if_finite(inner, 3), "clip": optim.clip(0.1),
        "clip_by_global_norm": optim.clip_by_global_norm(1.0), "lookahead": None, "scale_by_muon": None,
        "scale_by_zoom_linesearch": optim.chain(inner, optim.scale_by_zoom_linesearch(3)),
        "chain": optim.chain(inner, optim.scale(2.0)), "scale_loss": optim.scale_loss(inner),
    }  # fmt: skip
    for name in optim.__all__:
        build = getattr(optim, name)
        gives = inspect.isfunction(build) and inspect.signature(build).return_annotation == "Transform"
        if gives and name not in found:
            found[name] = build(0.1) if "learning_rate" in inspect.signature(build).parameters else build()
    return {name: rule for name, rule in found.items() if rule is not None}


def test_optimizers_of_parameters_split_by_features():
    params = {"kernel": normal(6, 4), "bias": normal(4, seed=1), "window": normal(3, 3, 2, 4, seed=2)}

    def everything(params):
        def of_rule(rule):
            current, state = params, rule.init(params)
            for _ in range(2):
                gradient = jax.tree.map(jnp.cos, current)
                more = {"value": jnp.float32(1), "value_fn": lambda p: jnp.float32(1), "grad": gradient}
                updates, state = fnn.optim.chain(rule).update(gradient, (state,), current, **more)
                current, (state,) = fnn.optim.apply_updates(current, updates), state
            return current

        return {name: of_rule(rule) for name, rule in rules().items()}

    found = jax.jit(everything)(by_features(params))
    assert_equal(found, jax.jit(everything)(params))


AUGMENTATIONS = {
    "cutout": fnn.data.cutout(2), "gaussian_noise": fnn.data.gaussian_noise(0.1), "mixup": fnn.data.mixup(classes=3),
    "random_crop": fnn.data.random_crop(2), "random_flip": fnn.data.random_flip(),
    "random_rotation": fnn.data.random_rotation(20.0), "random_shift": fnn.data.random_shift(2.0),
    "cutmix": fnn.data.cutmix(classes=3), "jitter": fnn.data.jitter(0.1), "random_window": fnn.data.random_window(5),
    "compose": fnn.data.compose(fnn.data.random_flip(), fnn.data.random_crop(1)),
}  # fmt: skip


def test_augmentations():
    from fnn.data import augmentation

    assert set(AUGMENTATIONS) == set(augmentation.__all__)
    images, series, labels = normal(ROWS, 6, 6, 2), normal(ROWS, 8, 2), jnp.array([0, 2, 1, 1])

    def everything(images, series, labels):
        x = {"jitter": series, "random_window": series}
        return {name: change(KEY, x.get(name, images), labels) for name, change in AUGMENTATIONS.items()}

    arguments = images, series, labels
    assert_equal(jax.jit(everything)(*by_rows(arguments)), jax.jit(everything)(*arguments))


@pytest.mark.parametrize("compiled", [False, True])
def test_scalers(compiled):
    x, weights, lengths = normal(ROWS, 3, 2), jnp.array([1.0, 0.0, 2.0, 1.0]), jnp.array([3, 1, 2, 3])
    chosen = {"rows": np.array([0, 3, -1])}  # as many as do not divide by the devices
    for scaler in (fnn.data.standard_scaler(), fnn.data.min_max_scaler()):

        def everything(x, columns, lengths, weights, scaler=scaler):
            found = []
            for given, options in itertools.product(
                (x, columns, fnn.Padded(x, lengths)), ({}, chosen, {"weights": weights}, chosen | {"weights": weights})
            ):
                statistics = scaler.fit(given, **options)
                z = scaler.transform(statistics, given)
                found += [statistics, z, scaler.inverse_transform(statistics, z)]
            return found

        run = jax.jit(everything) if compiled else everything
        columns = x[:, 0]
        split = by_rows(x), by_features(columns), by_rows(lengths), by_rows(weights)
        assert_equal(run(*split), run(x, columns, lengths, weights))


def test_a_carry_of_zeros_is_split_as_the_inputs_are():
    x, lengths = normal(ROWS, 5, 3), jnp.array([1, 2, 5, 3])

    def run(x, carry, lengths):
        cell = lambda carry, x: (jnp.tanh(carry + x), carry * x)  # noqa: E731
        return [fnn.kernels.scan_cell(cell, carry, x, lengths=given, remat=2) for given in (None, lengths)]

    zeros = jnp.zeros((ROWS, 3))
    assert_equal(jax.jit(run)(by_rows(x), whole(zeros), whole(lengths)), jax.jit(run)(x, zeros, lengths))


@pytest.mark.parametrize(
    "spec", [PartitionSpec(None, "data"), PartitionSpec(None, None, None, "data")], ids=["height", "channels"]
)
def test_other_axes_of_an_image_may_be_split(spec):
    x, kernel = normal(ROWS, 6, 6, 2), normal(3, 3, 2, 4)

    def total(x, kernel):
        return jnp.sum(fnn.kernels.max_pool(fnn.kernels.conv(x, kernel), 2) ** 2)

    both = jax.jit(jax.value_and_grad(total, (0, 1)))
    assert_equal(both(jax.device_put(x, NamedSharding(MESH, spec)), whole(kernel)), both(x, kernel))


def test_features_of_a_kernel_may_be_split_but_not_over_the_axis_of_the_rows():
    x, kernel = normal(ROWS, 6, 6, 2), normal(3, 3, 2, 4)
    y = jax.jit(fnn.kernels.conv)(whole(x), by_features(kernel))
    assert jax.typeof(y).sharding.spec[-1] == "data"
    assert_equal(y, fnn.kernels.conv(x, kernel))
    with pytest.raises(ValueError, match=r"conv: expected the rows of x and the features of the kernel on different"):
        jax.jit(fnn.kernels.conv)(by_rows(x), by_features(kernel))


@pytest.mark.parametrize("classes", [4, 768], ids=["few classes", "a large vocabulary"])
def test_classes_may_be_split(classes):
    logits, labels = normal(ROWS, classes), jnp.array([0, 2, 3, 1])
    soft = jax.nn.softmax(normal(ROWS, classes, seed=1))

    def everything(logits, soft, labels):
        losses, p = fnn.losses, jax.nn.softmax
        of_classes = {
            "logits": losses.softmax_cross_entropy,
            "integers": losses.softmax_cross_entropy_with_integer_labels,
            "probabilities": lambda x, y: losses.cross_entropy(p(x), y),
            "log_probabilities": lambda x, y: losses.categorical_negative_log_likelihood(fnn.log_softmax(x), y),
            "poly": losses.poly_loss_cross_entropy,
            "ignored": functools.partial(losses.softmax_cross_entropy, ignore_index=2),
            "smoothed": functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1),
            "masked": lambda x, y: losses.softmax_cross_entropy(x, y, where=soft > soft.mean(-1, keepdims=True)),
        }
        found = {name: jax.value_and_grad(lambda x: f(x, labels).sum())(logits) for name, f in of_classes.items()}
        found["distributions"] = jax.value_and_grad(lambda x: losses.softmax_cross_entropy(x, soft).sum())(logits)
        frames, paddings = jnp.zeros((ROWS, 3)).at[1, 2:].set(1), jnp.zeros((ROWS, 2)).at[2, 1:].set(1)
        symbols = jnp.stack([labels % 3 + 1, jnp.full_like(labels, 2)], 1)
        aligned = functools.partial(losses.ctc_loss, logit_paddings=frames, labels=symbols, label_paddings=paddings)
        found["ctc"] = jax.value_and_grad(lambda x: aligned(jnp.stack([x, 2 * x, -x], 1)).sum())(logits)
        found["top_k"] = fnn.metrics.top_k_accuracy(logits, labels, k=2)
        return found | {
            "perplexity": fnn.metrics.perplexity(logits, labels),
            "best": fnn.metrics.accuracy(logits, labels),
        }

    both = jax.jit(everything)
    assert_equal(both(by_features(logits), by_features(soft), whole(labels)), both(logits, soft, labels))


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=["explicit", "automatic"])
def test_a_training_step_of_ones_own(kind):
    model = fnn.serial(
        fnn.conv(4, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
        fnn.flatten(), fnn.dropout(0.2), fnn.dense(3),
    )  # fmt: skip
    augment = fnn.data.random_crop(1)
    step = fnn.train_step(
        model, fnn.optim.adam(0.1), fnn.tasks.multiclass(3), augment=augment, penalty=fnn.optim.l2(0.1)
    )
    batch = normal(ROWS, 6, 6, 2), jnp.array([0, 2, 1, 1]), jnp.array([1.0, 0.0, 2.0, 1.0])
    state, mesh = step.init(KEY, batch[0]), mesh_of(kind)

    def two_steps(state, batch):
        return jax.lax.scan(lambda state, key: step.update(state, key, batch), state, jax.random.split(KEY))

    found = jax.jit(two_steps)(whole(state, mesh), by_rows(batch, mesh))
    assert_equal(found, jax.jit(two_steps)(state, batch))


def test_a_layer_called_eagerly_under_set_mesh():
    layer = fnn.serial(fnn.conv(2, 3), fnn.max_pool(2), fnn.flatten(), fnn.dense(2))
    x = normal(ROWS, 4, 4, 1)
    params, state = layer.init(KEY, x)

    def gradient(params, x):
        return jax.grad(lambda p: layer.apply(p, state, x)[0].sum())(params)

    with jax.set_mesh(MESH):
        found = gradient(whole(params), by_rows(x))
    assert_equal(found, gradient(params, x))


def test_initializers():
    def everything(key):
        he, basis = fnn.initializers.he_normal(), fnn.initializers.orthogonal()
        return [draw(key, (6, 4), jnp.float32) for draw in (he, basis)], LAYERS["conv"].layer.init(
            key, inputs_of(LAYERS["conv"])
        )

    with jax.set_mesh(MESH):
        found = jax.jit(everything)(whole(KEY))
    assert_equal(found, jax.jit(everything)(KEY))
