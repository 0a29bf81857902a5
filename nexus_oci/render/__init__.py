"""Dockerfiles: rendered from templates, and read back to learn what each stage needs. Pure; no engine is asked."""
