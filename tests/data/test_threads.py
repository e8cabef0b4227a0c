import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import sleep

import pytest

from resnet_lab.data.threads import in_order


def test_results_come_in_the_order_of_their_items() -> None:
    def late(number: int) -> int:
        sleep(0.002 * (number % 3 == 0))
        return number * number

    with ThreadPoolExecutor(4) as pool:
        assert list(in_order(pool, late, range(50), ahead=5)) == [number * number for number in range(50)]
        assert list(in_order(pool, late, [])) == []


def test_no_more_than_a_few_results_wait() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        for number in in_order(pool, lambda item: begun.append(item) or item, range(100), ahead=5):
            assert len(begun) <= number + 5
    assert len(begun) == 100


def test_closing_drops_what_did_not_begin() -> None:
    begun: list[int] = []
    goes_on = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            goes_on.wait(5)
        return item

    with ThreadPoolExecutor(1) as pool:
        with closing(in_order(pool, work, range(100), ahead=20)) as results:
            assert next(results) == 0
        goes_on.set()
    assert begun in ([0], [0, 1])


def test_an_exception_arrives_in_its_place() -> None:
    def work(item: int) -> float:
        return 1 / (3 - item)

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, work, range(9), ahead=4)
        assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)
