"""What is remembered, and that one command at a time changes it."""

import multiprocessing
import stat

import pytest

from devstack.errors import StackError
from devstack.state import Secrets, State, exclusive, write_atomically


def test_state_survives_in_its_file(tmp_path):
    path = tmp_path / "state.json"
    State(path).update(ports={"redis": 15000}, parts=["redis"])
    again = State(path)
    assert again.ports == {"redis": 15000}
    assert again.parts == ("redis",)
    assert again.bind == "127.0.0.1"


def test_reading_makes_no_file(tmp_path):
    State(tmp_path / "state.json").reload()
    assert list(tmp_path.iterdir()) == []


def test_a_broken_or_foreign_state_is_refused(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("{", encoding="ascii")
    with pytest.raises(StackError, match="cannot be read"):
        State(path)
    path.write_text('{"version": 99}', encoding="ascii")
    with pytest.raises(StackError, match="another version"):
        State(path)


def test_a_failed_write_leaves_the_old_text(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old", mode=0o600)
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text(encoding="ascii") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_secrets_differ_by_name_and_stack_and_are_private(tmp_path):
    one, two = Secrets(tmp_path / "one"), Secrets(tmp_path / "two")
    with pytest.raises(StackError, match="never up"):
        one.named("redis")
    one.ensure()
    two.ensure()
    first = one.named("redis")
    one.ensure()
    assert one.named("redis") == first
    assert len({first, one.named("postgres"), two.named("redis")}) == 3
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def _hold_for_ever(path, held):
    with exclusive(path, within_seconds=1.0):
        held.set()
        multiprocessing.Event().wait(60)


def test_the_lock_is_held_by_one_and_goes_with_its_process(tmp_path):
    path = tmp_path / "lock"
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=_hold_for_ever, args=(path, held))
    holder.start()
    try:
        assert held.wait(10)
        with pytest.raises(StackError, match=f"pid {holder.pid}"):
            exclusive(path, within_seconds=0.2).__enter__()
    finally:
        holder.kill()
        holder.join()
        holder.close()
    with exclusive(path, within_seconds=1.0):
        assert path.exists()
    assert not path.exists()
