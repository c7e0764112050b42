"""What is measured: the pack contract, the harness, and the packs that come with Novum."""
