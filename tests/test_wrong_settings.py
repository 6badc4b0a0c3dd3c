"""What is set to what it cannot be is an error that names the argument when the thing is made, and no number made up.

Which values an argument cannot take is read from its annotation, so a new constructor is asked the same.
"""

import inspect
import math
import operator
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

MADE = ("Layer", "Transform", "Schedule", "Initializer", "Task", "Augmentation", "PenaltyFunction", "Scaler", "Folds")
ROOMS = ("models", "schedules", "initializers", "tasks", "data", "selection", "optim")
PRESETS = tuple(f"optim.presets.{name}" for name in ("torch", "keras", "textbook"))
PLACES = {"fnn": fnn} | {room: operator.attrgetter(room)(fnn) for room in ROOMS + PRESETS}
MAKERS = {
    f"{room}.{name}": make
    for room, place in PLACES.items()
    for name in place.__all__
    if inspect.isfunction(make := getattr(place, name)) and make.__annotations__.get("return") in MADE
}
KEY, X, IMAGE = jax.random.key(0), np.ones((2, 4), np.float32), np.ones((2, 4, 4, 4), np.float32)
SGD, CONSTANT = fnn.optim.sgd(0.1), fnn.schedules.constant_schedule(0.1)
NEEDED = {
    "activation": "relu", "base_optimizer": SGD, "body": lambda use: use, "classes": 3, "cosine_kwargs": [],
    "distribution": "normal", "every_k_schedule": 2, "fast_optimizer": SGD, "features": 3, "folds": 3,
    "forward": fnn.lstm(3), "groups": [0, 1, 2, 0], "hidden": (3,), "initializer": fnn.initializers.zeros, "inner": SGD,
    "interpolate_type": "linear",
    "kernel_size": 3, "layer": fnn.dense(3), "mask": True, "milestones": (3,), "mode": "fan_in", "model": fnn.dense(3),
    "num_embeddings": 3, "opt": SGD, "output_size": 2, "p": 2, "param_labels": "a", "rows": 12, "schedule": CONSTANT,
    "schedules": (CONSTANT,), "boundaries": (), "splitter": [([0], [1])], "step_size_fn": CONSTANT, "steps": 3,
    "targets": [0, 1] * 5, "transforms": {"a": SGD}, "window": 2, "decay_steps": 20, "warmup_steps": 3,
    "init": lambda key, x: (), "apply": lambda params, x: x, "sync_period": 2, "max_linesearch_steps": 3,
    "vocabulary": 9, "outputs": 2, "transition_steps": 20, "labels": 3, "samples": 2,
}  # fmt: skip
WARMUPS = ("cosine_decay", "exponential_decay", "inverse_sqrt")
NO_NUMBER = (math.nan, True, "a", (3,))
WRONG = {
    "int": (1.5, *NO_NUMBER),
    "float": NO_NUMBER,
    "ArrayLike": NO_NUMBER,
    "ScalarOrSchedule": NO_NUMBER,
    "bool": ("no", 2, 0.5),
    "DType": ("nothing", 3),
    "Transform": (3, "sgd", fnn.optim.sgd),
}
RENAMED = {
    "lr": "learning_rate", "beta_1": "b1", "beta_2": "b2", "epsilon": "eps", "alpha": "decay", "beta": "decay",
    "rho": "decay", "momentum": "decay", "dropout": "rate", "l1_strength": "strength", "l2_strength": "strength",
    "decay_offset": "step_offset", "clipping_threshold": "threshold", "weight_decay_rate": "weight_decay",
    "adam_b1": "b1", "adam_b2": "b2", "adam_eps_root": "eps_root", "adam_weight_decay": "weight_decay",
    "adam_learning_rate": "learning_rate",
}  # fmt: skip
"""What an argument is called where it is handed on to."""
NOT_HERE = {
    ("fnn.embedding", "dtype", None): "the default precision",
    ("optim.adafactor", "dtype_momentum", None): "that of the parameters",
    ("initializers.constant", "value", (3,)): "an array",
    ("optim.presets.keras.rmsprop", "momentum", None): "no momentum",
    ("optim.presets.torch.rmsprop", "momentum", None): "no momentum",
    **{(f"schedules.warmup_{kind}_schedule", "warmup_steps", 1.5): "a count that may be traced" for kind in WARMUPS},
}
ASKED_WITH_AN_INPUT = {("fnn.lp_pool", "p"), ("fnn.stacked", "dropout"), ("fnn.stacked", "variational")}


