"""A matrix with all its singular values made nearly equal, by Newton and Schulz."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, split_of
from fnn.optim.leaves import norm
from fnn.typing import Array, ArrayLike

__all__ = ["orthogonalize"]

QUINTIC = (3.4445, -4.7750, 2.0315)
DION = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
COEFFICIENTS = {"standard": QUINTIC, "dion": DION}
PRECONDITIONINGS = ("frobenius", "spectral", "aol", "schatten")


def _condition(x: Array, preconditioning: str, eps: ArrayLike) -> Array:
    """`x` with singular values of at most 1, where the iteration converges."""
    if preconditioning == "frobenius":
        return x / (norm(x) + eps)
    if preconditioning == "spectral":
        return x / (jnp.linalg.norm(x, ord=2) + eps)
    gram = x @ x.T.conj()
    size = jnp.abs(gram).sum(-1, keepdims=True) if preconditioning == "aol" else norm(gram)
    return x * jax.lax.rsqrt(jnp.maximum(size, eps))


def orthogonalize(
    x: Array, ns_coeffs: Any = QUINTIC, ns_steps: int = 5, preconditioning: str = "frobenius", eps: ArrayLike = 1e-8
) -> Array:
    r"""A matrix with the singular vectors of `x` and singular values near 1, by Newton and Schulz:

    $X \leftarrow aX + (bA + cA^2)X$, $A = XX^*$, starting from $X/(\|X\|_F + \epsilon)$.

    Args:
        x: (m, n).
        ns_coeffs: $(a, b, c)$, or one such row for each iteration.
        ns_steps: how often; a Python integer. Of rows of coefficients there are at most so many, one iteration each.
        preconditioning: what $X$ is divided by before: "frobenius" as above, "spectral" the largest singular value,
            "aol" each row by the root of its row sum of $|A|$, "schatten" the root of $\|A\|_F$.
        eps: $\epsilon$.

    Returns:
        (m, n); the default coefficients are steep rather than convergent and leave the singular values of a full-rank
        matrix within about [0.7, 1.2].

    Raises:
        ValueError: if `x` is no matrix, the coefficients are not (3,) or (n, 3), or the preconditioning is unknown.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.optim.orthogonalize(jnp.eye(2)).round(1).tolist()
        [[..., 0.0], [0.0, ...]]

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
        Boissin et al., Turbo-Muon: Accelerating Orthogonality-Based Optimization with Pre-Conditioning, 2025.
    """
    checks.rank("orthogonalize", "x", x, 2, "(m, n)")
    checks.one_of("orthogonalize", "preconditioning", preconditioning, PRECONDITIONINGS)
    ns_steps = checks.integer("orthogonalize", "ns_steps", ns_steps)
    checks.in_range("orthogonalize", "eps", eps, 0)
    rows = coefficients("orthogonalize", ns_coeffs, ns_steps).astype(jnp.finfo(x.dtype).dtype)
    iterate = functools.partial(
        _iterate, steps=ns_steps if rows.ndim == 1 else rows.shape[0], preconditioning=preconditioning
    )
    return auto_axes(iterate, PartitionSpec(*split_of(x)))(x, rows, eps)


def _iterate(x: Array, rows: Array, eps: ArrayLike, *, steps: int, preconditioning: str) -> Array:
    tall = x.shape[0] > x.shape[1]
    x = _condition(x.T if tall else x, preconditioning, eps)
    for step in range(steps):
        a, b, c = rows if rows.ndim == 1 else rows[step]
        gram = x @ x.T.conj()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def coefficients(where: str, ns_coeffs: Any, ns_steps: int) -> Array:
    """(3,), or (n, 3) of at most `ns_steps` rows."""
    rows = ns_coeffs if isinstance(ns_coeffs, jax.Array) else checks.cast(where, "ns_coeffs", ns_coeffs, float)
    checks.in_range(where, "ns_coeffs", rows)
    if rows.ndim not in (1, 2) or rows.shape[-1] != 3:
        raise ValueError(f"{where}: expected ns_coeffs of shape (3,) or (n, 3), got {rows.shape}")
    if rows.ndim == 2 and rows.shape[0] > ns_steps:
        raise ValueError(f"{where}: expected at most ns_steps = {ns_steps} rows of ns_coeffs, got {rows.shape[0]}")
    return rows
