"""Every field of a configuration, once: name, default, meaning and what its value may be.

A new field is one more row of `FIELDS`; defaults, checks, command line and ``--help`` follow from it.
"""

import functools

from mnist_jax.config.field import Field
from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.config.patterns import PATTERNS_MEANS, PATTERNS_PATTERN, SCALES_MEANS, SCALES_PATTERN
from mnist_jax.config.seeds import SEEDS_MEANS, SEEDS_PATTERN
from mnist_jax.config.variants import VARIANTS_MEANS, VARIANTS_PATTERN

# The title of each group of fields; a group is what stands before the dot.
GROUPS = {
    "": "the run",
    "data": "the data set",
    "model": "the network",
    "augment": "random changes to the training images",
    "optim": "the optimizer and its schedule",
    "init": "what is trained already, and what of it stays as it is",
    "early_stopping": "when to stop before the last epoch",
    "checkpoint": "when checkpoints are written and which are kept",
    "distributed": "several processes",
    "ensemble": "the members of an ensemble",
    "pseudo_label": "teacher, pseudo labels and student",
}

_from_0 = functools.partial(Field, at_least=0)
_from_1 = functools.partial(Field, at_least=1)
_fraction = functools.partial(Field, at_least=0, at_most=1)
_part = functools.partial(Field, at_least=0, less_than=1)
_seeds = functools.partial(Field, pattern=SEEDS_PATTERN, pattern_means=SEEDS_MEANS)

