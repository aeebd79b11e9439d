import random
import threading
import time

import pytest

from gpu_pile.run.threads import map_threads, run_jobs


class Recorder:
    """A job of n numbers; squares them; checks the promises of parallel.Job."""

    def __init__(self, n, cost=1, stop_at=None, fail_at=None, seed=0):
        self.n, self.cost, self.stop_at, self.fail_at = n, cost, stop_at, fail_at
        self.random = random.Random(seed)
        self.results, self.closed, self.abandoned = [], 0, 0
        self.reading, self.consuming = threading.Lock(), threading.Lock()
        self.threads = set()

    def open(self):
        for i in range(self.n):
            assert self.reading.acquire(blocking=False), "two threads read one shard at the same time"
            time.sleep(self.random.random() / 2000)
            self.reading.release()
            yield i

    def process(self, block):
        self.threads.add(threading.get_ident())
        time.sleep(self.random.random() / 500)
        if block == self.fail_at:
            raise ValueError(f"block {block}")
        return block, block * block

    def consume(self, result):
        assert self.consuming.acquire(blocking=False), "two threads consume at the same time"
        self.results.append(result)
        self.consuming.release()
        return result[0] != self.stop_at

    def close(self):
        self.closed += 1

    def abandon(self):
        self.abandoned += 1


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_block_is_consumed_once_and_in_order(workers):
    jobs = [Recorder(n, cost=n, seed=n) for n in (0, 1, 2, 17, 40)]
    run_jobs(jobs, workers)
    for job in jobs:
        assert job.results == [(i, i * i) for i in range(job.n)]
        assert (job.closed, job.abandoned) == (1, 0)


def test_one_shard_keeps_all_workers_busy():
    job = Recorder(60)
    run_jobs([job], 4)
    assert len(job.threads) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_stopping_drops_what_comes_after(workers):
    job = Recorder(50, stop_at=7)
    run_jobs([job], workers)
    assert [r[0] for r in job.results] == list(range(8))
    assert job.closed == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_error_stops_everything_and_is_raised(workers):
    bad, good, waiting = Recorder(50, cost=2, fail_at=5), Recorder(2000, cost=3), Recorder(9, cost=1)
    with pytest.raises(ValueError, match="block 5"):
        run_jobs([bad, waiting, good] if workers == 3 else [bad], workers)
    assert (bad.closed, bad.abandoned) == (0, 1)
    if workers == 3:
        assert good.closed + good.abandoned == 1
        assert waiting.closed + waiting.abandoned <= 1


def test_map_threads_keeps_the_order_and_raises():
    def slow_square(n):
        time.sleep(0.001 * (n % 3))
        return n * n

    assert map_threads(slow_square, range(20), 3) == [n * n for n in range(20)]
    assert map_threads(slow_square, [], 3) == []

    def fail(n):
        if n == 0:
            raise KeyError("x")

    with pytest.raises(KeyError):
        map_threads(fail, range(6), 2)
