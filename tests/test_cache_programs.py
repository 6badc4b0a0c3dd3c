"""Compiled programs kept on disk: the next process compiles nothing, and one is told where they are not read back."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import fnn

SCRIPT = """
import sys, jax, jax.monitoring, numpy as np, fnn
jax.numpy.zeros(3) + 1  # something was compiled before
fnn.devices.cache_programs(sys.argv[1])
told = []
jax.monitoring.register_event_listener(lambda event, **_: told.append(event))
jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: told.append(event))
before = 0

def compiled(verb):
    global before
    now = told.count("/jax/core/compile/backend_compile_duration")
    print(verb, now - before)
    before = now

x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
y = np.arange(16) % 2
model = fnn.serial(fnn.dense(2), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3), fnn.dense(2))
task = fnn.tasks.multiclass(2)
run = fnn.trainer(model, fnn.optim.adam(1e-2), task, epochs=2, batch_size=4)
key, keys = jax.random.key(0), jax.random.split(jax.random.key(1), 3)
compiled("keys")
trained, _ = run(key, (x, y), np.arange(12))
compiled("run")
run(key, (x, y), np.arange(12))
compiled("again")
fnn.evaluate(model, trained, (x, y), task, np.arange(12, 16))
compiled("evaluate")
jax.vmap(lambda key: run(key, (x, y), np.arange(12)))(keys)
compiled("many")
jax.vmap(lambda key: run(key, (x, y), np.arange(12)))(keys)
compiled("many-again")
fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, x[:, 0]), key=key, epochs=2)
compiled("fit")
for what in ("hits", "misses"):
    print(what, told.count(f"/jax/compilation_cache/cache_{what}"))
"""


def counts_of_a_process(programs):
    """How many programs each verb of a new process compiled or read, and how many were found on disk."""
    run = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT, programs], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return {name: int(count) for name, count in (line.split() for line in run.stdout.splitlines())}


def test_the_second_process_reads_what_the_first_compiled_and_no_process_compiles_anything_twice(tmp_path):
    first, second = (counts_of_a_process(tmp_path / "programs") for _ in range(2))
    assert first["misses"] > 0
    assert second["misses"] == 0
    assert second["hits"] == first["hits"] + first["misses"]
    for counts in (first, second):
        assert counts["run"] == 1
        assert counts["evaluate"] == 1
        assert counts["many"] <= 2  # the runs, and one number for all of them
        assert (counts["again"], counts["many-again"]) == (0, 0)


@pytest.fixture
def settings_of_jax():
    names = [name for name in dir(jax.config) if "cache" in name and name.startswith(("jax_comp", "jax_pers"))]
    before = {name: getattr(jax.config, name) for name in [*names, "jax_enable_compilation_cache"]}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    fnn.programs.disk.use(None)


def test_what_is_not_read_back_is_warned_of(tmp_path, settings_of_jax, monkeypatch):
    monkeypatch.setattr(fnn.devices, "HIT", "never told")
    with pytest.warns(RuntimeWarning, match=r"written to .*programs was not read back"):
        assert fnn.devices.cache_programs(tmp_path / "programs") == tmp_path / "programs"
    assert any((tmp_path / "programs").iterdir())


@pytest.mark.devices(1, 2)
def test_among_several_devices_programs_are_traced_and_results_go_to_any(tmp_path, settings_of_jax):
    fnn.devices.cache_programs(tmp_path / "programs")
    model, x = fnn.dense(2), np.ones((3, 2), np.float32)
    found = fnn.predict(model, fnn.Trained(*model.init(jax.random.key(0), x)), x)
    other = jax.device_put(found, jax.devices()[-1])
    assert (found + other).devices() == other.devices()
    assert any((tmp_path / "programs" / "traced").iterdir()) == (len(jax.devices()) == 1)


def test_a_place_that_is_a_file_is_refused(tmp_path, settings_of_jax):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        fnn.devices.cache_programs(tmp_path / "file")


@pytest.mark.parametrize(
    ("system", "variable"), [("linux", "XDG_CACHE_HOME"), ("win32", "LOCALAPPDATA"), ("darwin", None)]
)
def test_the_place_is_that_of_this_user(system, variable, tmp_path, monkeypatch):
    monkeypatch.setattr(fnn.devices.sys, "platform", system)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / "Library" / "Caches"
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "own"))
        expected = tmp_path / "own"
    assert fnn.devices._user_cache() == expected
