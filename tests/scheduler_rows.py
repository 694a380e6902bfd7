"""Every scheduler of the product's table with every prediction type that it understands."""

import inspect

import diffusers
import pytest

from tempprop.schedulers import SCHEDULERS

ROWS = [(name, predicts) for name, form in SCHEDULERS.items() for predicts in form.predicts]
every_row = pytest.mark.parametrize(("name", "predicts"), ROWS)


def make_scheduler(name, predicts, **options):
    """Make the scheduler of a row, without clipping unless it is asked for."""
    wanted = {
        "prediction_type": predicts,
        "use_flow_sigmas": predicts == "flow_prediction",
        "clip_sample": False,
    } | options
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    return getattr(diffusers, name)(**{key: wanted[key] for key in wanted if key in known})
