"""Pure JAX: one step, many steps, evaluation. No configuration object, no files."""
