"""``kubectl flashsale`` on the real API server with the real operator; here and there through the real kubectl."""

import asyncio
import fcntl
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import yaml

from doorbuster_operator import cluster
from doorbuster_operator.testing.cluster import Kube
from kubectl_flashsale import __main__ as plugin
from kubectl_flashsale import completion

COMMAND_SECONDS = 90.0
QUICKLY_SECONDS = 20.0  # on a busy machine; far from any timeout of a client that retries


def as_a_person_has_it() -> None:
    """Undo what a background job of a script inherits: that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
async def api(servers):
    """The namespace that the operator watches, with the operator up."""
    environment = servers("inventory", "operator")
    async with cluster.connect(environment["KUBECONFIG"]) as connection:
        yield Kube(connection)


@pytest.fixture
def run(servers, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the plugin in this process; returns its exit code, stdout and stderr."""
    kubeconfig = servers("apiserver")["KUBECONFIG"]

    def call(*words: str, config: str = kubeconfig) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            plugin.main([*words, "--kubeconfig", config])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture
def kubectl(servers, stack, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real kubectl with the plugin and its completion on the path, as the wheel puts them there."""
    kubeconfig = servers("apiserver")["KUBECONFIG"]
    for name, module in (
        ("kubectl-flashsale", "kubectl_flashsale"),
        ("kubectl_complete-flashsale", "kubectl_flashsale.completion"),
    ):
        script = tmp_path / name
        python = shlex.quote(sys.executable)
        script.write_text(f'#!/bin/sh\nexec {python} -P -m {module} "$@"\n')
        script.chmod(0o755)
    path = f"{tmp_path}:{stack.layout.bin}:/usr/bin:/bin"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(stack.layout.bin / "kubectl"), *words],
            env={**os.environ, "KUBECONFIG": kubeconfig, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    return call


@pytest.fixture
async def armed(api, name, sale_of, pool_of, run):
    """A sale in its warm-up; nobody can buy yet."""
    await api.create(pool_of(name))
    await api.create(sale_of(name, warmup={"leadSeconds": 86_400}))
    code, out, err = await asyncio.to_thread(run, "status", name, "--for", "condition=Armed")
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1].startswith(f'flashsale "{name}" is Armed: Loaded')
    return name


async def test_commands_change_what_the_operator_does(api, armed, run):
    name = armed
    about = f"flashsale.doorbuster.dev/{name}"
    assert run("suspend", name) == (0, f"{about} suspended\n", "")
    await api.until("FlashSale", name, lambda sale: sale["status"]["gate"]["state"] == "Suspended")
    assert run("suspend", name) == (0, f"{about} suspended (no change)\n", "")
    assert run("resume", name) == (0, f"{about} resumed\n", "")
    await api.until("FlashSale", name, lambda sale: sale["status"]["gate"]["state"] == "Active")
    closes = (await api.get("FlashSale", name))["spec"]["closeTime"]
    later = datetime.fromisoformat(closes) + timedelta(minutes=10)
    code, out, _ = run("extend", name, "--by", "10m")
    told = later.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (code, out) == (0, f"{about} extended until {told}\n")
    await api.until("FlashSale", name, lambda sale: sale["status"]["gate"]["closeTime"] == told)
    code, _, err = run("extend", name, "--until", closes)
    assert (code, "is no extension" in err) == (1, True)
    code, _, err = run("cancel", name)
    assert (code, "--yes" in err) == (1, True)
    assert run("cancel", name, "--yes") == (0, f"{about} cancelled\n", "")
    code, out, err = run("status", name, "--for", "phase=Cancelled", "--timeout", "30s")
    assert code == 0, err
    code, _, err = run("status", name)
    assert code == 1
    assert err.startswith(f'error: flashsale "{name}" will not be Ready: Cancelled: ')
    code, _, err = run("resume", name)
    assert (code, "a cancelled sale stays cancelled" in err) == (1, True)


async def test_story_list_and_report_show_the_same_sale(armed, run):
    name = armed
    code, out, _ = run("get", name)
    assert code == 0
    assert out.startswith(f"FlashSale default/{name}: Warming\n  Next: Open at ")
    for part in (
        "  Items\n",
        "  Conditions\n",
        "  Timeline\n",
        "the gate was armed",
        "5 units: 0 sold",
    ):
        assert part in out
    code, out, _ = run("list")
    line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
    assert line.split()[1] == "Warming"
    listed = json.loads(run("list", "-o", "json")[1])
    opens = [datetime.fromisoformat(each["spec"]["openTime"]) for each in listed["items"]]
    assert opens == sorted(opens)
    shown = yaml.safe_load(run("get", name, "-o", "yaml")[1])
    assert shown["metadata"]["name"] == name
    assert "managedFields" not in shown["metadata"]
    assert f"flashsale.doorbuster.dev/{name}" in run("list", "-A", "-o", "name")[1].splitlines()
    told = json.loads(run("report", name, "-o", "json")[1])
    assert (told["name"], told["isFinal"], told["phase"]) == (name, False, "Warming")


def test_watch_prints_each_change_until_it_is_interrupted(servers, run, armed):
    name = armed
    watch = subprocess.Popen(
        [sys.executable, "-P", "-m", "kubectl_flashsale", "get", name, "-w"],
        env={**os.environ, "KUBECONFIG": servers("apiserver")["KUBECONFIG"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_a_person_has_it,
    )
    guard = threading.Timer(COMMAND_SECONDS, watch.kill)
    guard.start()
    with watch:
        assert watch.stdout is not None
        assert "  phase Warming: " in watch.stdout.readline()
        run("suspend", name)
        seen = []
        while not seen or "condition Open False Suspended" not in seen[-1]:
            line = watch.stdout.readline()
            assert line, seen
            seen.append(line)
        assert "  wanted Suspended (was Active)" in seen[0]
        assert "\x1b" not in "".join(seen)
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=COMMAND_SECONDS)
    guard.cancel()
    assert (watch.returncode, err) == (130, ""), out


def terminal(
    words: list[str], environment: dict[str, str], until: str, answer: bytes
) -> tuple[int, str]:
    """Run the plugin on a terminal, send ``answer`` once it showed ``until``; returns exit code and screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kubectl_flashsale", *words],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "60", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(theirs)
    guard = threading.Timer(COMMAND_SECONDS, process.kill)
    guard.start()
    screen, is_answered = "", False
    while piece := _read(ours):
        screen += piece.decode(errors="replace")
        if until in screen and not is_answered:
            is_answered = os.write(ours, answer) > 0
    guard.cancel()
    os.close(ours)
    return process.wait(), screen


def _own_terminal() -> None:
    """Make stdin the controlling terminal, so that Ctrl-C in it is a signal."""
    as_a_person_has_it()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # so Linux says that nobody is at the other end any more
        return b""


def test_terminal_shows_a_live_tree_and_is_asked_before_a_sale_is_cancelled(servers, armed, run):
    config = {"KUBECONFIG": servers("apiserver")["KUBECONFIG"]}
    code, screen = terminal(["get", armed, "-w"], config, "the gate was armed", b"\x03")
    assert (code, "\x1b[" in screen, "├── " in screen) == (130, True, True)
    plain = config | {"NO_COLOR": "1"}
    code, screen = terminal(["get", armed, "-w"], plain, "phase Warming", b"\x03")
    assert (code, "\x1b[" in screen, "├── " in screen) == (130, False, False)
    code, screen = terminal(["cancel", armed], config, "for ever? [y/N]", b"n\n")
    assert (code, "nothing was changed" in screen) == (1, True)
    assert "wanted    Active" in run("get", armed)[1]


def test_errors_read_as_those_of_kubectl(run, kubectl, stack, tmp_path):
    own = kubectl("flashsale", "get", "nobody")
    theirs = kubectl("get", "fsale", "nobody")
    assert (own.returncode, own.stdout, own.stderr) == (1, "", theirs.stderr)
    operator = str(stack.layout.root / "kubeconfig.operator")
    code, _, err = run("list", "-n", "kube-system", config=operator)
    assert code == 1
    assert err.startswith(
        "Error from server (Forbidden): flashsales.doorbuster.dev is forbidden: User "
    )
    code, _, err = run("list", "--context", "nowhere")
    assert (code, err) == (1, 'error: context "nowhere" does not exist\n')
    code, _, err = run("list", config=str(tmp_path / "absent"))
    assert (code, err.startswith("error: the kubeconfig cannot be used")) == (1, True)
    assert run("list", "-n", "kube-system") == (
        0,
        "",
        "No resources found in kube-system namespace.\n",
    )


def test_dead_or_silent_server_is_told_quickly(run, stack, tmp_path):
    known = yaml.safe_load(stack.layout.kubeconfig.read_text())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        known["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        config = tmp_path / "config"
        config.write_text(yaml.safe_dump(known))
        began = time.monotonic()
        code, _, err = run("list", "--request-timeout", "500ms", config=str(config))
        assert code == 1
        assert (
            err
            == f"Unable to connect to the server: https://127.0.0.1:{port} did not answer in time\n"
        )
    code, _, err = run("list", config=str(config))
    assert (code, err) == (
        1,
        f"The connection to the server 127.0.0.1:{port} was refused"
        " - did you specify the right host or port?\n",
    )
    assert time.monotonic() - began < QUICKLY_SECONDS


async def test_kubectl_finds_the_plugin_and_its_completion(api, name, sale_of, kubectl):
    await api.create(sale_of(name))
    listed = await asyncio.to_thread(kubectl, "flashsale", "list", "-o", "name")
    assert f"flashsale.doorbuster.dev/{name}" in listed.stdout.splitlines()

    offered = await asyncio.to_thread(kubectl, "__complete", "flashsale", "get", name[:-2])
    assert offered.stdout.splitlines() == [name, ":4"]


def test_completion_asks_the_cluster_for_names(servers, tmp_path):
    where = ["--kubeconfig", servers("apiserver")["KUBECONFIG"]]
    spaces = completion.complete([*where, "list", "-n", "kube-s"], completion.ask_cluster)
    assert spaces == (["kube-system"], completion.NO_FILES)
    assert completion.complete([*where, "--context", ""], completion.ask_cluster)[0]
    nowhere = ["--kubeconfig", str(tmp_path / "absent"), "get", ""]
    assert completion.complete(nowhere, completion.ask_cluster) == ([], completion.NO_FILES)
