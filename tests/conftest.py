"""Strict by default: dtypes and ranks are not promoted, no warning unread, float64 only where a test asks for it.

The suite runs as users do, on one CPU device with XLA's default flags. `@pytest.mark.devices(2)` marks a test for two
devices, `devices(1, 2)` one for either: the job that runs them is `JAX_NUM_CPU_DEVICES=2 pytest -m devices`.
"""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import jax.monitoring
import pytest

import fnn

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes millions of small objects that live; to look through them again and again took 3 % of the time.
gc.set_threshold(50_000, 20, 50)

hypothesis.settings.register_profile(
    "fnn",
    deadline=None,
    max_examples=25,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("fnn")


def pytest_configure(config):
    """Workers and the processes that tests start compile the same programs: the first to need one keeps it for all.

    What examples leave behind lies in the same folder; `tmp_path` stays, as pytest has it, to be looked at.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="fnn-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    set_everywhere("jax_compilation_cache_dir", os.path.join(folder, "programs"))
    set_everywhere("jax_traceback_in_locations_limit", 0)  # lines that nobody reads took time to note
    set_everywhere("jax_persistent_cache_min_compile_time_secs", 0)
    set_everywhere("jax_persistent_cache_min_entry_size_bytes", -1)


def set_everywhere(name, value):
    """A setting of JAX, in this process and those it starts."""
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)


def pytest_runtest_setup(item):
    mark = item.get_closest_marker("devices")
    if mark and jax.device_count() not in mark.args:
        pytest.skip(f"for {mark.args[0]} devices: JAX_NUM_CPU_DEVICES={mark.args[0]} pytest -m devices")


@pytest.fixture
def x64():
    """float64 inside the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def compilations():
    """How many programs XLA has compiled so far, or read from its cache."""
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **about: seen.append(event) if event.endswith("backend_compile_duration") else None
    )
    return lambda: len(seen)


@pytest.fixture(autouse=True)
def same_weights_of_torch():
    """Modules of torch draw from a state of the process: the weights would be others in each run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def programs_of_its_own(request):
    """A test that changes what the library is made of shares no compiled program with the others."""
    changes = "monkeypatch" in request.fixturenames
    if changes:
        fnn.programs.clear()
    yield
    if changes:
        fnn.programs.clear()


MEMORY = 2 * 2**30
"""Bytes that a process of the tests may take before it lets go of its programs."""


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """The programs of all files together do not fit into a small machine; the next file reads back what it needs."""
    yield
    pages = Path("/proc/self/statm")
    if pages.exists() and int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MEMORY:
        fnn.programs.clear()
        jax.clear_caches()
        gc.collect()
