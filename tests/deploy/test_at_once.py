"""Networks that several threads call at once: the same pixels as one by one, and afterwards all is as before."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest

from quantnas_sr import networks
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.upscaling.video.pipeline import at_once

NAME = "plain_x4_1.0"
every_runtime = pytest.mark.parametrize("runtime", installed_runtimes())


def images(count=6):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, 3, 20 + 3 * (number % 2), 24), dtype=np.uint8) for number in range(count)]


@every_runtime
def test_calls_at_once_make_the_pixels_of_calls_one_by_one(runtime):
    network = networks.opened(NAME, runtime=runtime, threads=3)
    one_by_one = [network(x) for x in images()]
    with network.at_once(3) as count, ThreadPoolExecutor(count) as pool:
        assert count == 3
        together = list(pool.map(network, images()))
    again = [network(x) for x in images()]
    for wanted, found, later in zip(one_by_one, together, again):
        assert (wanted == found).all() and (wanted == later).all()


@every_runtime
def test_there_are_no_more_calls_than_threads(runtime):
    for threads, count in ((1, 1), (2, 2), (8, 3)):
        with networks.opened(NAME, runtime=runtime, threads=threads).at_once(3) as ready:
            assert ready == count


def test_a_checkpoint_takes_its_calls_one_by_one():
    with open_network(networks.file_of(NAME, "network.pth")).at_once(4) as count:
        assert count == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_whichever_call_ends_first(count):
    def slow(number):
        sleep(0.03 if number % 2 else 0)
        return number

    assert list(at_once(slow, range(9), count)) == list(range(9))


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_of_a_call_is_raised_and_no_further_item_is_taken(count):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    def fails(number):
        if number == 2:
            raise ValueError("frame 2")
        return number

    with pytest.raises(ValueError, match="frame 2"):
        list(at_once(fails, items(), count))
    assert len(taken) <= 3 + count
