"""Every update rule of fnn beside an independent one: optax, torch, or NumPy loops in the words of the formula.

`python tests/optim_references.py` prints the table of largest differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from fnn import optim
from fnn.optim.presets import keras, textbook, torch
from fnn.testing import check_transform


def _rate(build, **options):
    return lambda rate: build(rate, **options)


def _schedule(build):
    """The rate on a schedule, in the words both libraries take."""
    return lambda rate: build(lambda count: rate / (1 + count.astype(float)))


def _power_decay(step, exponent):
    """optax's own computes the decay in float32 whatever the parameters are."""
    return 1 - jnp.asarray(step + 1, float) ** -exponent


def _adafactor(rate):
    return optax.chain(
        optax.scale_by_factored_rms(min_dim_size_to_factor=2, decay_rate_fn=_power_decay),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_learning_rate(rate, flip_sign=False),
        optax.scale_by_param_block_rms(),
        optax.scale(-1),
    )


BIASED = {"bias_correction_mu": False, "bias_correction_nu": False}
CENTERED = {"centered": True, "eps_in_sqrt": False, "momentum": 0.9, "nesterov": True, "initial_scale": 0.1}
LAYERWISE = {"weight_decay": 0.1}
SHAPED = {"adaptive": True, "nesterov": False, "consistent_rms": 0.2}

# family -> (name, fnn's, optax's): functions of the learning rate.
OPTAX = {
    "gradient_descent": [
        ("sgd", optim.sgd, optax.sgd),
        ("sgd, momentum", _rate(optim.sgd, momentum=0.9), _rate(optax.sgd, momentum=0.9)),
        ("sgd, nesterov", _rate(optim.sgd, momentum=0.9, nesterov=True), _rate(optax.sgd, momentum=0.9, nesterov=True)),
        (
            'momentum, form="average"',
            _rate(optim.momentum, form="average"),
            lambda rate: optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(rate)),
        ),
        (
            'momentum, form="velocity", scheduled',
            _schedule(lambda rate: optim.momentum(rate, form="velocity")),
            _schedule(lambda rate: optax.chain(optax.scale_by_learning_rate(rate), optax.trace(0.9))),
        ),
        ("ema, debiased", lambda rate: optim.ema(1 - rate), lambda rate: optax.ema(1 - rate)),
    ],
    "adaptive": [
        ("adagrad", optim.adagrad, optax.adagrad),
        ("rmsprop", optim.rmsprop, optax.rmsprop),
        ("rmsprop, scheduled", _schedule(optim.rmsprop), _schedule(optax.rmsprop)),
        ("rmsprop, centered", _rate(optim.rmsprop, centered=True), _rate(optax.rmsprop, centered=True)),
        (
            "rmsprop, bias_correction",
            _rate(optim.rmsprop, bias_correction=True),
            _rate(optax.rmsprop, bias_correction=True),
        ),
        ("rmsprop, all switches", _rate(optim.rmsprop, **CENTERED), _rate(optax.rmsprop, **CENTERED)),
        ("adadelta", _rate(optim.adadelta, **LAYERWISE), _rate(optax.adadelta, **LAYERWISE)),
    ],
    "adam": [
        ("adam", optim.adam, optax.adam),
        ("adam, eps_root", _rate(optim.adam, eps_root=1e-6), _rate(optax.adam, eps_root=1e-6)),
        (
            "adam, mu_dtype float32",
            _rate(optim.adam, mu_dtype=jnp.float32),
            _rate(optax.adam, mu_dtype=jnp.float32),
        ),
        ("nadam", optim.nadam, optax.nadam),
        ("adamw", optim.adamw, optax.adamw),
        ("nadamw", optim.nadamw, optax.nadamw),
        ("amsgrad", optim.amsgrad, optax.amsgrad),
        ("amsgrad, uncorrected", _rate(optim.amsgrad, **BIASED), _rate(optax.amsgrad, **BIASED)),
    ],
    "adam_variants": [
        ("adamax", optim.adamax, optax.adamax),
        ("adamaxw", optim.adamaxw, optax.adamaxw),
        ("radam", optim.radam, optax.radam),
        ("radam, nesterov", _rate(optim.radam, nesterov=True), _rate(optax.radam, nesterov=True)),
        ("yogi", optim.yogi, optax.yogi),
        ("adabelief", optim.adabelief, optax.adabelief),
        ("adabelief, nesterov", _rate(optim.adabelief, nesterov=True), _rate(optax.adabelief, nesterov=True)),
    ],
    "sign": [
        ("sign_sgd", optim.sign_sgd, optax.sign_sgd),
        ("signum", optim.signum, optax.signum),
        ("lion", optim.lion, optax.lion),
        ("lion, smooth", lambda _: optim.scale_by_lion(mode="smooth"), lambda _: optax.scale_by_lion(mode="smooth")),
        ("lion, refined", lambda _: optim.scale_by_lion(mode="refined"), lambda _: optax.scale_by_lion(mode="refined")),
    ],
    "layerwise": [
        ("lamb", _rate(optim.lamb, **LAYERWISE), _rate(optax.lamb, **LAYERWISE)),
        ("lars", _rate(optim.lars, **LAYERWISE), _rate(optax.lars, **LAYERWISE)),
        ("adafactor", _rate(optim.adafactor, min_dim_size_to_factor=2), _adafactor),
        ("muon", _rate(optim.muon, **LAYERWISE), _rate(optax.contrib.muon, **LAYERWISE)),
        ("muon, adaptive", _rate(optim.muon, **SHAPED), _rate(optax.contrib.muon, **SHAPED)),
        (
            "schedule_free",
            lambda rate: optim.schedule_free(optim.adam(rate, b1=0.0), rate),
            lambda rate: optax.contrib.schedule_free(optax.adam(rate, b1=0.0), rate),
        ),
    ],
}
RTOL = {
    # optax rounds the product of decay and moment to float32, fnn the new moment.
    "adam, mu_dtype float32": 1e-3,
    # A difference of nearly equal numbers: rounding is amplified.
    "rmsprop, centered": 1e-10,
    "rmsprop, all switches": 1e-10,
    "adabelief": 1e-10,
    "adabelief, nesterov": 1e-10,
    "schedule_free": 1e-10,
}
# The empty leaf of the default tree has no norm in optax.
PARAMS = {"layerwise": {"dense": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}, "scale": np.zeros(())}}


