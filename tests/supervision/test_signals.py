import os
import select
import signal

from edgeproxy.supervision.signals import HANDLED, Signals


def test_signals_come_as_numbers_and_handlers_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in HANDLED}
    with Signals() as signals:
        assert signals.take() == []
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        assert poll.poll(10_000)
        assert signals.take() == [signal.SIGHUP, signal.SIGTERM]
        assert signals.take() == []
    assert {number: signal.getsignal(number) for number in HANDLED} == before


def test_a_storm_of_signals_does_not_block() -> None:
    with Signals() as signals:
        for _ in range(100_000):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.SIGHUP in signals.take()
