"""The scripts that are compared, by name."""

from functools import partial

from benchmarks.task import Script
from frostline.errors import InputError, join_names

SCRIPTS = {
    "lightning": "the script one would write: Lightning, ImageFolder, float32; frozen layers wholly frozen",
    "lightning_defaults": "the same with BaseFinetuning.freeze as it comes: BatchNorm inside frozen layers learns on",
    "plain": "the same by hand: PyTorch, ImageFolder, float32; frozen layers in eval mode",
    "project": "this project",
}
"""What each of them is."""

LETTERS = {"lightning": "a", "lightning_defaults": "a*", "plain": "b", "project": "c"}
"""What each is called where a table has no room."""

COMPARED = ("lightning", "plain", "project")
"""Those that are run unless others are asked for."""


def get_script(name: str) -> Script:
    """Return the script. Lightning is imported only for those who ask for it."""
    if name == "project":
        from benchmarks import this_project

        return this_project.train
    if name == "plain":
        from benchmarks import plain_script

        return plain_script.train
    if name not in SCRIPTS:
        raise InputError.of("--scripts", f"name {join_names(SCRIPTS)}", repr(name))
    try:
        from benchmarks import lightning_script
    except ModuleNotFoundError as error:
        fix = "Install it, or compare --scripts plain project."
        raise InputError.of(f"--scripts {name}", "find Lightning installed", f"no module {error.name}", fix) from None
    return partial(lightning_script.train, batch_norm_learns=name == "lightning_defaults")
