"""Who has torch and nothing else of ours can install the wheel and audit a model of their own with it."""

import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from frostline.laying.study import COPIED
from tests.project import ROOT, run

AUDITED = """
import torch
from torch import nn
from frostline.backbones.audit import AuditError, audit, digest_frozen

model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
model(torch.zeros(2, 3, 5, 5))
model[:2].requires_grad_(False).eval()
loaded = digest_frozen(model)
optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
for _ in range(2):
    model(torch.randn(4, 3, 5, 5)).square().sum().backward()
    optimizer.step()
print("checked", audit(model, loaded, optimizer))
model[1].train()
model(torch.randn(4, 3, 5, 5))
try:
    audit(model, loaded, optimizer)
except AuditError as error:
    print("found", error)
for name in ("pandas", "dvc", "timm", "pydantic", "torchvision"):
    try:
        __import__(name)
        print("unexpected", name)
    except ImportError:
        pass
"""


def list_needed(name: str) -> set[str]:
    """Return the package and all that it requires on this machine, by name."""
    found, waiting = set[str](), [name]
    while waiting:
        name = canonicalize_name(waiting.pop())
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:  # required on other machines
            continue
        if name not in found:
            found.add(name)
            requirements = [Requirement(line) for line in required]
            waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def beside_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a new environment that sees torch, what torch requires, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    packages = folder / "packages"
    packages.mkdir()
    for name in list_needed("torch"):
        for file in distribution(name).files or []:
            top = Path(file).parts[0]
            if top != ".." and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "torch.pth").write_text(f"{packages}\n")
    return folder / "venv" / "bin" / "python"


def list_tracked(*where: str) -> set[str]:
    return set(run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", *where).stdout.split())


def test_the_wheel_holds_the_package_its_stages_what_a_new_study_is_laid_down_from_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ours = {name for name in names if ".dist-info/" not in name}
    laid = {f"frostline/laid/{name}" for name in (*COPIED, "dvc.yaml", *list_tracked("studies"))}
    assert ours == list_tracked("frostline") | {f"frostline/{name}" for name in list_tracked("stages")} | laid
    assert {"frostline/py.typed", "frostline/report/report.html", "frostline/report/report.css"} <= ours
    licences = {Path(name).name for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_installed_beside_torch_alone_the_audit_finds_what_moved(wheel: Path, beside_torch: Path) -> None:
    installed = [sys.executable, "-m", "pip", "--python", str(beside_torch), "install", "--quiet", "--no-deps"]
    run(ROOT, *installed, "--no-index", "--disable-pip-version-check", str(wheel))
    done = subprocess.run(
        [beside_torch, "-I", "-c", AUDITED], cwd=wheel.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    checked, found = done.stdout.splitlines()
    assert checked == "checked 7"
    assert found.startswith("found ")
    assert "1.running_mean" in found
