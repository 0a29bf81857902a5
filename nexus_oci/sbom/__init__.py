"""What is inside an image or an artifact, and its two standard descriptions: SPDX 2.3 and CycloneDX 1.6."""
