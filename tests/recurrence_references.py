"""The recurrences as their equations say, one step, one sequence and one row at a time, in NumPy."""

import numpy as np


def sigmoid(z):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


def lstm_step(x, h, c, kernel, recurrent_kernel, bias):
    i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_after_step(x, h, kernel, recurrent_kernel, bias, recurrent_bias):
    x_r, x_z, x_n = np.split(x @ kernel + bias, 3)
    h_r, h_z, h_n = np.split(h @ recurrent_kernel, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * (h_n + recurrent_bias))
    return ((1 - z) * n + z * h,)


def gru_before_step(x, h, kernel, recurrent_kernel, bias):
    hidden = h.shape[0]
    x_r, x_z, x_n = np.split(x @ kernel + bias, 3)
    r = sigmoid(x_r + h @ recurrent_kernel[:, :hidden])
    z = sigmoid(x_z + h @ recurrent_kernel[:, hidden : 2 * hidden])
    n = np.tanh(x_n + (r * h) @ recurrent_kernel[:, 2 * hidden :])
    return ((1 - z) * n + z * h,)


def tanh_step(x, h, kernel, recurrent_kernel, bias):
    return (np.tanh(x @ kernel + h @ recurrent_kernel + bias),)


def relu_step(x, h, kernel, recurrent_kernel, bias):
    return (np.maximum(x @ kernel + h @ recurrent_kernel + bias, 0),)


def variant_lstm_step(x, h, c, params):
    """Every LSTM variant, chosen by the parameters that are there."""
    hidden = c.shape[0]
    from_x, from_h = x @ params["kernel"], h @ params["recurrent_kernel"]
    if "input_scale" in params:
        from_x = normalize(from_x) * params["input_scale"]
        from_h = normalize(from_h) * params["recurrent_scale"]
    z = from_x + from_h + params["bias"]
    peephole = params.get("peephole", np.zeros((3, hidden)))
    i = sigmoid(z[:hidden] + peephole[0] * c)
    f = sigmoid(z[hidden : 2 * hidden] + peephole[1] * c) if z.shape[0] == 4 * hidden else 1 - i
    g = np.tanh(z[-2 * hidden : -hidden])
    c = f * c + i * g
    o = sigmoid(z[-hidden:] + peephole[2] * c)
    inside = normalize(c) * params["cell_scale"] + params["cell_bias"] if "cell_scale" in params else c
    h = o * np.tanh(inside)
    return (h @ params["projection"] if "projection" in params else h), c


def normalize(v, eps=1e-5):
    return (v - v.mean()) / np.sqrt(v.var() + eps)


def run(step, x, carry, counts, reverse=False):
    """Outputs and final carry; `counts` (batch, time) tells which steps count. `carry`: arrays (batch, features)."""
    batch, time = x.shape[:2]
    outputs = np.zeros((batch, time, carry[0].shape[1]), x.dtype)
    final = [part.copy() for part in carry]
    for row in range(batch):
        state = tuple(part[row] for part in carry)
        for t in range(time)[:: -1 if reverse else 1]:
            if counts[row, t]:
                state = step(x[row, t], *state)
                outputs[row, t] = state[0]
        for part, value in zip(final, state, strict=True):
            part[row] = value
    return outputs, tuple(final)
