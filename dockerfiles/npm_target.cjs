// Lets npm, running on the build platform, install for another processor. Loaded into npm with --require it says which one that is:
// Debian's npm 9 knows no --cpu. Run on a node_modules folder it does what npm 9 and install scripts, which do not run, leave undone:
// packages for musl only and modules compiled for other processors go, and a package that would have to be compiled is refused by name.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const cpu = process.env.NEXUS_TARGET_CPU;
const MACHINES = { arm: 40, arm64: 183, ia32: 3, loong64: 258, ppc64: 21, riscv64: 243, s390x: 22, x64: 62 };
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

// Files below a folder, those of packages inside it left out.
function files(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const below = path.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : files(below);
    return entry.isFile() ? [below] : [];
  });
}

// The processor that a compiled file is for, as ELF numbers them; 0 for what is no ELF file.
function machine(file) {
  const header = Buffer.alloc(20);
  const handle = fs.openSync(file, "r");
  fs.readSync(handle, header, 0, 20, 0);
  fs.closeSync(handle);
  return header.toString("latin1", 0, 4) === "\x7fELF" ? header.readUInt16LE(18) : 0;
}

// Packages that bring prebuilt modules for every system lose the others'; returns whether one for ours is there.
function keepOurModules(folder) {
  let found = false;
  for (const file of files(folder).filter((name) => /\.(node|so[.\d]*)$/.test(name))) {
    const ours = machine(file) === MACHINES[cpu];
    if (!ours && (file.endsWith(".node") || machine(file) !== 0)) fs.rmSync(file);
    found ||= ours && file.endsWith(".node");
  }
  return found;
}

// npm 9 only warns, and nobody reads a build's log: lines that begin so are shown to the user.
function tellOfEngines({ name, version, engines }) {
  const wanted = engines?.node;
  try {
    if (wanted && !require("semver").satisfies(process.version, wanted)) {
      console.log(`nexus-oci: ${name} ${version} asks for node ${wanted}; the image has ${process.version}`);
    }
  } catch {
    // Without npm's own semver nothing is compared.
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
    const described = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
    const { name, version, libc } = described;
    if (Array.isArray(libc) && libc.length > 0 && !libc.includes("glibc")) {
      drop(folder, root);
      continue;
    }
    tellOfEngines(described);
    if (keepOurModules(folder) || !fs.existsSync(path.join(folder, "binding.gyp"))) continue;
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
