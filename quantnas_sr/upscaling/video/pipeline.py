"""What comes before, in and behind a loop, in threads of their own, with queues that are bounded."""

import queue
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Callable, Deque, Generic, Iterable, Iterator, Optional, TypeVar

T = TypeVar("T")
R = TypeVar("R")
#: Seconds between two looks at whether the other side still lives.
_LOOK = 0.2
_END = object()


class _Lane(Generic[T]):
    """A bounded queue between two threads. Each of them can give up, which the other notices."""

    def __init__(self, depth: int) -> None:
        self._queue: queue.Queue[object] = queue.Queue(depth)
        self._given_up = threading.Event()
        self.error: Optional[BaseException] = None

    def put(self, item: object) -> bool:
        """Wait for room; False if nobody takes anything any more."""
        while not self._given_up.is_set():
            try:
                self._queue.put(item, timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def items(self) -> Iterator[T]:
        """The items until the end, or until somebody gives up."""
        while not self._given_up.is_set():
            try:
                item = self._queue.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if item is _END:
                return
            yield item

    def end(self) -> None:
        """No more items come."""
        self.put(_END)

    def give_up(self, error: Optional[BaseException] = None) -> None:
        """Stop both sides, and let go of what is in the queue."""
        self.error = self.error or error
        self._given_up.set()


@contextmanager
def ahead(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Iterate in another thread, at most ``depth`` items ahead. What the iteration raises is raised here."""
    lane: _Lane[T] = _Lane(depth)

    def work() -> None:
        try:
            for item in items:
                if not lane.put(item):
                    return
        except BaseException as error:
            lane.error = error
        lane.end()

    def found() -> Iterator[T]:
        yield from lane.items()
        if lane.error is not None:
            raise lane.error

    with _running(work, lane):
        yield found()


@contextmanager
def behind(consume: Callable[[T], None], depth: int) -> Iterator[Callable[[T], None]]:
    """Give a function that hands items to ``consume`` in another thread, at most ``depth`` of them waiting.

    At the end all of them have been consumed, unless the block raised. What ``consume`` raises is raised here.
    """
    lane: _Lane[T] = _Lane(depth)

    def work() -> None:
        try:
            for item in lane.items():
                consume(item)
        except BaseException as error:
            lane.give_up(error)

    def give(item: T) -> None:
        if not lane.put(item) and lane.error is not None:
            raise lane.error

    with _running(work, lane) as thread:
        yield give
        lane.end()
        while thread.is_alive():
            thread.join(_LOOK)  # for long, perhaps; with a limit, so that every system lets Ctrl-C through
        if lane.error is not None:
            raise lane.error


def at_once(function: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """What a function makes of items, in their order, where ``count`` calls run at once, and one more waits."""
    if count == 1:
        yield from map(function, items)
        return
    running: Deque[Future[R]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                running.append(pool.submit(function, item))
                del item  # before the next one is made
                if len(running) > count:
                    yield _result(running.popleft())
            while running:
                yield _result(running.popleft())
        finally:
            for call in running:
                call.cancel()


def _result(call: "Future[R]") -> R:
    while not wait([call], timeout=_LOOK).done:  # with a limit, so that every system lets Ctrl-C through
        pass
    return call.result()


@contextmanager
def _running(work: Callable[[], None], lane: "_Lane[T]") -> Iterator[threading.Thread]:
    """Run a thread, which has ended when this ends: what it uses is closed then."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        lane.give_up()
        _wait_for(thread)


def _wait_for(thread: threading.Thread) -> None:
    """Wait for the end of a thread, which is near; a signal that comes meanwhile is heard after that."""
    interruption = None
    while thread.is_alive():
        try:
            thread.join(_LOOK)
        except BaseException as error:  # Ctrl-C once more
            interruption = error
    if interruption is not None:
        raise interruption
