"""Progress: how many fits of a study are done, run and wait, and about how long they will take."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts fits, and the epochs that they have left at most."""

    fits: int = 0
    epochs: int = 0
    done: dict[str, int] = field(default_factory=dict)
    trained_epochs: int = 0
    running: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, fits: int, epochs: int) -> None:
        """Count so many fits more, of so many epochs at most each."""
        with self._lock:
            self.fits += fits
            self.epochs += fits * epochs

    def note(self, fit: str, epochs: int) -> None:
        """Note after how many epochs a fit that runs is."""
        with self._lock:
            self.trained_epochs += max(0, epochs - self.running.get(fit, epochs))
            self.running[fit] = epochs

    def stop(self, fit: str) -> None:
        """Note that the fit runs no more, and has not ended its phase."""
        with self._lock:
            self.running.pop(fit, None)

    def end(self, fit: str, epochs: int) -> None:
        """Note that the fit, of so many epochs at most, has ended its phase, now or before."""
        with self._lock:
            self.running.pop(fit, None)
            self.done[fit] = epochs

    def __str__(self) -> str:
        """Return all of it in a line."""
        with self._lock:
            waiting = max(0, self.fits - len(self.done) - len(self.running))
            told = f"{len(self.done)} of {self.fits} fits done, {len(self.running)} running, {waiting} waiting"
            seconds = time.perf_counter() - self.began
            if not self.trained_epochs or len(self.done) == self.fits:
                return told
            left = max(0, self.epochs - sum(self.done.values()) - sum(self.running.values()))
            return f"{told}, at most {left * seconds / self.trained_epochs / 60:.1f} minutes left"
