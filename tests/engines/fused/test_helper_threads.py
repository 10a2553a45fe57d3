"""Threads that stay between the calls of a compiled loop."""

import os
import threading

import pytest

from charloom.engines.fused.helper_threads import HelperThreads


def meeting(parties):
    """A loop whose parts return only when all of them run at the same time; it notes its threads."""
    barrier, seen = threading.Barrier(parties), []

    def loop(value):
        seen.append(threading.current_thread())
        barrier.wait(timeout=20)
        return value

    return loop, seen


def test_the_smallest_result_of_every_call_is_returned():
    threads = HelperThreads()
    assert threads.run(max, [(1, 2), (3, 4)]) == 2
    assert threads.run(max, [(5, 6)]) == 6
    assert threads.run(max, [(8, 9), (7, 3), (4, 5)]) == 5


def test_the_first_call_runs_on_the_caller_and_the_others_beside_it():
    loop, seen = meeting(3)
    assert HelperThreads().run(loop, [(3,), (2,), (1,)]) == 1
    assert len(set(seen)) == 3
    assert threading.current_thread() in seen


def test_threads_stay_between_calls():
    threads = HelperThreads()
    loop, first = meeting(2)
    threads.run(loop, [(1,), (2,)])
    loop, second = meeting(2)
    threads.run(loop, [(1,), (2,)])
    assert set(first) == set(second)


def test_two_callers_at_once_do_not_wait_for_each_others_helpers():
    threads, found = HelperThreads(), []
    loop, _ = meeting(4)
    callers = [
        threading.Thread(target=lambda: found.append(threads.run(loop, [(1,), (2,)]))) for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert found == [1, 1]


def test_an_error_of_any_call_reaches_the_caller_and_the_threads_go_on():
    threads = HelperThreads()
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda value: 1 // value, [(1,), (0,)])
    assert threads.run(max, [(1, 2), (3, 4)]) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    threads = HelperThreads()
    loop, _ = meeting(2)
    threads.run(loop, [(1,), (2,)])
    process = os.fork()
    if process == 0:
        try:
            loop, _ = meeting(2)
            os._exit(threads.run(loop, [(7,), (8,)]))
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 7
