"""What is known of the data sets that are read without TensorFlow: classes, counts, file fingerprints.

The SHA-256 of the .gz files are those of TFDS' registry, kept here so that a folder can be checked without
importing TFDS; a test compares the two. Those of MNIST's unpacked files were computed from the verified .gz.
"""

import string
from dataclasses import dataclass

_DIGITS = tuple(string.digits)
_BALANCED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True)
class Family:
    """One data set: MNIST, one of its relatives, CIFAR or SVHN."""

    class_names: tuple[str, ...]  # one name for each label
    num_train: int = 60_000  # how many training examples the published set has
    num_test: int = 10_000  # how many test examples it has
    first_label: int = 0  # the label in the files that stands for class 0


# EMNIST's classes are those of Cohen et al. 2017 (arXiv:1702.05373), counts as in the published files.
FAMILY = {
    "mnist": Family(_DIGITS),
    "fashion_mnist": Family(tuple(_FASHION.split(","))),
    "kmnist": Family(("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
    "emnist/balanced": Family(_BALANCED, 112_800, 18_800),
    "emnist/byclass": Family(
        tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase), 697_932, 116_323
    ),
    "emnist/bymerge": Family(_BALANCED, 697_932, 116_323),
    "emnist/digits": Family(_DIGITS, 240_000, 40_000),
    "emnist/letters": Family(tuple(string.ascii_lowercase), 124_800, 20_800, first_label=1),
    "emnist/mnist": Family(_DIGITS),
    # Its training labels are MNIST's, its first 10,000 test images too (Yadav and Bottou 2019).
    "qmnist": Family(_DIGITS, 60_000, 60_000),
    "cifar10": Family(tuple(_CIFAR10.split()), 50_000, 10_000),
    "cifar100": Family(tuple(_CIFAR100.split()), 50_000, 10_000),
    "svhn_cropped": Family(_DIGITS, 73_257, 26_032),
}

EMBEDDED_NAME = "mnist_5k"
QMNIST = "qmnist"

# SHA-256 -> (data set, split, part), of a file as published (.gz) or unpacked.
FINGERPRINTS = {
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609": ("mnist", "train", "images"),
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c": ("mnist", "train", "labels"),
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6": ("mnist", "test", "images"),
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6": ("mnist", "test", "labels"),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db": ("mnist", "train", "images"),
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": ("mnist", "train", "labels"),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7": ("mnist", "test", "images"),
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2": ("mnist", "test", "labels"),
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84": ("fashion_mnist", "train", "images"),
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845": ("fashion_mnist", "train", "labels"),
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073": ("fashion_mnist", "test", "images"),
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5": ("fashion_mnist", "test", "labels"),
    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4": ("kmnist", "train", "images"),
    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17": ("kmnist", "train", "labels"),
    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5": ("kmnist", "test", "images"),
    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c": ("kmnist", "test", "labels"),
}