SMALL = {"kernel": np.zeros((3, 2)), "scale": np.zeros(())}


def check(family, name, params=SMALL, **options):
    """Compare one rule with optax's and return the largest relative difference."""
    _, mine, theirs = next(pair for pair in OPTAX[family] if pair[0] == name)
    return check_transform(mine, theirs, rtol=RTOL.get(name), params=PARAMS.get(family, params), **options)


# name, fnn's preset, the name of the torch class, its arguments.
TORCH = [
    ("sgd", torch.sgd, "SGD", {}),
    ("sgd", torch.sgd, "SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("sgd", torch.sgd, "SGD", {"momentum": 0.9, "nesterov": True}),
    ("adam", torch.adam, "Adam", {"weight_decay": 0.01}),
    ("adam", torch.adam, "Adam", {"amsgrad": True, "eps": 1e-4}),
    ("adamw", torch.adamw, "AdamW", {}),
    ("adamw", torch.adamw, "AdamW", {"amsgrad": True, "betas": (0.8, 0.95)}),
    ("nadam", torch.nadam, "NAdam", {"weight_decay": 0.01}),
    ("radam", torch.radam, "RAdam", {"eps": 1e-3}),
    ("adamax", torch.adamax, "Adamax", {}),
    ("rmsprop", torch.rmsprop, "RMSprop", {}),
    ("rmsprop", torch.rmsprop, "RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.01}),
    ("adagrad", torch.adagrad, "Adagrad", {"lr_decay": 0.1, "weight_decay": 0.01}),
    ("adadelta", torch.adadelta, "Adadelta", {"rho": 0.8}),
]


def torch_path(name, options, params, gradients):
    """The parameters after each step of a torch optimizer. (NAdam keeps its product of momentums in float32.)"""
    import torch as t

    p = t.nn.Parameter(t.tensor(params))
    rule = getattr(t.optim, name)([p], **options)
    path = []
    for g in gradients:
        p.grad = t.tensor(g)
        rule.step()
        path.append(p.detach().numpy().copy())
    return np.stack(path)


def fnn_path(rule, params, gradients):
    """The parameters after each step of one of ours, in one scan."""

    def step(carry, g):
        p, state = carry
        updates, state = rule.update(g, state, p)
        p = fnn.optim.apply_updates(p, updates)
        return (p, state), p

    params = jnp.asarray(params)
    return np.asarray(jax.jit(lambda p, g: jax.lax.scan(step, (p, rule.init(p)), g))(params, jnp.asarray(gradients))[1])


# The update rules of keras.optimizers (keras/src/optimizers/*.py, update_step), in NumPy.


def keras_sgd(p, gradients, learning_rate=0.01, momentum=0.0, nesterov=False):
    m = 0
    for g in gradients:
        m = m * momentum - g * learning_rate
        p = p + (m * momentum - g * learning_rate if nesterov else m)
        yield p


def keras_adam(
    p, gradients, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False, weight_decay=0
):
    m = v = v_hat = 0
    for t, g in enumerate(gradients, 1):
        p = p - p * weight_decay * learning_rate
        alpha = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        m = m + (g - m) * (1 - beta_1)
        v = v + (g**2 - v) * (1 - beta_2)
        v_hat = np.maximum(v_hat, v)
        p = p - m * alpha / (np.sqrt(v_hat if amsgrad else v) + epsilon)
        yield p


def keras_nadam(p, gradients, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = v = 0
    product = 1.0
    for t, g in enumerate(gradients, 1):
        u_t = beta_1 * (1 - 0.5 * 0.96**t)
        u_t_1 = beta_1 * (1 - 0.5 * 0.96 ** (t + 1))
        product = product * u_t
        m = m + (g - m) * (1 - beta_1)
        v = v + (g**2 - v) * (1 - beta_2)
        m_hat = u_t_1 * m / (1 - product * u_t_1) + (1 - u_t) * g / (1 - product)
        p = p - m_hat * learning_rate / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        yield p


def keras_adamax(p, gradients, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = u = 0
    for t, g in enumerate(gradients, 1):
        m = m + (g - m) * (1 - beta_1)
        u = np.maximum(beta_2 * u, np.abs(g))
        p = p - learning_rate * m / ((1 - beta_1**t) * (u + epsilon))
        yield p


def keras_rmsprop(p, gradients, learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    velocity = average = buffer = 0
    for g in gradients:
        velocity = rho * velocity + (1 - rho) * g**2
        average = rho * average + (1 - rho) * g
        denominator = velocity - average**2 + epsilon if centered else velocity + epsilon
        buffer = momentum * buffer + learning_rate * g / np.sqrt(denominator)
        p = p - buffer
        yield p


def keras_adagrad(p, gradients, learning_rate=0.001, initial_accumulator_value=0.1, epsilon=1e-7):
    accumulator = initial_accumulator_value
    for g in gradients:
        accumulator = accumulator + g**2
        p = p - learning_rate * g / np.sqrt(accumulator + epsilon)
        yield p


def keras_adadelta(p, gradients, learning_rate=0.001, rho=0.95, epsilon=1e-7):
    squares = steps = 0
    for g in gradients:
        squares = rho * squares + (1 - rho) * g**2
        delta = -np.sqrt(steps + epsilon) * g / np.sqrt(squares + epsilon)
        steps = rho * steps + (1 - rho) * delta**2
        p = p + learning_rate * delta
        yield p


def keras_lion(p, gradients, learning_rate=0.001, beta_1=0.9, beta_2=0.99):
    m = 0
    for g in gradients:
        p = p - learning_rate * np.sign(m * beta_1 + g * (1 - beta_1))
        m = m * beta_2 + g * (1 - beta_2)
        yield p


# fnn's preset, its transcription, the keras class, arguments.
KERAS = [
    (keras.sgd, keras_sgd, "SGD", {}),
    (keras.sgd, keras_sgd, "SGD", {"momentum": 0.9}),
    (keras.sgd, keras_sgd, "SGD", {"momentum": 0.9, "nesterov": True}),
    (keras.adam, keras_adam, "Adam", {}),
    (keras.adam, keras_adam, "Adam", {"amsgrad": True, "epsilon": 1e-3}),
    (keras.adamw, keras_adam, "AdamW", {"weight_decay": 0.004}),
    (keras.nadam, keras_nadam, "Nadam", {}),
    (keras.adamax, keras_adamax, "Adamax", {"epsilon": 1e-3}),
    (keras.rmsprop, keras_rmsprop, "RMSprop", {}),
    (keras.rmsprop, keras_rmsprop, "RMSprop", {"centered": True, "momentum": 0.9}),
    (keras.adagrad, keras_adagrad, "Adagrad", {}),
    (keras.adadelta, keras_adadelta, "Adadelta", {"learning_rate": 1.0}),
    (keras.lion, keras_lion, "Lion", {}),
]


def average_momentum(p, gradients, alpha, beta, first=False):
    v = 0
    for t, g in enumerate(gradients):
        v = g if first and t == 0 else beta * v + (1 - beta) * g
        p = p - alpha * v
        yield p


def velocity_momentum(p, gradients, alpha, beta):
    v = 0
    for g in gradients:
        v = beta * v - alpha * g
        p = p + v
        yield p


def accumulated(p, gradients, alpha, eps, inside, decay=None):
    """AdaGrad, or with a decay RMSProp; epsilon inside or outside the root."""
    total = 0
    for g in gradients:
        total = total + g**2 if decay is None else decay * total + (1 - decay) * g**2
        p = p - alpha * g / (np.sqrt(total + eps) if inside else np.sqrt(total) + eps)
        yield p


def adam(p, gradients, alpha, b1, b2, eps):
    m = v = 0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - alpha * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield p


# name, fnn's preset at its arguments, the NumPy loop and its arguments.
TEXTBOOK = [
    ("momentum_average", textbook.momentum_average(0.1, 0.8), average_momentum, (0.1, 0.8)),
    ("momentum_average_from_first", textbook.momentum_average_from_first(0.1, 0.8), average_momentum, (0.1, 0.8, True)),
    ("momentum_velocity", textbook.momentum_velocity(0.1, 0.8), velocity_momentum, (0.1, 0.8)),
    ("adagrad_eps_inside", textbook.adagrad_eps_inside(0.1, 1e-3), accumulated, (0.1, 1e-3, True)),
    ("adagrad_eps_outside", textbook.adagrad_eps_outside(0.1, 1e-3), accumulated, (0.1, 1e-3, False)),
    ("rmsprop_eps_inside", textbook.rmsprop_eps_inside(0.1, 0.8, 1e-3), accumulated, (0.1, 1e-3, True, 0.8)),
    ("rmsprop_eps_outside", textbook.rmsprop_eps_outside(0.1, 0.8, 1e-3), accumulated, (0.1, 1e-3, False, 0.8)),
    ("adam", textbook.adam(0.1), adam, (0.1, 0.9, 0.999, 1e-8)),
]


def random_case(seed, steps=60):
    """Parameters (5,) and gradients (steps, 5) of several sizes, a few of them zero, in float64."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(steps, 5)) * np.array([1, 1, 1e-2, 10, 1])
    return rng.normal(size=5), np.where(rng.uniform(size=gradients.shape) < 0.1, 0, gradients)


def difference(got, expected):
    """Largest difference of two paths, relative to the largest value."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def paths(cases):
    """(name, reference, largest difference) of every preset."""
    with jax.enable_x64(True):
        for name, mine, kind, options in TORCH:
            runs = [random_case(seed) for seed in range(cases)]
            gap = max(difference(fnn_path(mine(**options), *r), torch_path(kind, options, *r)) for r in runs)
            yield f"presets.torch.{name}({_arguments(options)})", "torch", gap
        for mine, numpy, _, options in KERAS:
            runs = [random_case(seed) for seed in range(cases)]
            gap = max(difference(fnn_path(mine(**options), *r), np.stack([*numpy(*r, **options)])) for r in runs)
            yield f"presets.keras.{mine.__name__}({_arguments(options)})", "keras, in NumPy", gap
        for name, mine, numpy, args in TEXTBOOK:
            runs = [random_case(seed) for seed in range(cases)]
            gap = max(difference(fnn_path(mine, *r), np.stack([*numpy(*r, *args)])) for r in runs)
            yield f"presets.textbook.{name}", "formula, in NumPy", gap


def _arguments(options):
    return ", ".join(f"{k}={v}" for k, v in options.items())


def table(cases=100, preset_cases=5):
    """Markdown: optimizer, reference, largest relative difference, random cases."""
    yield "| optimizer | reference | largest relative difference (float64) | trajectories |"
    yield "|---|---|---|---|"
    for family, pairs in OPTAX.items():
        for name, _, _ in pairs:
            yield f"| {name} | optax | {check(family, name, examples=cases):.1e} | {cases} × 50 steps |"
    for name, reference, gap in paths(preset_cases):
        yield f"| {name} | {reference} | {gap:.1e} | {preset_cases} × 60 steps |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
