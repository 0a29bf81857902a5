// Lets npm, running on the build platform, install for another processor. Loaded into npm with --require it says which one that is:
// Debian's npm 9 knows no --cpu. Run on a node_modules folder it removes packages that are for musl only, which npm 9 cannot tell apart.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

if (process.env.NEXUS_TARGET_CPU) {
  Object.defineProperty(process, "arch", { value: process.env.NEXUS_TARGET_CPU });
}

function packages(folder) {
  if (!fs.existsSync(folder)) return [];
  return fs.readdirSync(folder).flatMap((name) => {
    const below = path.join(folder, name);
    if (name.startsWith("@")) return packages(below);
    return fs.existsSync(path.join(below, "package.json")) ? [below, ...packages(path.join(below, "node_modules"))] : [];
  });
}

function isForMuslOnly(folder) {
  const { libc } = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
  return Array.isArray(libc) && libc.length > 0 && !libc.includes("glibc");
}

if (require.main === module) {
  for (const folder of packages(process.argv[2])) {
    if (fs.existsSync(folder) && isForMuslOnly(folder)) fs.rmSync(folder, { recursive: true });
  }
}
