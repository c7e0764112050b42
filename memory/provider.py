"""Vectors from a provider's embedding model, through langchain-core's `Embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from novum.errors import UnknownName
from novum.memory.embeddings import Vectors, normalised, require_package

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

PROVIDERS = {
    "openai": ("langchain_openai", "OpenAIEmbeddings"),
    "ollama": ("langchain_ollama", "OllamaEmbeddings"),
}


class ProviderEmbedder:
    """Any langchain embedding model under a name of its own."""

    def __init__(self, model: Embeddings, name: str) -> None:
        self._model = model
        self.name = name

    @classmethod
    def of(cls, spec: str) -> ProviderEmbedder:
        """From `PROVIDER:MODEL`; key and address come from the provider's own variables.

        Raises:
            UnknownName: no such provider.
            UsageError: its package is not installed.
        """
        provider, _, model = spec.partition(":")
        if provider not in PROVIDERS:
            raise UnknownName(f"no embeddings of {provider!r}; there are: {', '.join(PROVIDERS)}.")
        module, name = PROVIDERS[provider]
        require_package(lambda: import_module(module), provider, f"the embedder {spec}")
        made = getattr(import_module(module), name)(model=model)
        return cls(made, spec)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (texts, dimensions of the model)."""
        return normalised(np.array(self._model.embed_documents(list(texts)), dtype=np.float32))
