"""What a change is given and returns."""

from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]  # 0 is paper, 1 ink