FIELDS = (
    # JAX drops the bits of a seed above 32, so that two larger seeds may be the same without saying so.
    Field(
        "seed", 0, "decides initial values, dropout, augmentation and order", at_least=0, at_most=2**32 - 1
    ),
    _from_0("num_epochs", 5, "passes over the training images; 0 = automatic"),
    _from_0("batch_size", 64, "training images a step, over all devices; 0 = automatic"),
    _from_1("eval_batch_size", 1000, "images a step of evaluation, on each CPU at most 64"),
    Field("report", True, "write report.html at the end"),
    Field(
        "tracking",
        "",
        "trackers that are told of a training, several with commas between them; empty = none",
        pattern=r"|(wandb|mlflow|trackio|tensorboard)(,(wandb|mlflow|trackio|tensorboard))*",
        pattern_means="some of wandb, mlflow, trackio, tensorboard, with commas between them, or nothing",
    ),
    _from_0("steps_per_call", 0, "training steps in one call to the device; 0 = automatic"),
    Field(
        "gpu_graph",
        "auto",
        "what a GPU's host launches at once: as XLA chooses, a step, or all steps of a call",
        choices=("auto", "step", "epoch"),
    ),
    _from_1("log_every_steps", 100, "steps between two lines of metrics.jsonl"),
    Field(
        "data.name",
        "mnist",
        "mnist (with data.dir: what is there), fashion_mnist, emnist/letters, cifar10, ..., or a TFDS name",
        non_empty=True,
    ),
    Field("data.dir", "", "folder with the data; empty = MNIST_JAX_DATA_DIR, the cache or a download"),
    Field(
        "data.fallback",
        "mnist_5k",
        "what stands in for mnist where it cannot be reached; empty = nothing",
        choices=("mnist_5k", ""),
    ),
    _from_0(
        "data.image_size",
        0,
        "longer side that images are brought to, pixels; 0 = as they are, or at most 64 for your own",
    ),
    _from_0(
        "data.train_examples",
        0,
        "train on at most N images, the first (of your own data: drawn over all classes); 0 = all",
    ),
    _from_0(
        "data.validation_examples",
        0,
        "N training images held out for validation",
    ),
    Field(
        "data.validation",
        "auto",
        "by other writers, drawn over all classes, or the last; auto = by writers where they are known",
        choices=("auto", "writers", "classes", "last"),
    ),
    Field(
        "data.group",
        "",
        "who made each of your own pictures: a column of the table, or a regular expression for file names, "
        "such as writer(\\d+); validation and folds keep them apart",
    ),
    Field(
        "model.name",
        "cnn",
        "which network; simple_* have sizes of their own; package.module:Class is one of yours",
        choices=("cnn", "simple_m3", "simple_m5", "simple_m7"),
        pattern=r"\w+(\.\w+)*:\w+(\.\w+)*",
        pattern_means="package.module:Class",
    ),
    Field("model.kwargs", {}, "arguments of your own network's class"),
    Field(
        "model.conv",
        "auto",
        "how convolutions and what follows are computed: C++ where there is a compiler, matrix products, "
        "lax.conv and the rest in one piece, lax.conv and layer by layer, or as the device likes it",
        choices=("auto", "native", "gemm", "fused", "lax"),
    ),
    Field("model.dtype", "float32", "type of the arithmetic", choices=("float32", "bfloat16", "tfloat32")),
    Field("model.features", (32, 32, 64, 64), "channels of each convolution", at_least=1, non_empty=True),
    _from_1("model.kernel_size", 3, "height and width of each kernel, pixels"),
    _from_0("model.pool_after", (1, 3), "convolutions (from 0) that 2x2 pooling follows"),
    _from_1("model.dense_features", 512, "width of the hidden dense layer"),
    _part("model.dropout_rate", 0.2, "share of activations dropped in training"),
    _part("model.batch_norm_momentum", 0.99, "share of the old statistics kept a step"),
    Field(
        "model.batch_norm_warmup",
        True,
        "follow the first batches faster, so that short runs have true statistics; Keras does not",
    ),
    Field("model.batch_norm_epsilon", 1e-3, "added to the variance in BatchNorm", more_than=0),
    Field("augment.enabled", True, "change the training images at all"),
    _part(
        "augment.plain_fraction", 0.0, "share of the steps, the last ones, that see the images as they are"
    ),
    Field(
        "augment.rotation_degrees", 10.0, "rotate by up to this, either way, degrees", at_least=0, at_most=180
    ),
    _part("augment.width_shift_fraction", 0.1, "shift sideways by up to this share of the width"),
    _part("augment.height_shift_fraction", 0.1, "shift up or down by up to this share of the height"),
    Field(
        "augment.shear_degrees", 10.0, "shear by up to this, either way, degrees", at_least=0, less_than=90
    ),
    _part("augment.zoom_fraction", 0.1, "zoom each axis by a factor in 1 - this to 1 + this"),
    Field("augment.fill_mode", "nearest", "what is seen beyond the border", choices=("nearest", "constant")),
    Field(
        "augment.fill_value",
        0.0,
        "brightness beyond the border for fill_mode=constant, and of what is erased, 0 to 1",
    ),
    Field("augment.interpolation_order", 1, "0 = nearest pixel, 1 = bilinear", choices=(0, 1)),
    Field(
        "augment.method",
        "auto",
        "how the warp reads pixels: one by one, by matrix products, or as the device likes it",
        choices=("auto", "gather", "matmul"),
    ),
    _from_0(
        "augment.elastic_alpha", 0.0, "elastic distortion: factor on its smoothed field; 34 is usual, 0 = off"
    ),
    Field("augment.elastic_sigma", 4.0, "how smooth that field is, pixels", more_than=0, at_most=64),
    Field(
        "augment.thickness_pixels",
        0.0,
        "strokes thicker or thinner by up to this, pixels; bright is ink",
        at_least=0,
        at_most=4,
    ),
    _part("augment.contrast_fraction", 0.0, "contrast times a factor in 1 - this to 1 + this"),
    _fraction("augment.noise_stddev", 0.0, "normal noise of a standard deviation up to this"),
    _fraction(
        "augment.disturbed_share", 0.0, "share of the images disturbed: blots, bars, haze, tones, noise, blur"
    ),
    _fraction("augment.cutout_fraction", 0.0, "erase a square, its side this share of the shorter side"),
    _from_0("augment.mixup_alpha", 0.0, "blend pairs of images and labels by Beta(this, this); 0 = off"),
    _from_0("augment.cutmix_alpha", 0.0, "paste boxes of one image into another likewise; 0 = off"),
    Field("optim.name", "adam", "which optimizer", choices=tuple(OPTIMIZERS)),
    Field("optim.learning_rate", 1e-3, "peak learning rate", more_than=0),
    _part("optim.b1", 0.9, "decay of Adam's mean of gradients"),
    _part("optim.b2", 0.999, "decay of Adam's mean of squared gradients"),
    Field("optim.epsilon", 1e-7, "added to the root in Adam", more_than=0),
    Field(
        "optim.momentum",
        -1.0,
        "share of the old direction kept a step; -1 = 0.9 for sgd, 0.99 for lion, 0.95 for muon",
        at_least=-1,
        less_than=1,
    ),
    Field("optim.nesterov", True, "Nesterov's form of the momentum"),
    Field("optim.muon_dense", True, "muon for the kernels of dense layers too, not of convolutions alone"),
    _from_0("optim.weight_decay", 0.0, "share of each kernel taken off per step and unit of learning rate"),
    _from_0("optim.clip_norm", 0.0, "largest global norm of the gradient; 0 = not clipped"),
    _from_1(
        "optim.accumulation_steps",
        1,
        "batches whose mean gradient makes one update; the learning rate follows the updates",
    ),
    _part("optim.label_smoothing", 0.0, "share of the label spread over all classes"),
    _fraction(
        "optim.ema_fraction",
        0.0,
        "memory of the average of the weights, as a share of the run's steps; 0 = off",
    ),
    Field(
        "optim.schedule", "constant", "learning rate over time", choices=("constant", "cosine", "one_cycle")
    ),
    _part("optim.warmup_fraction", 0.0, "length of the rise to the peak, as a share of the run"),
    _fraction("optim.end_learning_rate_fraction", 0.0, "last learning rate as a share of the peak"),
    Field(
        "optim.rate_scales",
        "",
        "factors on the learning rate of some layers or variables; the first that matches counts",
        pattern=SCALES_PATTERN,
        pattern_means=SCALES_MEANS,
    ),
    Field(
        "init.run",
        "",
        "start from the weights of this run, a folder or one of its checkpoints; empty = from scratch",
    ),
    Field(
        "init.freeze",
        "",
        "layers or variables of it that are not trained further",
        pattern=PATTERNS_PATTERN,
        pattern_means=PATTERNS_MEANS,
    ),
    _from_0(
        "early_stopping.patience",
        0,
        "epochs without an improvement after which a run ends; its best epoch is kept; 0 = off",
    ),
    Field(
        "early_stopping.metric",
        "accuracy",
        "what improves: validation accuracy or loss; also what makes a checkpoint the best",
        choices=("accuracy", "loss"),
    ),
    _from_0("early_stopping.min_delta", 0.0, "an improvement is more than this"),
    Field("checkpoint.enabled", True, "write checkpoints"),
    _from_0("checkpoint.every_epochs", 1, "epochs between checkpoints; 0 = not by epochs"),
    _from_0("checkpoint.every_steps", 0, "steps between checkpoints; 0 = not by steps"),
    _from_0("checkpoint.every_seconds", 0.0, "seconds between checkpoints; 0 = not by time"),
    _from_1("checkpoint.keep_latest", 2, "newest checkpoints kept"),
    _from_0("checkpoint.keep_best", 1, "best checkpoints kept, by validation accuracy"),
    Field(
        "distributed.initialize",
        "auto",
        "join the other processes: where the environment names them, always, never",
        choices=("auto", "true", "false"),
    ),
    Field(
        "distributed.coordinator_address",
        "",
        "HOST:PORT of process 0; empty = find out",
        pattern=r"(\S+:\d{1,5})?",
        pattern_means="HOST:PORT, or nothing",
    ),
    _from_0("distributed.num_processes", 0, "number of processes; 0 = find out"),
    Field("distributed.process_id", -1, "number of this process, from 0; -1 = find out", at_least=-1),
    _from_1("distributed.timeout_seconds", 60, "seconds to wait for the others to arrive"),
    Field(
        "ensemble.models",
        "",
        "networks of the members, by name, with commas; empty = model.name",
        pattern=r"(\w+(,\w+)*)?",
        pattern_means="names of networks with commas, or nothing",
    ),
    _seeds("ensemble.seeds", "0:5", "seeds of the members, each with every network"),
    Field(
        "ensemble.variants",
        "",
        "settings in which members differ; the seeds take them in turn",
        pattern=VARIANTS_PATTERN,
        pattern_means=VARIANTS_MEANS,
    ),
    _from_1("pseudo_label.labeled_examples", 1000, "training images whose labels are used"),
    _from_0(
        "pseudo_label.queried_examples",
        0,
        "of the labeled ones, those asked for round by round, where the last network is least sure; "
        "0 = all are drawn at random",
    ),
    Field(
        "pseudo_label.pool",
        "train",
        "images to label: the rest of train, a folder, or the test images (transductive)",
        choices=("train", "folder", "test"),
    ),
    Field("pseudo_label.pool_dir", "", "folder of pictures for pool=folder"),
    _part("pseudo_label.threshold", 0.95, "confidence a pseudo label needs to be used"),
    Field(
        "pseudo_label.targets",
        "hard",
        "what the student learns: the teacher's class or its probabilities",
        choices=("hard", "soft"),
    ),
    _from_0(
        "pseudo_label.views",
        0,
        "augmented copies of each image that the teacher's answer is averaged over, beside the image itself",
    ),
    _from_1("pseudo_label.rounds", 1, "students, each the teacher of the next"),
    _from_1("pseudo_label.teacher_steps", 500, "training steps of the teacher"),
    _from_1("pseudo_label.student_steps", 1000, "training steps of each student"),
    Field(
        "pseudo_label.labeled_share",
        0.2,
        "share of a student's training images with true labels",
        more_than=0,
        less_than=1,
    ),
    _seeds("pseudo_label.seeds", "0:3", "seeds: which images are labeled, and everything else drawn"),
)

FIELDS_BY_NAME = {field.name: field for field in FIELDS}


def fields_of(group: str) -> list[Field]:
    """The fields of a group, in order; "" is the group of those without a dot."""
    return [field for field in FIELDS if field.name.rpartition(".")[0] == group]
