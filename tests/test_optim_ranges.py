"""Averaging constants lie between 0 and 1, whichever optimizer takes them and whatever it calls them."""

import inspect

import pytest

import fnn

AVERAGES = ("b1", "b2", "b3", "beta", "decay", "momentum", "rho")


def settings():
    for name in fnn.optim.__all__:
        make = getattr(fnn.optim, name)
        if inspect.isfunction(make):
            parameters = inspect.signature(make).parameters
            yield from ((name, setting) for setting in AVERAGES if setting in parameters)


@pytest.mark.parametrize("value", [-0.1, 1.5])
@pytest.mark.parametrize(("name", "setting"), list(settings()))
def test_an_average_outside_0_and_1_is_refused(name, setting, value):
    make = getattr(fnn.optim, name)
    parameters = inspect.signature(make).parameters.values()
    needed = {one.name: 0.1 for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
    with pytest.raises(ValueError, match=r"in [\[(]0, 1[\])]"):
        make(**needed | {setting: value})
