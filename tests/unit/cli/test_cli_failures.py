"""How a command ends that is told to, interrupted, or fails in a way that a person can mend."""

from __future__ import annotations

import signal

import pytest

from cli.failures import exit_code
from cli.processes import ProcessError


def test_sigterm_lets_work_stop_what_it_started() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stopped = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            stopped.append(True)
        return 0

    with pytest.raises(SystemExit) as ended:
        exit_code(work)
    assert (ended.value.code, stopped) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ProcessError("no port"), 1)])
def test_what_a_person_does_or_can_mend_has_a_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert exit_code(work) == code
    assert ("no port" in capsys.readouterr().err) == (code == 1)
