"""The image of the Docker provider: an empty one over the host's folders, or a full one."""

from novum.sandboxes.image.build import FULL, HOST, ImageFacts, build_full, build_host, facts

__all__ = ["FULL", "HOST", "ImageFacts", "build_full", "build_host", "facts"]
