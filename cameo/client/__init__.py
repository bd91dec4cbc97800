"""The calls of :class:`cameo.Cameo`, done by a service: ``Client``, and ``AsyncClient`` with await.

Results and errors are the library's. No model is needed here, and no torch is loaded. What is said to the service,
when it is said again, and what answers mean is stated once, in ``calls``, ``batches``, ``exchange``, ``requests`` and
``answers``. The two clients only read, send, wait and hand out.
"""

from cameo.client.asynchronous import AsyncClient
from cameo.client.synchronous import Client

__all__ = ["AsyncClient", "Client"]
