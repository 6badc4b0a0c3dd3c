"""Strict by default: no implicit dtype promotion, no warning unread, float64 only where a test asks for it."""

import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is compiling programs that run once: XLA is told not to make them fast, and to take its older
# emitters, which compile in half the time. A flag XLA does not know ends the process, so only where it is known.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    # Two devices, so that everything sharded is tested on any machine.
    "--xla_force_host_platform_device_count=2"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    * version("jaxlib").startswith("0.10."),
)

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile(
    "fnn",
    deadline=None,
    max_examples=25,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("fnn")


@pytest.fixture
def x64():
    """float64 inside the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def optimized():
    """All optimizations, for the tests of kernels; the emitters are still the older ones of `XLA_FLAGS` above."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
