"""The loading of a verified bundle into a model that answers.

Not covered: which version a name stands for, and whether the loaded model answers
(`worker.model.registry`).
"""

from __future__ import annotations

from core.settings.value_parsers import Device
from worker.model.bundle.bundle import Bundle
from worker.model.cascade.classifier import Cascade
from worker.model.cascade.classifier import read as read_cascade
from worker.model.encoder.open import open_encoder
from worker.model.loaded_model import DEFAULT_SCOPE_THRESHOLD, LoadedModel
from worker.model.retrieval.confidence import Confidence, LogisticCurve
from worker.model.retrieval.index import Index, RetrievalParameters
from worker.model.retrieval.ivf import FILE, IvfIndex
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.model.retrieval.lexicon import Lexicon, unseen_weight
from worker.model.retrieval.shortlist import Shortlist
from worker.model.thread_pool import ThreadPool
from worker.text.normalization import Script, normalize_for_match


def load(
    bundle: Bundle,
    version: str,
    threads: int = 0,
    runners_up: int = 0,
    device: Device = Device.CPU,
) -> LoadedModel:
    """Load a verified bundle.

    Args:
        bundle: the verified bundle.
        version: NAME@NUMBER, as results name it.
        threads: threads of the arithmetic; 0: the engine's default.
        runners_up: how many more entries are stored with every result.
        device: device of torch.

    Raises:
        BundleInvalid: an array has the wrong shape, or this release cannot run the encoder.
        ExtraMissing: the bundle is a large one, and faiss is not installed.
        EncoderInvalid: the encoder cannot be loaded.
    """
    manifest = bundle.manifest
    encoder = open_encoder(bundle, threads, device)
    knowledge = KnowledgeBase.of(bundle.entries())
    scope_threshold = manifest.scope_cut
    return LoadedModel(
        version=version,
        kind=f"{manifest.engine} {manifest.precision}",
        encoder=encoder,
        index=_index(bundle, knowledge),
        knowledge=knowledge,
        confidence=_confidence(bundle),
        threshold=manifest.threshold,
        languages=frozenset(manifest.languages),
        budget=encoder.budgets[0],
        cascade=_cascade(bundle, knowledge),
        scope_threshold=DEFAULT_SCOPE_THRESHOLD if scope_threshold is None else scope_threshold,
        runners_up=runners_up,
        pool=ThreadPool.of(threads),
    )


def _cascade(bundle: Bundle, knowledge: KnowledgeBase) -> Cascade | None:
    phrasings = [normalize_for_match(text) for text in knowledge.phrasings]
    return read_cascade(bundle, phrasings, knowledge.entry_of)


def _index(bundle: Bundle, knowledge: KnowledgeBase) -> Index | Shortlist:
    rows = len(knowledge.rows)
    codes = bundle.array("codes")
    idf = bundle.array("idf", len(codes))
    head = bundle.array("head", rows, len(knowledge.entries)) if bundle.has("head") else None
    dimensions = bundle.manifest.dimensions
    index = Index.of(
        parameters=_parameters(bundle),
        entry_of=knowledge.row_entries,
        texts=[normalize_for_match(text) for text in knowledge.rows],
        phrasings=len(knowledge.phrasings),
        embeddings=bundle.array("embeddings", rows, dimensions),
        lexicon=Lexicon(codes, idf, unseen_weight(len(knowledge.phrasings))),
        head=head,
    )
    if FILE not in bundle.manifest.files:
        return index
    return Shortlist(index, IvfIndex.read(bundle.path / FILE, rows, dimensions))


def _parameters(bundle: Bundle) -> RetrievalParameters:
    stored = bundle.manifest.retrieval
    lexical = {Script(name): weight for name, weight in stored["lexical"].items()}
    return RetrievalParameters(**stored | {"lexical": lexical})


def _confidence(bundle: Bundle) -> Confidence:
    return Confidence(
        **{name: LogisticCurve(**curve) for name, curve in bundle.manifest.confidence.items()}
    )
