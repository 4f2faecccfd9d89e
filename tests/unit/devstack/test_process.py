"""Recognising a process by what the kernel says of it."""

from pathlib import Path

from devstack import process

LINE = "4242 (odd ) name) S 1 4242 4242 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 987654 1000 200"


def test_the_start_time_is_read_behind_a_name_with_brackets_and_blanks():
    assert process.parse_stat(LINE) == (4242, "S", 1, 987654)


def test_half_a_line_is_no_identity():
    assert process.parse_stat(LINE[:40]) is None
    assert process.parse_stat("") is None


def test_a_run_file_without_the_second_line_names_nobody(tmp_path):
    path = tmp_path / "x.proc"
    assert process.read_identity(path) is None
    path.write_text("boot\n", encoding="ascii")
    assert process.read_identity(path) is None
    path.write_text(f"boot\n{LINE}\n", encoding="ascii")
    assert process.read_identity(path) == process.Identity("boot", 4242, 987654)


def test_a_process_of_another_boot_or_start_time_is_not_alive():
    own = process.parse_stat(Path("/proc/self/stat").read_text(encoding="utf-8"))
    assert own is not None
    pid, ticks = own.pid, own.start_ticks
    boot = process.boot_id()
    assert process.is_alive(process.Identity(boot, pid, ticks))
    assert not process.is_alive(process.Identity("another boot", pid, ticks))
    assert not process.is_alive(process.Identity(boot, pid, ticks + 1))
