"""Results as a stream of bytes, for whoever sends them on piece by piece."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from core.console import out
from producer.results.export import ExportFormat, writer
from producer.results.pages import Page


def stream_bytes(pages: Iterable[Page], export_format: ExportFormat) -> Iterator[bytes]:
    """Write the pages; yield what was written, page by page, in bounded memory."""
    sink = _Sink()
    with writer(sink, export_format, out) as write:
        for page in pages:
            write(page)
            yield sink.drain()
    yield sink.drain()


class _Sink(io.BytesIO):
    """A stream that hands on what is written to it, and still knows where it is."""

    def __init__(self) -> None:
        super().__init__()
        self._before = 0  # bytes handed on

    def tell(self) -> int:
        return self._before + super().tell()

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        return super().write(data)

    def drain(self) -> bytes:
        """Return what was written since the last time."""
        held = self.getvalue()
        self._before += len(held)
        self.seek(0)
        self.truncate()
        return held
