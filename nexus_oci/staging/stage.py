"""The program of the `staged` stage: checks what goes into the bundles of one distribution and platform, and lays them out.

    PYTHONPATH=/nexus PYTHONDONTWRITEBYTECODE=1 python3 -m nexus_oci.staging.stage /package/stage.json

It needs no network and no other program, and runs with python3-minimal. (Run it with `-m`: as a file, `secrets.py` beside it would
hide the standard library's.) In this order it

1. reads the sources of every layout, refuses two of them that give one path in different ways, and checks each path, kind, size,
   mode and link (`checks.py`);
2. searches all files for secrets (`secrets.py`);
3. collects the licences of what the engine brings along (`licences.py`);
4. lays out each layout's tree: hard links, so nothing is copied twice; modes 0755 and 0644 unless `files` says otherwise, every
   time SOURCE_DATE_EPOCH, whatever the umask was;
5. writes each layout's manifest.json and SHA256SUMS (`bundle.py`).

The configuration is JSON. All paths inside a tree are absolute installed paths (`/usr/bin/engine`):

    {
      "name": "nexus-engine", "version": "1.0.0", "platform": "linux/amd64", "distribution": "runtime",
      "commit": "0123abc…", "epoch": 1700000000,
      "secrets": {"allow": {"/usr/lib/nexus-engine/lib/*/tests/*": "why these are none"}},
      "licences": {
        "folder": "/usr/share/doc/nexus-engine/licenses",   where the texts go, and the list THIRD-PARTY-LICENSES beside them
        "runtime": "go",                                    go, python, node or binary: how the engine's parts are found
        "home": "/usr/lib/nexus-engine",                    where the engine is
        "source": "/payload",                               the tree that has the engine
        "texts": "/licences"                                optional: texts that the compile stage left, as MODULE@VERSION/LICENSE
      },
      "layouts": [
        {
          "tree": "/staged/packages",                       made here; must not exist
          "sources": [                                      laid over one another
            {"from": "/payload"},                           what the compile stage left
            {"from": "/package/tree"}                       what the definition adds; may be absent on disk
          ],
          "formats": ["deb", "rpm"],                        whose limits the files must keep
          "files": {                                        what the definition says of single paths; all keys are optional
            "/etc/nexus-engine/runtime.toml": {"config": true, "mode": "0640", "owner": "root", "group": "nexus-engine"}
          },
          "manifest": "/usr/share/nexus-engine/manifest.json",
          "sums": "/usr/share/nexus-engine/SHA256SUMS",     checked with `cd / && sha256sum -c`
          "edited": true                                    leave configuration out of the sums: administrators change it
        },
        {
          "tree": "/staged/archive/nexus-engine-1.0.0-linux-amd64",
          "sources": [
            {"from": "/payload", "moves": {"/usr": "/"}, "leave": ["/usr/lib/systemd/*"]},   `leave` is matched before `moves`
            {"from": "/package/tree", "moves": {"/usr": "/"}},
            {"from": "/package/archive"}                    install.sh, uninstall.sh
          ],
          "formats": ["tar.gz", "tar.zst"],
          "files": {},                                      by the path in this tree, after the moves
          "manifest": "/manifest.json",
          "sums": "/SHA256SUMS"
        }
      ]
    }

A source with a file that an earlier source has, of the same content, is no conflict; a source with `"over": true` replaces it (the
files of `overrides.<format>`). Licence texts are added to every layout, moved as the source `licences.source` is.

Ends with 0, or with 1 and one line for every problem on stderr: `nexus-oci: PATH: what is wrong; what to do`.
"""
