"""A straight line through the latest measurements: seconds = a n + b."""

FORGET = 0.98  # weight of all earlier measurements, at each new one


class Fit:
    """Least squares with exponential forgetting; a and b are never negative. One thread at a time."""

    def __init__(self, a: float, b: float) -> None:
        """``a`` and ``b`` are the estimates before the first measurement."""
        self.a, self.b = a, b
        # Sums of weight, n, n^2, seconds and n * seconds, as if n = 1 and n = 2 had been measured.
        self._w, self._n, self._nn, self._s, self._ns = 2.0, 3.0, 5.0, 3 * a + 2 * b, 5 * a + 3 * b

    def __call__(self, n: float) -> float:
        """Seconds expected."""
        return self.a * n + self.b

    def add(self, n: float, seconds: float) -> None:
        sums = (self._w, self._n, self._nn, self._s, self._ns)
        news = (1.0, n, n * n, seconds, n * seconds)
        self._w, self._n, self._nn, self._s, self._ns = (
            FORGET * old + new for old, new in zip(sums, news, strict=True)
        )
        spread = self._w * self._nn - self._n**2
        mean_n, mean_s = self._n / self._w, self._s / self._w
        if spread > 1e-6 * self._w * self._nn:
            self.a = max(0.0, (self._w * self._ns - self._n * self._s) / spread)
        # Where n hardly varies, the slope stays what it was, and the level follows.
        self.a = min(self.a, mean_s / mean_n)
        self.b = mean_s - self.a * mean_n
