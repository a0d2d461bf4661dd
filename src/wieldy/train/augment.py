"""Random views of pictures, by kornia: a flip, and a shift with the border padded."""

from collections.abc import Callable

from torch import Tensor

from wieldy.core.optional import need


def flip_and_shift(height: int, width: int, *, shift: int = 2) -> Callable[[Tensor], Tensor]:
    """Return an augmentation that mirrors half of the pictures and shifts each by up to `shift` pixels.

    Its randomness is torch's global generator, which `fit` seeds at every step.
    """
    kornia = need("kornia.augmentation", "compress", "augmentation")
    views: Callable[[Tensor], Tensor] = kornia.AugmentationSequential(
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomCrop((height, width), padding=shift, padding_mode="reflect", cropping_mode="slice"),
    )
    return views
