"""People's own pictures: read, decoded, brought to MNIST's form."""
