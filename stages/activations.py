"""Saved activations: what a training step must keep of each image until its backward pass, which freezing saves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

# BatchNorm refuses to learn from one value a channel, which is what one small image may come to.
FEW_IMAGES = 2


def saved_activation_bytes(step: Callable[[int], object]) -> int:
    """Return the bytes that each image adds to what `step`, a training step on so many images, saves for backward.

    Two steps are taken, one on twice as many images as the other. What both save alike is no image's: parameters, their
    copies in bfloat16, and the statistics of norms. The images and labels that are saved count too.
    """
    saved = []
    for images in (FEW_IMAGES, 2 * FEW_IMAGES):
        with watch_saved() as storages:
            step(images)
        saved.append(sum(storages.values()))
    return (saved[1] - saved[0]) // FEW_IMAGES


@contextmanager
def watch_saved() -> Iterator[dict[int, int]]:
    """Yield the bytes of every storage that autograd saves meanwhile, by its address, and so each of them once.

    They lie at different addresses as long as none is freed, which is until backward.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages
