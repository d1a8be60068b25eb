"""Keras 3 on TensorFlow."""

from benchmarks.contenders import Runner, Work

TITLE = "Keras on TensorFlow"
PACKAGES = ("keras", "tensorflow")


def build(work: Work) -> Runner:
    """Builds the Keras model on this backend."""
    import tensorflow

    from benchmarks.contenders import keras_shared

    tensorflow.config.experimental.enable_tensor_float_32_execution(work.dtype != "float32")

    def describe() -> str:
        gpus = tensorflow.config.list_physical_devices("GPU")
        return tensorflow.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "cpu"

    return keras_shared.build(work, "tensorflow", describe, ("tensorflow", "tensorflow-cpu"))
