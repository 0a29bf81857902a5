# Leaves what /job/in/data.zst unpacks to in /job/out/data.
zstd --quiet --decompress --stdout /job/in/data.zst >/job/out/data
