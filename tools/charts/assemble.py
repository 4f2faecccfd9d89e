"""Charts with their dependencies inside, ready for ``helm install`` and ``helm package``."""

import shutil
from pathlib import Path

from .parts import OPERATOR, PARTS
from .render import PROJECT

SOURCE = PROJECT / "charts"
LIBRARY = "doorbuster-lib"


def assemble(target: Path) -> None:
    """Write every chart to ``target``, each with the library inside, the umbrella with all parts inside.

    What was there is replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(SOURCE, target)
    folders = [f"doorbuster-{part.name}" for part in (*PARTS, OPERATOR)]
    for folder in folders:
        shutil.copytree(SOURCE / LIBRARY, target / folder / "charts" / LIBRARY)
    for folder in folders:
        shutil.copytree(target / folder, target / "doorbuster" / "charts" / folder)
