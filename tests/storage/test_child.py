import os
import signal
import time

from moga_st.storage import child


def test_a_look_may_wait_for_a_busy_machine_but_not_go_round_for_ever(monkeypatch):
    """A niced process may get a hundredth of a core: 20 seconds on the clock called good files damaged."""
    monkeypatch.setattr(child, "_CPU_S", 1)
    assert child.survives(lambda: time.sleep(1.5))

    def round_for_ever():
        while True:
            pass

    assert not child.survives(round_for_ever)


def test_a_crash_is_told_and_an_error_is_none():
    assert not child.survives(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert child.survives(lambda: 1 / 0)
    assert child.survives(lambda: None)
