"""Failpoints: the n-th passing, once, of what was named, and nothing else."""

import os
import signal
import subprocess
import sys

import pytest

from doorbuster.kit import failpoints


@pytest.fixture(autouse=True)
def disarm():
    yield
    failpoints.arm("")


def died(armed: str, *passed: str) -> tuple[int, str]:
    """Pass points in a process of its own; returns its status and what it said before it could say more."""
    lines = [f"failpoints.reach({name!r}); print({name!r}, flush=True)" for name in passed]
    program = "\n".join(
        ["from doorbuster.kit import failpoints", f"failpoints.arm({armed!r})", *lines]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout


def test_the_process_dies_at_the_named_point_and_says_which():
    assert died("pay.pinned", "pay.opened", "pay.pinned") == (86, "pay.opened\n")


def test_it_dies_at_the_nth_passing():
    assert died("pay.pinned:3", *["pay.pinned"] * 4) == (86, "pay.pinned\n" * 2)


def test_other_names_and_none_at_all_change_nothing():
    assert died("pay.pinned:2", "pay.opened", "pay.pinned") == (0, "pay.opened\npay.pinned\n")
    assert died("", "pay.pinned") == (0, "pay.pinned\n")


def test_several_points_are_armed_at_once():
    assert died("a.b:2, c.d", "a.b", "c.d", "a.b") == (86, "a.b\n")


def test_a_reply_is_lost_once():
    failpoints.arm("reserve.done.reply_lost:2")
    failpoints.lose_reply("reserve.done")
    with pytest.raises(failpoints.ReplyLostError):
        failpoints.lose_reply("reserve.done")
    failpoints.lose_reply("reserve.done")
    assert failpoints.armed() == ()


def test_the_process_stops_at_the_named_point_until_it_is_told_to_go_on():
    program = (
        "from doorbuster.kit import failpoints; failpoints.arm('a.b.stopped')\n"
        "failpoints.reach('a.b'); print('awake'); failpoints.reach('a.b')"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate(timeout=30)
        assert (child.returncode, said) == (0, "awake\n")
    finally:
        child.kill()


def test_a_lost_reply_is_a_connection_error_to_whoever_waits_for_it():
    assert issubclass(failpoints.ReplyLostError, ConnectionError)


@pytest.mark.parametrize("text", ["x", "a.b:0", "a.b:-1", "a.b:x", "A.b", "a.b;c.d", "a.b:1:2"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(failpoints.FailpointError, match="is not name"):
        failpoints.arm(text)
