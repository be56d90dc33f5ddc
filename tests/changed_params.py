"""params.yaml with a change, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from frostline.errors import InputError
from frostline.params.loading import load_params
from tests.project import ROOT, dump_yaml, load_yaml

COMMITTED = ROOT / "params.yaml"


PARTS = "stem, stage1, stage2, stage3, stage4"


LEFT_OUT = object()


def committed() -> dict[str, Any]:
    return load_yaml(COMMITTED.read_text(encoding="utf-8"))


def changed(name: str, value: object) -> dict[str, Any]:
    """Return the committed params with one value changed, added or left out. `name` is dotted."""
    params = committed()
    *sections, last = name.split(".")
    section = params
    for each in sections:
        section = section[each]
    if value is LEFT_OUT:
        del section[last]
    else:
        section[last] = value
    return params


def refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value)


def refusal_of(tmp_path: Path, params: object) -> str:
    return refusal(tmp_path / "params.yaml", dump_yaml(params))
