"""What a corruption is given and gives."""

import jax
import numpy as np
from jaxtyping import Float

Image = Float[jax.Array | np.ndarray, "height width"]  # 0 is paper, 1 ink
