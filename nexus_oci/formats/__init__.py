"""The formats that are no container: what goes into them beside the engine's files. Packing itself happens in build stages."""
