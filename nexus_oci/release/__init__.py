"""The release: image configs and manifests, indexes, artifacts, and the one index that pins them all."""
