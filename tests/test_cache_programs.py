"""Compiled programs kept on disk: the next process compiles nothing, and one is told where they are not read back."""

import subprocess
import sys

import pytest

import fnn

SCRIPT = """
import sys, jax, jax.monitoring, numpy as np, fnn
jax.numpy.zeros(3) + 1  # something was compiled before
place = fnn.devices.cache_programs(sys.argv[1])
told = []
jax.monitoring.register_event_listener(lambda event, **_: told.append(event))
x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
fnn.fit(fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (x, x[:, 0]), key=jax.random.key(0), epochs=2)
print(*(told.count(f"/jax/compilation_cache/cache_{what}") for what in ("hits", "misses")))
"""


def test_the_second_process_reads_what_the_first_compiled(tmp_path):
    for process in ("first", "second"):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, tmp_path / "programs"], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr[-2000:]
        hits, misses = map(int, run.stdout.split()[-2:])
        if process == "first":
            assert misses > 0
    assert (hits > 0, misses) == (True, 0)


@pytest.fixture
def settings_of_jax():
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    names = [name for name in dir(jax.config) if "cache" in name and name.startswith(("jax_comp", "jax_pers"))]
    before = {name: getattr(jax.config, name) for name in [*names, "jax_enable_compilation_cache"]}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_what_is_not_read_back_is_warned_of(tmp_path, settings_of_jax, monkeypatch):
    monkeypatch.setattr(fnn.devices, "HIT", "never told")
    with pytest.warns(RuntimeWarning, match=r"written to .*programs was not read back"):
        assert fnn.devices.cache_programs(tmp_path / "programs") == tmp_path / "programs"
    assert any((tmp_path / "programs").iterdir())


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
