"""The plan: the steps that a definition expands to. Pure data with a digest; a step is keyed by what it reads."""