def needed(make):
    parameters = inspect.signature(make).parameters.values()
    given = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {name: NEEDED.get(name, 0.3) for name in given}


def wrong_settings(name):
    """Arguments of a constructor, each with values that it cannot take."""
    for argument, parameter in inspect.signature(MAKERS[name]).parameters.items():
        annotation = str(parameter.annotation)
        values = WRONG.get(annotation.removesuffix(" | None"), ())
        if parameter.kind is parameter.VAR_POSITIONAL or (name, argument) in ASKED_WITH_AN_INPUT:
            continue
        for value in values if annotation.endswith(" | None") or not values else (None, *values):
            if (name, argument, value) not in NOT_HERE:
                yield argument, value


@pytest.mark.parametrize("name", MAKERS)
def test_settings_that_cannot_be_are_named_when_a_thing_is_made(name):
    make, missed = MAKERS[name], []
    for argument, value in wrong_settings(name):
        said = "nothing"
        try:
            make(**needed(make) | {argument: value})
        except (TypeError, ValueError) as error:
            said = str(error)
        if not re.search(f"expected .*({argument}|{RENAMED.get(argument, argument)})", said):
            missed.append(f"{argument}={value!r}: {said}")
    assert not missed


def test_every_kind_of_constructor_is_asked():
    assert sum(len(list(wrong_settings(name))) for name in MAKERS) > 2500


FOURS = [np.int64(4), np.int8(4), jnp.asarray(4), np.array(4)]
SIZES = {
    "dense": lambda n: fnn.dense(n).init(KEY, X)[0]["bias"].shape == (4,),
    "conv in groups": lambda n: fnn.conv(n, n, groups=n, stride=n).init(KEY, IMAGE)[0]["bias"].shape == (4,),
    "channels multiplied": lambda n: fnn.depthwise_conv(1, multiplier=n).init(KEY, IMAGE)[0]["bias"].shape == (16,),
    "reshape": lambda n: jax.eval_shape(fnn.reshape(n, 1).apply, (), (), X)[0].shape == (2, 4, 1),
    "the power of a pool": lambda n: jax.eval_shape(fnn.lp_pool(2, n).apply, (), (), IMAGE)[0].shape == (2, 2, 2, 4),
    "output size": lambda n: fnn.kernels.conv_output_size(n, 2) == 3,
    "windows": lambda n: fnn.data.windows(range(9), n, stride=n)[0].shape == (2, 4, 1),
    "crop": lambda n: jax.eval_shape(fnn.data.random_crop(n), KEY, IMAGE, None)[0].shape == IMAGE.shape,
    "hold out": lambda n: fnn.selection.hold_out(n, seed=n).valid.shape == (1, 1),
}


@pytest.mark.parametrize("four", FOURS, ids=lambda four: f"{type(four).__name__}_{four.dtype}")
@pytest.mark.parametrize("name", SIZES)
def test_a_whole_number_of_numpy_or_jax_is_one_everywhere(name, four):
    """Inside a program as well, where arithmetic with a known array of JAX is traced."""
    assert SIZES[name](four)
    found = []
    jax.eval_shape(lambda: found.append(SIZES[name](four)))
    assert found == [True]


TRACED = {
    "sgd": lambda v: fnn.optim.sgd(v, momentum=v),
    "adamw": lambda v: fnn.optim.adamw(v, b1=v, b2=v, eps=v, weight_decay=v),
    "plateau": lambda v: fnn.optim.reduce_on_plateau(v, patience=10 * v, cooldown=v, accumulation_size=v, atol=v),
    "swa": lambda v: fnn.optim.swa_params(SGD, start_step=v, every=v),
    "lookahead": lambda v: fnn.optim.lookahead(SGD, 2, v),
    "apply_if_finite": lambda v: fnn.optim.apply_if_finite(SGD, v),
    "line search": lambda v: fnn.optim.scale_by_zoom_linesearch(v, approx_dec_rtol=v, stepsize_precision=v),
    "schedule": lambda v: fnn.schedules.warmup_cosine_decay_schedule(v, v, v, 2 * v, v, v),
    "join": lambda v: fnn.schedules.join_schedules((CONSTANT, CONSTANT), (v,)),
    "dropout": fnn.dropout,
    "lstm": lambda v: fnn.lstm(3, forget_bias=v, zoneout=v),
    "initializer": fnn.initializers.constant,
    "task": lambda v: fnn.tasks.multiclass(3, label_smoothing=v, class_weights=jnp.stack([v, v, v])),
    "scaler": lambda v: fnn.data.min_max_scaler((v, 2 * v)),
    "early stopping": lambda v: fnn.early_stopping(patience=v, min_delta=v),
}


