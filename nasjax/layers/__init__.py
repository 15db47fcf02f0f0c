"""Array primitives the candidate operations are built from, on ``[C, H, W, B]``.

All are differentiable twice (second-order DARTS needs it). Padding is that of the
PyTorch reference: ``dilation * (kernel // 2)`` zeros on every side, so a stride of
two maps ``H`` to ``ceil(H / 2)``.
"""

from nasjax.layers.activation import relu as relu
from nasjax.layers.dense import convolution as convolution
from nasjax.layers.dense import pointwise as pointwise
from nasjax.layers.dense import rectangular as rectangular
from nasjax.layers.depthwise import DEPTHWISE_FORMS as DEPTHWISE_FORMS
from nasjax.layers.depthwise import depthwise as depthwise
from nasjax.layers.norm import BATCH_NORM_EPSILON as BATCH_NORM_EPSILON
from nasjax.layers.norm import affine as affine
from nasjax.layers.norm import batch_norm as batch_norm
from nasjax.layers.norm import normalised as normalised
from nasjax.layers.norm import pull_normalised as pull_normalised
from nasjax.layers.norm import pull_weighted_norm as pull_weighted_norm
from nasjax.layers.norm import raised as raised
from nasjax.layers.norm import weighted as weighted
from nasjax.layers.pooling import avg_pool_2x2 as avg_pool_2x2
from nasjax.layers.pooling import avg_pool_3x3 as avg_pool_3x3
from nasjax.layers.pooling import max_pool_2x2 as max_pool_2x2
from nasjax.layers.pooling import max_pool_3x3 as max_pool_3x3
