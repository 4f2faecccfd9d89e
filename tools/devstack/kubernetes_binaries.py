"""Where etcd, kube-apiserver and kubectl come from: given, cached, downloaded, or built once.

In this order: ``$KUBEBUILDER_ASSETS``; the cache; setup-envtest's download, where the internet is
there; ``go build`` of tools/kube, which is all of Kubernetes in one file.
"""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from . import bounded, go_toolchain
from .errors import StackError
from .layout import PROJECT, cache_root
from .part import Say

VERSION = "1.35.4"
SOURCE = PROJECT / "tools" / "kube"
ENVTEST = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1"
ENVTEST_SECONDS = 120
BUILD_SECONDS = 3600
NEEDED = ("etcd", "kube-apiserver")


def locate() -> dict[str, tuple[str, ...]] | None:
    """Component -> the beginning of its command line; None when it has to be obtained."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (Path(assets) if assets else None, _downloaded()):
        if folder is not None and all((folder / name).exists() for name in NEEDED):
            kubectl = folder / "kubectl"
            chosen = str(kubectl) if kubectl.exists() else shutil.which("kubectl")
            if chosen is not None:
                paths = {name: str(folder / name) for name in NEEDED} | {"kubectl": chosen}
                return {name: (path,) for name, path in paths.items()}
    built = _built()
    if built.exists():
        return {name: (str(built), name) for name in (*NEEDED, "kubectl")}
    return None


def command(component: str) -> tuple[str, ...]:
    """The beginning of a component's command line.

    Raises:
        StackError: the binaries are not there yet.
    """
    found = locate()
    if found is None:
        raise StackError("the Kubernetes binaries are missing", hint="run `make servers`")
    return found[component]


def obtain(say: Say) -> None:
    """Download the binaries, or build them; does nothing when they are there.

    Raises:
        StackError: neither worked.
    """
    if locate() is not None:
        return
    try:
        go = go_toolchain.find(say)
    except StackError as error:
        error.hint = (
            "install Go, or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver"
        )
        raise
    if not _download(go, say):
        _build(go, say)


def _downloaded() -> Path:
    return cache_root() / f"kubernetes-{VERSION}"


def _built() -> Path:
    """The binary's place, named by its source, so that a changed source is built again."""
    digest = hashlib.sha256(VERSION.encode())
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((SOURCE / name).read_bytes())
    return cache_root() / f"kube-{VERSION}-{digest.hexdigest()[:12]}" / "kube"


def _download(go: str, say: Say) -> bool:
    """Try setup-envtest for a bounded time; False where there is no internet."""
    say("asking setup-envtest for Kubernetes binaries (two minutes at most)")
    cache_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        minor = VERSION.rpartition(".")[0]
        argv = (go, "run", ENVTEST, "use", f"{minor}.x", "--bin-dir", scratch, "-p", "path")
        status, output = bounded.run(
            argv, Path(scratch), ENVTEST_SECONDS, environment=go_toolchain.NO_C
        )
        folder = Path(output[-1].strip()) if status == 0 and output else Path(scratch)
        if all((folder / name).exists() for name in NEEDED):
            shutil.rmtree(_downloaded(), ignore_errors=True)
            folder.chmod(0o755)
            shutil.move(folder, _downloaded())
            return True
        # Go keeps its downloads read-only; the folder must be removable all the same.
        for kept in Path(scratch).rglob("*"):
            if kept.is_dir():
                kept.chmod(0o755)
    return False


def _build(go: str, say: Say) -> None:
    say(f"building Kubernetes {VERSION} from source: once, 6 to 7 minutes on two cores")
    began = time.monotonic()
    target = _built()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"kube.{os.getpid()}")

    def report(lines: int) -> None:
        say(f"building Kubernetes: {time.monotonic() - began:.0f} s, {lines} packages compiled")

    argv = (
        *(go, "build", "-v", "-trimpath", "-tags", "providerless"),
        *("-ldflags", _link_flags(), "-o", str(scratch), "."),
    )
    status, output = bounded.run(
        argv, SOURCE, BUILD_SECONDS, report, environment=go_toolchain.NO_C
    )
    if status != 0:
        scratch.unlink(missing_ok=True)
        raise StackError("go build of tools/kube failed", log_tail="\n".join(output[-20:]))
    scratch.rename(target)
    say(f"built Kubernetes in {time.monotonic() - began:.0f} s")


def _link_flags() -> str:
    major, minor, _ = VERSION.split(".")
    values = {
        "gitVersion": f"v{VERSION}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = " ".join(f"-X {p}.{key}={value}" for p in packages for key, value in values.items())
    return f"-s -w {stamps}"
