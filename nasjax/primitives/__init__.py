"""Array primitives the candidate operations are built from, on ``[C, H, W, B]``.

All are differentiable twice (second-order DARTS needs it). Padding is that of the
PyTorch reference: ``dilation * (kernel // 2)`` zeros on every side, so a stride of
two maps ``H`` to ``ceil(H / 2)``.
"""

from nasjax.primitives.activation import relu as relu
from nasjax.primitives.dense import convolution as convolution
from nasjax.primitives.dense import pointwise as pointwise
from nasjax.primitives.dense import rectangular as rectangular
from nasjax.primitives.depthwise import DEPTHWISE_FORMS as DEPTHWISE_FORMS
from nasjax.primitives.depthwise import depthwise as depthwise
from nasjax.primitives.norm import BATCH_NORM_EPSILON as BATCH_NORM_EPSILON
from nasjax.primitives.norm import affine as affine
from nasjax.primitives.norm import batch_norm as batch_norm
from nasjax.primitives.norm import normalised as normalised
from nasjax.primitives.norm import pull_normalised as pull_normalised
from nasjax.primitives.norm import pull_weighted_norm as pull_weighted_norm
from nasjax.primitives.norm import raised as raised
from nasjax.primitives.norm import weighted as weighted
from nasjax.primitives.pooling import avg_pool_2x2 as avg_pool_2x2
from nasjax.primitives.pooling import avg_pool_3x3 as avg_pool_3x3
from nasjax.primitives.pooling import max_pool_2x2 as max_pool_2x2
from nasjax.primitives.pooling import max_pool_3x3 as max_pool_3x3
