"""The choice of the engine that opens a bundle's encoder.

The module of the engine is imported only then. Not covered: which kind of encoder a version
has; `model build` and `model convert` decide that.
"""

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
        bundle: the bundle with the encoder.
        threads: threads of the arithmetic; 0: the engine's default. Torch has one such number
            for the whole process, ONNX Runtime one for each encoder.
        device: device of torch.

    Raises:
        BundleInvalid: this release does not support the engine, precision or pooling.
        EncoderInvalid: the files are not an encoder.
    """
    manifest = bundle.manifest
    kind = (manifest.engine, manifest.precision)
    if kind not in KINDS or manifest.pooling not in list(Pooling):
        named = f"{' '.join(kind)} with {manifest.pooling} pooling"
        problem = f"this release cannot run an encoder in {named}; upgrade, or build it again"
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
