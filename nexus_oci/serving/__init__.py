"""A store or a bundle as a read-only registry: the pulling and discovering half of the distribution-spec 1.1, over HTTP."""
