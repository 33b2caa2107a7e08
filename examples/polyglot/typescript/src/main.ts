// A client of Holdfast in TypeScript with nothing but the .proto files: @grpc/proto-loader and @grpc/grpc-js.
import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";

import { Connection } from "./connection.js";
import { showErrors } from "./errors.js";
import { checkVectors } from "./vectors.js";
import { work } from "./work.js";

const USAGE = `\
client work    [--language typescript] [--parties N] [--adds N] [--locks N] [--items N] [--expect counter=N,entry=N]
client errors          each kind of bad input, and what comes of it
client vectors FILE    checks the handshake against docs/handshake-vectors.json
HOLDFAST_ADDRESS and HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.`;

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

/** Takes white space off the ends, as the manager does, and refuses a file that others can read. */
function readAuthkey(path: string): string {
  if (statSync(path).mode & 0o077) throw new Error(`others can read ${path}: chmod 600 it`);
  return readFileSync(path, "ascii").trim();
}

/** Does something on a connection to the manager that the environment names, with both sides proven. */
async function connected<T>(use: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = new Connection(setting("HOLDFAST_ADDRESS"));
  try {
    await connection.authenticate(readAuthkey(setting("HOLDFAST_AUTHKEY_FILE")));
    return await use(connection);
  } finally {
    connection.close();
  }
}

async function run([mode, ...rest]: string[]): Promise<boolean> {
  if (mode === "work") {
    const string = { type: "string" } as const;
    const { values } = parseArgs({ args: rest, options: {
      language: string, parties: string, adds: string, locks: string, items: string, expect: string,
    } });
    const plan = {
      language: values.language ?? "typescript", parties: Number(values.parties ?? 1), adds: Number(values.adds ?? 10_000),
      locks: Number(values.locks ?? 200), items: Number(values.items ?? 100),
      expect: Object.fromEntries((values.expect ?? "").split(",").map((total) => total.split("="))),
    };
    return connected((connection) => work(connection, plan));
  }
  if (mode === "errors") {
    await connected((connection) => showErrors(setting("HOLDFAST_ADDRESS"), connection));
    return true;
  }
  if (mode === "vectors" && rest[0]) return checkVectors(rest[0]);
  throw new Error(USAGE);
}

run(process.argv.slice(2)).then(
  (good) => { process.exitCode = good ? 0 : 1; },
  (error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  },
);
