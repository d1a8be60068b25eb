"""A learning rate found by one sweep over the training images: the command and its parts."""
