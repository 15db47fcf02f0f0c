"""Layers of supernets and of discrete networks, on ``[C, H, W, B]``.

Array functions first (convolutions, pooling, batch normalisation), then the units that
operations are made of, and how weights start. What a supernet runs is differentiable
twice (second-order DARTS needs it). Padding is that of the PyTorch reference:
``dilation * (kernel // 2)`` zeros on every side, so a stride of two maps ``H`` to
``ceil(H / 2)``.
"""

from nasjax.layers.activation import relu as relu
from nasjax.layers.dense import convolution as convolution
from nasjax.layers.dense import pointwise as pointwise
from nasjax.layers.dense import rectangular as rectangular
from nasjax.layers.depthwise import DEPTHWISE_FORMS as DEPTHWISE_FORMS
from nasjax.layers.depthwise import depthwise as depthwise
from nasjax.layers.ends import apply_head as apply_head
from nasjax.layers.ends import apply_stem as apply_stem
from nasjax.layers.ends import enter as enter
from nasjax.layers.ends import head_template as head_template
from nasjax.layers.ends import stem_template as stem_template
from nasjax.layers.init import Constant as Constant
from nasjax.layers.init import Kernel as Kernel
from nasjax.layers.init import Shapes as Shapes
from nasjax.layers.init import draw as draw
from nasjax.layers.init import is_template as is_template
from nasjax.layers.init import kernel as kernel
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
from nasjax.layers.running import update_running as update_running
from nasjax.layers.units import CONV_3X3 as CONV_3X3
from nasjax.layers.units import FACTORIZED_REDUCE as FACTORIZED_REDUCE
from nasjax.layers.units import PLAIN as PLAIN
from nasjax.layers.units import POINTWISE as POINTWISE
from nasjax.layers.units import Context as Context
from nasjax.layers.units import Size as Size
from nasjax.layers.units import Unit as Unit
from nasjax.layers.units import affine_template as affine_template
from nasjax.layers.units import apply_unit as apply_unit
from nasjax.layers.units import asymmetric as asymmetric
from nasjax.layers.units import check_arithmetic as check_arithmetic
from nasjax.layers.units import dense as dense
from nasjax.layers.units import normalise as normalise
from nasjax.layers.units import separable as separable
from nasjax.layers.units import stats_template as stats_template
from nasjax.layers.units import strided as strided
from nasjax.layers.units import unit_template as unit_template
