"""Exported results as a stream of bytes, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from core.console import out
from producer.results.export import ExportFormat, writer
from producer.results.pages import Page


def stream_bytes(pages: Iterable[Page], export_format: ExportFormat) -> Iterator[bytes]:
    """Yield the bytes of the pages, page by page."""
    sink = _Sink()
    with writer(sink, export_format, out) as write:
        for page in pages:
            write(page)
            yield sink.drain()
    yield sink.drain()


class _Sink(io.BytesIO):
    """A buffer that is drained repeatedly and keeps its position.

    The position counts drained bytes too, because Parquet stores offsets.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drained = 0  # bytes

    def tell(self) -> int:
        return self._drained + super().tell()

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer of bytes
        return super().write(data)

    def drain(self) -> bytes:
        """Return the bytes that were written since the last call."""
        data = self.getvalue()
        self._drained += len(data)
        self.seek(0)
        self.truncate()
        return data
