"""The only wiring of stages and adapters: from a definition on disk to a release in the store, and from there to a registry."""
