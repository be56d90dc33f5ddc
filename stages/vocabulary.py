"""The names that params.yaml, folders, tables and pictures share."""

PARTS = ("stem", "stage1", "stage2", "stage3", "stage4", "head")
"""Every backbone's parts, shallow to deep. stage1 to stage4 are its pieces at stride 4, 8, 16 and 32."""

BACKBONES = ("efficientnet_lite0",)
"""The backbones that stages/backbones.py can build."""

SPLITS = ("train", "validation", "test")
"""What an image may be for a seed."""


def run_name(backbone: str, plan: str) -> str:
    """Return the name of a run, which is also dvc's key of its cell in the matrix."""
    return f"{backbone}-{plan}"
