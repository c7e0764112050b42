"""This pack on another corpus: text of one's own, shards, or another archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from novum.benchmarks.nanochat.corpus import lasting_corpus
from novum.benchmarks.pack import Pack


def adopt(pack: Pack, corpus: Path) -> Pack:
    """The pack with each profile on the corpus of this name, such as `text:PATH`.

    Raises:
        DataMissing: no corpus is called so.
    """
    name = lasting_corpus(str(corpus))
    profiles = {}
    for key, profile in pack.manifest.profiles.items():
        data = profile.options["data"] | {"corpus": name}
        options = profile.options | {"data": data}
        profiles[key] = profile.model_copy(update={"options": options})
    manifest = pack.manifest.model_copy(
        update={"profiles": profiles, "title": f"{pack.manifest.title}, on {name}"}
    )
    return replace(pack, manifest=manifest, problems=Path(name))
