"""Random changes to the training images, on the device."""
