"""One graph copy between two ends, whatever they are: a store, a registry, a bundle (design: decisions 6 and 7)."""
