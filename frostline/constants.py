"""The names that params.yaml, folders, tables and pictures share."""

PARTS = ("stem", "stage1", "stage2", "stage3", "stage4", "head")
"""Every backbone's parts, shallow to deep. stage1 to stage4 are its pieces at stride 4, 8, 16 and 32."""
SELECTORS = ("norms", "biases")
"""What may learn anywhere in a backbone: the weights and biases of its normalisation layers, or all its biases."""
MOST_PX = 1024
BACKBONES = {
    "efficientnet_lite0": range(16, MOST_PX + 1),
    "efficientnet_lite1": range(16, MOST_PX + 1),
    "efficientnet_lite2": range(16, MOST_PX + 1),
    "efficientnet_lite3": range(16, MOST_PX + 1),
    "efficientnet_lite4": range(16, MOST_PX + 1),
    "alexnet": range(63, MOST_PX + 1),
    "vgg16": range(32, MOST_PX + 1),
    "vgg16_bn": range(32, MOST_PX + 1),
    "resnet18": range(16, MOST_PX + 1),
    "resnet34": range(16, MOST_PX + 1),
    "resnet50": range(16, MOST_PX + 1),
    "inception_v3": range(75, MOST_PX + 1),
    "googlenet": range(16, MOST_PX + 1),
    "densenet121": range(29, MOST_PX + 1),
    "mobilenet_v2": range(16, MOST_PX + 1),
    "mobilenet_v3_small": range(16, MOST_PX + 1),
    "mobilenet_v3_large": range(16, MOST_PX + 1),
    "efficientnet_b0": range(16, MOST_PX + 1),
    "shufflenet_v2_x1_0": range(16, MOST_PX + 1),
    "squeezenet1_1": range(17, MOST_PX + 1),
    "mnasnet1_0": range(16, MOST_PX + 1),
    "regnet_y_400mf": range(16, MOST_PX + 1),
    "convnext_tiny": range(32, MOST_PX + 1),
    "swin_t": range(16, MOST_PX + 1),
    "vit_b_16": range(224, 225),
    "mlp": range(32, 33),
    "cnn2": range(32, 33),
    "cnn3": range(32, 33),
    "plain20": range(16, MOST_PX + 1),
    "plain56": range(16, MOST_PX + 1),
    "residual20": range(16, MOST_PX + 1),
    "residual56": range(16, MOST_PX + 1),
}
"""The backbones that have a short name, each with the sides of the images it can see, in pixels."""
WITHOUT_WEIGHTS = ("mlp", "cnn2", "cnn3", "plain20", "plain56", "residual20", "residual56")
"""Those of which nobody has published pretrained weights: frostline/networks/small_networks.py writes them out."""
LIBRARIES = ("torchvision", "timm", "models")
"""With these and a slash begin the names of all other backbones: of two libraries, and of files of one's own."""
SPLITS = ("train", "validation", "test")
"""What an image may be in a replicate."""
LEFT_OUT = "left out"
"""What it is where it has no part in one: a duplicate, or beyond a plan's share of the training images."""
IMAGE_FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""What images are decoded from, by Pillow's names: pictures, whose decoders run in this process and start no other."""
IMAGE_ENDINGS = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo",
    ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Endings of files, in lower case, that are taken for images in a folder. What they hold is found by decoding."""
COSTS = ("trainable_parameters", "train_flops", "train_seconds", "peak_memory_bytes")
"""What a plan may cost, in parameters, floating-point operations, seconds and bytes. Advice is for one of them."""
Rates = tuple[float, ...]
"""A learning rate for each phase so far."""


def name_run(backbone: str, plan: str) -> str:
    """Return the name of a run, which is also dvc's key of its cell in the matrix."""
    return f"{backbone}-{plan}"


HUB = "Hugging Face hub"
"""With this the origin in source.json begins, where images come from there."""
MEND_IN_A_FOLDER = "Save the hub's images to a folder, mend them there, and say data.source: folder."
"""What can be done about such images, which nobody here can change where they lie."""
