"""CAPTION worker.model.encoder.open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from core.errors import BundleInvalid
from core.settings.value_parsers import Device
from worker.model.encoder.base import KINDS, Encoder, Engine, Pooling, Precision

if TYPE_CHECKING:
    from worker.model.bundle.bundle import Bundle


def open_encoder(bundle: Bundle, threads: int = 0, device: Device = Device.CPU) -> Encoder:
    """Load the encoder that a bundle's manifest names.

    Args:
        bundle: whose encoder.
        threads: of the arithmetic; 0 leaves the engine its default. Torch has one such
            number for the whole process, ONNX Runtime one per encoder.
        device: of torch.

    Raises:
        BundleInvalid: the manifest names an engine or a precision that we don't run.
        EncoderInvalid: the files are no encoder.
    """
    manifest = bundle.manifest
    wanted = (manifest.engine, manifest.precision, manifest.pooling)
    if wanted[:2] not in KINDS or manifest.pooling not in list(Pooling):
        problem = f"this release runs no encoder that is {', '.join(wanted)}"
        raise BundleInvalid(str(bundle.path), problem)
    return _loader(Engine(manifest.engine), device)(
        bundle.encoder,
        threads,
        max_tokens=manifest.max_tokens,
        pooling=Pooling(manifest.pooling),
        precision=Precision(manifest.precision),
    )


def _loader(engine: Engine, device: Device) -> Callable[..., Encoder]:
    if engine is Engine.ONNX:
        from worker.model.encoder.onnx_encoder import OnnxEncoder

        return OnnxEncoder.load
    from worker.model.encoder.torch_encoder import TorchEncoder

    return partial(TorchEncoder.load, device=device)