@pytest.mark.parametrize("name", TRACED)
def test_a_setting_of_arithmetic_may_be_traced(name):
    jax.eval_shape(lambda v: (TRACED[name](v), v)[1], 0.5)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: fnn.optim.sgd(math.inf), r"learning_rate in \[0, inf\), got inf"),
        (lambda: fnn.gaussian_noise(math.inf), r"stddev in \[0, inf\), got inf"),
        (lambda: fnn.schedules.polynomial_schedule(1.0, 0.0, -1, 10), r"power in \[0, inf\), got -1"),
        (lambda: fnn.schedules.multi_step(1.0, [None]), r"milestones\[0\] to be a number, got None"),
        (lambda: fnn.schedules.join_schedules([CONSTANT, CONSTANT], ["a"]), r"boundaries\[0\] to be a number"),
        (lambda: fnn.schedules.piecewise_constant_schedule(1.0, [3]), r"boundaries_and_scales to be a dict"),
        (lambda: fnn.schedules.sgdr_schedule([3]), "every cycle to be a dict"),
        (lambda: fnn.optim.reduce_on_plateau(accumulation_size=1.5), "accumulation_size to be a whole number, got 1.5"),
        (lambda: fnn.optim.adam(0.1, mu_dtype=np.int32), "mu_dtype to be a floating dtype, got the class int32"),
        (lambda: fnn.optim.presets.torch.adam(betas=(0.9,)), r"betas to be a pair \(b1, b2\), got \(0.9,\)"),
        (lambda: fnn.optim.presets.torch.adam(betas=(0.9, 0.99, 0.5)), r"betas to be a pair \(b1, b2\)"),
        (lambda: fnn.optim.masked(SGD, {"w": "no"}).init({"w": X}), "every value of the mask to be True or False"),
        (lambda: fnn.optim.l2(0.1, mask=3)({"w": X}), "every value of the mask to be True or False, got 3"),
        (lambda: fnn.dropout(0.5, broadcast_dims=(1.5,)), "every axis of broadcast_dims to be a Python int"),
        (lambda: fnn.models.resnet(blocks=3), r"blocks to be a sequence .*, got 3; write \(3,\)"),
        (lambda: fnn.models.vgg(stages=(3,)), "every stage to be a pair"),
        (lambda: fnn.tasks.multiclass(2, class_weights=[1.0, math.nan]), "class_weights in"),
        (lambda: fnn.data.min_max_scaler((0, math.inf)), "every end of feature_range in"),
        (lambda: fnn.data.min_max_scaler(3), r"feature_range to be a pair \(low, high\), got 3"),
        (lambda: fnn.selection.k_fold(6, 3, seed=-1), "seed >= 0, got -1"),
        (lambda: fnn.selection.repeated(3), "folds to be a sequence"),
        (lambda: fnn.dense(3.0), "features to be a Python int, got float 3.0; write 3"),
    ],
)
def test_what_was_taken_in_silence_or_failed_without_a_name(misuse, message):
    with pytest.raises((TypeError, ValueError), match=f"expected {message}"):
        misuse()


def test_infinity_stays_where_it_means_no_bound():
    optim = fnn.optim
    for make in (optim.clip, optim.clip_by_global_norm, optim.max_norm, optim.clip_by_block_rms):
        make(math.inf)
    optim.rprop(0.1, max_step_size=math.inf)
    optim.scale_loss(SGD, largest=math.inf)
    fnn.early_stopping(patience=math.inf)
    fnn.initializers.truncated_normal(0.1, lower=-math.inf)
