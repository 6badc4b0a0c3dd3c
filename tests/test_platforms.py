"""Every kernel, and whole training steps, lower for GPUs and TPUs on a machine that has neither."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from every_layer import LAYERS, MODELS, constructors
from jax.sharding import NamedSharding, PartitionSpec

import fnn
from fnn.kernels import placement
from fnn.kernels.recurrence import core

PLATFORMS = ("cuda", "tpu")


def lowered(f, *args, platforms=PLATFORMS):
    """The program of `f` for each platform, as text, from shapes alone."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args)
    return [jax.export.export(jax.jit(f), platforms=[platform])(*shapes).mlir_module() for platform in platforms]


def of_kernel(kernel):
    """Value and gradient with respect to every argument."""

    def all_of(*args):
        y, back = jax.vjp(kernel, *args)
        return y, back(jax.tree.map(jnp.ones_like, y))

    return all_of


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "groups"),
    [(fnn.kernels.conv, 1), (fnn.kernels.conv, 4), (fnn.kernels.conv_transpose, 2)],
    ids=["dense", "depthwise", "transposed"],
)
def test_convolutions_are_the_platforms_own(kernel, groups, dtype):
    """One convolution for each product: none of the forms that are for CPUs."""
    x, w = jnp.ones((2, 8, 8, 4), dtype), jnp.ones((3, 3, 4 // groups, 8), dtype)
    for text in lowered(of_kernel(functools.partial(kernel, stride=2, groups=groups)), x, w):
        assert text.count("stablehlo.convolution") == 3
        assert not any(word in text for word in ("stablehlo.while", "stablehlo.dot_general", "custom_call"))


@pytest.mark.parametrize(
    "pool",
    [
        functools.partial(fnn.kernels.max_pool, window=2),
        functools.partial(fnn.kernels.max_pool, window=3, stride=2, padding="SAME"),
        functools.partial(fnn.kernels.avg_pool, window=2),
        functools.partial(fnn.kernels.lp_pool, window=2),
        functools.partial(fnn.kernels.adaptive_max_pool, output_size=3),
    ],
    ids=["max", "max overlapping", "average", "lp", "adaptive"],
)
def test_pooling_has_no_scatter(pool):
    for text in lowered(of_kernel(pool), jnp.ones((2, 8, 8, 4))):
        assert "select_and_scatter" not in text


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrence_off_the_cpu_projects_all_steps_at_once(kind, monkeypatch):
    """No loop over chunks around the loop over time: at inference whatever traces it, in training on a GPU."""
    chunk = core.chunk_size(37, 64)
    assert chunk < 37
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    args = jnp.ones((64, 37, 5)), jnp.ones((5, 3 * gates)), jnp.ones((3, 3 * gates)), jnp.ones(64, int)

    def run(x, kernel, recurrent, lengths):
        return getattr(fnn.kernels, kind)(x, kernel, recurrent, lengths=lengths)

    def gradient(*args):
        return jax.grad(lambda *a: jnp.sum(run(*a)[0]), (0, 1, 2))(*args)

    (cpu,) = lowered(run, *args, platforms=("cpu",))
    assert f"tensor<{chunk}x64x{3 * gates}xf32>" in cpu
    texts = lowered(run, *args)
    monkeypatch.setattr(placement, "platform", lambda: "gpu")
    for text in (*texts, *lowered(gradient, *args)):
        assert f"tensor<37x64x{3 * gates}xf32>" in text
        assert f"tensor<{chunk}x64x" not in text


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_loop_over_time_takes_one_step_at_a_time_on_a_cpu_and_sixteen_elsewhere(kind, monkeypatch):
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    args = jnp.ones((64, 53, 5)), jnp.ones((5, 3 * gates)), jnp.ones((3, 3 * gates))

    def programs(platforms, forms=(lambda run: run, of_kernel), **how):
        def run(*args):
            return getattr(fnn.kernels, kind)(*args, **how)[0]

        texts = [text for form in forms for text in lowered(form(run), *args, platforms=platforms)]
        return [re.sub(r"#loc.*|loc\(.*?\)", "", text) for text in texts]

    assert programs(("cpu",)) == programs(("cpu",), unroll=1) != programs(("cpu",), unroll=16)
    value = [lambda run: run]
    assert programs(PLATFORMS, value) == programs(PLATFORMS, value, unroll=16) != programs(PLATFORMS, value, unroll=1)
    monkeypatch.setattr(placement, "platform", lambda: "gpu")
    core.recur.clear_cache()
    assert programs(PLATFORMS) == programs(PLATFORMS, unroll=16) != programs(PLATFORMS, unroll=1)
    core.recur.clear_cache()


def gradients(case, batch):
    """The program of a training pass as every platform but a CPU gets it, and the shapes it is traced for."""
    x = case.x(batch)
    params, state = jax.eval_shape(case.layer.init, jax.random.key(0), x)

    def total(differentiable, x, state):
        params, inputs = differentiable
        x = x if inputs is None else inputs
        y, state = case.layer.apply(params, state, x, key=jax.random.key(1), train=True)
        return jnp.sum(y), state

    inputs = x if case.dtype == "float32" else None
    return jax.grad(total, has_aux=True), ((params, inputs), x, state)


def check_for_accelerators(text, batch, loops):
    """No loop over examples, no call of the host, and nothing that only a CPU is quick at."""
    assert not re.search(r"custom_call @\w*callback", text)
    assert "select_and_scatter" not in text
    assert loops or "stablehlo.while" not in text
    # A loop over examples counts to their number; nothing else in these programs is an integer as large.
    assert not re.search(rf"dense<{batch}> : tensor<u?i\d+>", text)


def test_every_layer_and_model_is_in_the_tables():
    assert {name.split(",")[0] for name in LAYERS} == constructors(fnn.layers)
    assert {name.split(",")[0] for name in MODELS} == constructors(fnn.models)


@pytest.mark.thorough
@pytest.mark.parametrize(("devices", "batch"), [(1, 53), (2, 58)], ids=["one device", "several"])
@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_no_loop_over_examples_off_the_cpu(monkeypatch, name, devices, batch):
    """Each number of devices has a batch of its own, so that no trace of the other is taken again."""
    monkeypatch.setattr(placement, "devices", lambda platform=None: devices)
    case = (LAYERS | MODELS)[name]
    f, shapes = gradients(case, batch)
    text = jax.export.export(jax.jit(f), platforms=PLATFORMS)(*shapes).mlir_module()
    check_for_accelerators(text, batch, case.loops)


@pytest.mark.parametrize(("devices", "batch"), [(1, 53), (2, 58)], ids=["one device", "several"])
@pytest.mark.parametrize("name", ["lenet5", "max_pool, overlapping", "sequence_classifier"])
def test_a_training_step(monkeypatch, name, devices, batch):
    monkeypatch.setattr(placement, "devices", lambda platform=None: devices)
    case = (LAYERS | MODELS)[name]
    model = (
        case.layer if name in MODELS else fnn.serial(fnn.conv(4, 3), case.layer, fnn.global_avg_pool(), fnn.dense(3))
    )
    step = fnn.train_step(model, fnn.optim.adam(1e-3), fnn.tasks.multiclass(3))
    x, y = case.x(batch), jax.ShapeDtypeStruct((batch,), jnp.int32)
    state = jax.eval_shape(step.init, jax.random.key(0), x)

    def update(state, x, y):
        return step.update(state, jax.random.key(1), (x, y))

    text = jax.export.export(jax.jit(update), platforms=PLATFORMS)(state, x, y).mlir_module()
    check_for_accelerators(text, batch, case.loops)


def test_a_loop_over_examples_is_found():
    for loop in (lambda x: jax.lax.map(jnp.sin, x), lambda x: jax.lax.fori_loop(0, 53, lambda i, x: x.at[i].set(0), x)):
        text = jax.export.export(jax.jit(loop), platforms=PLATFORMS)(jnp.ones((53, 2))).mlir_module()
        with pytest.raises(AssertionError):
            check_for_accelerators(text, 53, loops=True)


def test_a_call_of_the_host_is_found():
    def host(x):
        return jax.pure_callback(lambda x: x, x, x)

    text = jax.jit(host).lower(jnp.ones(2)).as_text()  # here: for another platform JAX refuses it
    with pytest.raises(AssertionError):
        check_for_accelerators(text, 53, loops=True)


@pytest.mark.parametrize(
    ("model", "shape", "loops"),
    [
        (fnn.models.mlp((4,), 3), (5,), False),
        (
            fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(3)),
            (8, 8, 1),
            False,
        ),
        (fnn.serial(fnn.lstm(4), fnn.dense(3)), (6, 2), True),
    ],
    ids=["mlp", "cnn with batch norm", "lstm"],
)
def test_an_exported_model_loops_over_time_alone(tmp_path, model, shape, loops):
    pytest.importorskip("flatbuffers")
    x = jax.ShapeDtypeStruct((53, *shape), jnp.float32)
    params, state = model.init(jax.random.key(0), jnp.zeros(x.shape))
    fnn.export(model, fnn.Trained(params, state), x, fnn.tasks.multiclass(3), path=tmp_path / "model.jax")
    text = jax.export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).mlir_module()
    check_for_accelerators(text, 53, loops)
    assert ("stablehlo.while" in text) == loops


@pytest.mark.devices(2)
@pytest.mark.parametrize("name", [name for name, case in LAYERS.items() if "," not in name or not case.loops])
def test_a_batch_over_two_devices_is_not_gathered(name):
    """Every layer; of the variants not those of recurrent ones, which take longest and split alike."""
    f, shapes = gradients(LAYERS[name], 14)
    mesh = fnn.devices.data_mesh(jax.devices()[:2])
    rows, whole = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (mesh.axis_names, ()))
    (params, inputs), x, state = shapes
    # What is kept row by row is split like the rows.
    of_state = jax.tree.map(lambda a: rows if a.shape[:1] == (14,) else whole, state)
    program = jax.jit(f, in_shardings=((whole, inputs and rows), rows, of_state)).lower(*shapes).compile().as_text()
    assert not re.findall(r" (?:all-gather|all-to-all|collective-permute)(?:-start)?\(", program)
