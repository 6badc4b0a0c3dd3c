r"""Loss functions: predictions first, targets second, one value per example.

What "one value per example" means follows from the formula, and no loss decides it by the shape it meets:

- A formula on one number gives one value per element, in the shape of the predictions: `squared_error`,
  `absolute_error`, `l2_loss`, `huber_loss`, `smooth_l1_loss`, `log_cosh`, `quantile_loss`, `hinge_loss`,
  `perceptron_loss`, `sigmoid_binary_cross_entropy`, `sigmoid_focal_loss`, the likelihoods of one number. For
  predictions of shape (batch,) that is one per example.
- A formula on a vector uses up its `axis` (the last by default): `softmax_cross_entropy`, `kl_divergence`,
  `cosine_distance`, the multiclass and the embedding losses.
- `mse`, `mae`, `half_mse` use up every axis but the first: one value per example of any shape.

Every loss takes, by keyword:

- `reduction`: "none" returns the values, "sum" their sum, "mean" their mean; "pair" returns `(values, counts)`, of
  which the mean is $\sum$ values $/\sum$ counts. A loss of your own that leaves some entries out (`where`,
  `ignore_index`) or weighs classes returns such a pair to `fnn.fit`, `fnn.evaluate` and all others that train or
  score, so that they average over what counts; a loss of this module, bare or by `functools.partial`, they ask for it.
- `weights`: $w$, of the shape of the values or of its leading axes (one per example). The values become $w l$, the
  sum $\sum w l$ and the mean $\sum w l / \sum w$, which is 0 if all weights are 0.
- `where`: booleans in the same shapes. What is left out loses 0, does not count in the mean, and may hold
  anything, infinities and NaN included. Losses over an axis also take a `where` of the predictions' shape,
  which leaves out single classes or features.

Shapes must match: nothing is broadcast, (n, 1) against (n,) is an error. What the Args of a loss do not allow is
refused: a shape or a number by a `ValueError`, integers in the place of predictions or others in that of class numbers
by a `TypeError`. Numbers that are traced cannot be looked at; a class number out of range then makes its loss NaN.

Half-precision inputs are computed in float32; a loss has the dtype of its predictions, and targets follow it. Names,
argument order and values are those of optax, where it has the loss; the `reduction` of `dice_loss` is over classes, as
there. They differ in this: `triplet_margin_loss` takes absolute differences, for odd degrees too; a class number left
out by `where` loses 0, as the one-hot row does, where `optax.softmax_cross_entropy_with_integer_labels` gives a
negative loss.
"""
# ruff: noqa: F403

from fnn.losses.binary import *
from fnn.losses.classification import *
from fnn.losses.distribution import *
from fnn.losses.divergence import *
from fnn.losses.embedding import *
from fnn.losses.labels import *
from fnn.losses.margin import *
from fnn.losses.regression import *
from fnn.losses.robust import *
from fnn.losses.segmentation import *
from fnn.losses.sequence import *

__all__ = sorted(
    name for name, value in globals().items() if getattr(value, "__module__", "").startswith(f"{__name__}.")
)
