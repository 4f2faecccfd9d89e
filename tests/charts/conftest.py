"""Helm as people run it, over charts with their dependencies inside."""

import copy
import subprocess

import pytest
import yaml

from charts import assemble, toolbox

CI = assemble.SOURCE / "doorbuster" / "ci"


class HelmError(RuntimeError):
    """Helm refused; its words are the message."""


class Objects(list):
    """What was rendered, by kind and name."""

    def one(self, kind, name):
        """The only object of this kind and name."""
        [found] = [e for e in self if (e["kind"], e["metadata"]["name"]) == (kind, name)]
        return found

    def kinds(self):
        """All kinds."""
        return {each["kind"] for each in self}


class Helm:
    """``helm template`` of one version."""

    Error = HelmError

    def __init__(self, tool, tree):
        self._program = toolbox.path(tool)
        self._tree = tree
        self._made = {}
        assert self._program.exists(), "Helm is missing: run `make chart-tools`"

    def render(self, chart, *arguments, values=None):
        """The objects, hooks among them; ``values`` names a file under charts/doorbuster/ci."""
        key = (chart, arguments, values)
        if key not in self._made:
            self._made[key] = self._template(*key)
        return copy.deepcopy(self._made[key])

    def _template(self, chart, arguments, values):
        files = [f"--values={CI / values}.yaml"] if values else []
        argv = [
            self._program,
            "template",
            "shop",
            self._tree / chart,
            "--namespace=shop",
            "--kube-version=1.35.0",
            *files,
            *arguments,
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise HelmError(done.stderr)
        return Objects(each for each in yaml.safe_load_all(done.stdout) if each)


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """All charts, whole."""
    folder = tmp_path_factory.mktemp("charts") / "charts"
    assemble.assemble(folder)
    return folder


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request, tree):
    """Both kept versions of Helm."""
    return Helm(request.param, tree)


@pytest.fixture(scope="session")
def helm4(tree):
    """The newer Helm alone, for what does not depend on it."""
    return Helm("helm4", tree)
