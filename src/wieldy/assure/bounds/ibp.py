"""Interval bound propagation: the box of every value, from the boxes of what it is made of.

Source: Gowal et al. 2018 (arXiv 1810.12715), section 3.
"""

from collections.abc import Mapping

from wieldy.assure.bounds.rounding import Box
from wieldy.assure.bounds.steps import Step, Steps


def image(step: Step, boxes: Mapping[str, Box]) -> Box:
    """Return the box of what a step yields."""
    return step.image(*(boxes[source] for source in step.sources))


def boxes_of(steps: Steps, inputs: Mapping[str, Box]) -> dict[str, Box]:
    """Return the box of every value.

    Args:
        steps: of a program.
        inputs: boxes of its inputs, of n examples.

    Cost: two forward passes in float64.
    """
    boxes = dict(inputs)
    for name, step in steps.steps.items():
        boxes[name] = image(step, boxes)
    return boxes
