// Lets npm, running on the build platform, install for another processor. Loaded into npm with --require it says which one that is:
// Debian's npm 9 knows no --cpu. Run on a node_modules folder it does what npm 9 and install scripts, which do not run, leave undone:
// packages for musl only and prebuilt modules of other systems go, and a package that would have to be compiled is refused by name.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const cpu = process.env.NEXUS_TARGET_CPU;
if (require.main !== module) {
  Object.defineProperty(process, "arch", { value: cpu });
}

function packages(folder) {
  if (!fs.existsSync(folder)) return [];
  return fs.readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).flatMap(({ name }) => {
    const below = path.join(folder, name);
    if (name.startsWith("@")) return packages(below);
    return fs.existsSync(path.join(below, "package.json")) ? [below, ...packages(path.join(below, "node_modules"))] : [];
  });
}

function hasModule(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).some((entry) =>
    entry.isDirectory() ? entry.name !== "node_modules" && hasModule(path.join(folder, entry.name)) : entry.name.endsWith(".node"));
}

// prebuildify's folders: linux-x64, darwin-x64+arm64, win32-ia32.
function dropForeignPrebuilds(folder) {
  const prebuilds = path.join(folder, "prebuilds");
  if (!fs.existsSync(prebuilds)) return;
  for (const entry of fs.readdirSync(prebuilds, { withFileTypes: true })) {
    const match = /^(aix|android|darwin|freebsd|linux|openbsd|sunos|win32)-([\w+]+)$/.exec(entry.name);
    if (!entry.isDirectory() || !match) continue;
    if (match[1] !== "linux" || !match[2].split("+").includes(cpu)) fs.rmSync(path.join(prebuilds, entry.name), { recursive: true });
  }
}

function drop(folder, root) {
  fs.rmSync(folder, { recursive: true });
  const bin = path.join(root, ".bin");
  if (!fs.existsSync(bin)) return;
  for (const name of fs.readdirSync(bin)) {
    if (!fs.existsSync(path.join(bin, name))) fs.rmSync(path.join(bin, name));
  }
}

function main(root) {
  const listing = path.join(root, ".package-lock.json");
  const installed = fs.existsSync(listing) ? JSON.parse(fs.readFileSync(listing, "utf8")).packages : {};
  const compiled = [];
  for (const folder of packages(root)) {
    if (!fs.existsSync(folder)) continue;
    const { name, version, libc } = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
    if (Array.isArray(libc) && libc.length > 0 && !libc.includes("glibc")) {
      drop(folder, root);
      continue;
    }
    dropForeignPrebuilds(folder);
    if (!fs.existsSync(path.join(folder, "binding.gyp")) || hasModule(folder)) continue;
    if ((installed[path.join(path.basename(root), path.relative(root, folder))] ?? {}).optional) drop(folder, root);
    else compiled.push(`${name} ${version}`);
  }
  if (compiled.length > 0) {
    console.error(
      `${compiled.join(", ")}: brings no compiled module for linux on ${cpu}; it would be compiled, or fetched by a script, when it is ` +
        "installed, and neither happens here. Use a version or another package that comes with prebuilt modules.");
    process.exit(1);
  }
  fs.rmSync(listing, { force: true });
}

if (require.main === module) main(process.argv[2]);
