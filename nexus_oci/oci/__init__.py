"""OCI content: values, references, deterministic archives, and the store. Pure but for the store's files."""
