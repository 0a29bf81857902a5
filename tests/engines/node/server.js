// SPDX-License-Identifier: Apache-2.0

// `node server.js` serves on ENGINE_HOST (0.0.0.0) and ENGINE_PORT (8080) until SIGTERM or SIGINT. `--version` prints
// the version. `--health` asks the running server whether it is ready, and exits with 0 or 1: a container's
// healthcheck, for images with no shell.

import { readFile } from "node:fs/promises";

import { xxh64 } from "@node-rs/xxhash";
import fastify from "fastify";
import semver from "semver";

const { name, version } = JSON.parse(await readFile(new URL("package.json", import.meta.url), "utf8"));
const host = process.env.ENGINE_HOST ?? "0.0.0.0";
const port = Number(process.env.ENGINE_PORT ?? 8080);

const fingerprintBody = {
  type: "object",
  required: ["text"],
  additionalProperties: false,
  properties: { text: { type: "string", maxLength: 1_000_000 } },
};

const satisfiesQuery = {
  type: "object",
  required: ["version", "range"],
  properties: { version: { type: "string", maxLength: 256 }, range: { type: "string", maxLength: 256 } },
};

/** Builds the server: GET /healthz, /readyz, /version and /v1/satisfies, POST /v1/fingerprint. */
function build() {
  const app = fastify({ logger: true, bodyLimit: 4 << 20, ajv: { customOptions: { removeAdditional: false } } });
  let ready = false;
  app.addHook("onReady", async () => {
    ready = true;
  });
  app.addHook("preClose", async () => {
    ready = false;
  });
  app.get("/healthz", async () => ({ status: "ok" }));
  app.get("/readyz", async (_request, reply) => {
    reply.code(ready ? 200 : 503);
    return { status: ready ? "ready" : "stopping" };
  });
  app.get("/version", async () => ({ version }));
  app.post("/v1/fingerprint", { schema: { body: fingerprintBody } }, async (request) => {
    const { text } = request.body;
    return { algorithm: "xxh64", fingerprint: xxh64(text).toString(16).padStart(16, "0"), bytes: Buffer.byteLength(text) };
  });
  app.get("/v1/satisfies", { schema: { querystring: satisfiesQuery } }, async (request, reply) => {
    const { version: candidate, range } = request.query;
    if (semver.valid(candidate) === null || semver.validRange(range) === null) {
      reply.code(400);
      return { error: { code: "bad-request", message: "expected a semantic version and a range" } };
    }
    return { version: candidate, range, satisfies: semver.satisfies(candidate, range) };
  });
  return app;
}

async function healthy() {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(3000) });
    return answer.ok;
  } catch {
    return false;
  }
}

async function serve() {
  const app = build();
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, async () => {
      app.log.info({ signal }, "stopping");
      await app.close(); // lets the requests under way end
      process.exit(0);
    });
  }
  try {
    await app.listen({ host, port });
  } catch (error) {
    app.log.error(error);
    process.exit(1);
  }
}

const [option, ...rest] = process.argv.slice(2);
if (option === undefined) {
  await serve();
} else if (option === "--version" && rest.length === 0) {
  console.log(`${name} ${version}`);
} else if (option === "--health" && rest.length === 0) {
  process.exit((await healthy()) ? 0 : 1);
} else {
  console.error("usage: node server.js [--version | --health]");
  process.exit(2);
}
