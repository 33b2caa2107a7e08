// Each kind of bad input, and what a program in TypeScript sees of it.
import * as grpc from "@grpc/grpc-js";

import { Connection, KIND, protos, type Thing } from "./connection.js";

const DICT = "polyglot/errors/typescript/dict";
const QUEUE = "polyglot/errors/typescript/queue";

/** The name of the reason of a refusal, as REASON_EMPTY. An error that the library made by itself has none. */
export function reasonOf(error: unknown): string | null {
  const [details] = (error as Partial<grpc.ServiceError>).metadata?.get("grpc-status-details-bin") ?? [];
  if (!Buffer.isBuffer(details)) return null;
  for (const { type_url, value } of protos.google.rpc.Status.deserialize(details).details) {
    if (type_url !== "type.googleapis.com/google.rpc.ErrorInfo") continue;
    const info = protos.google.rpc.ErrorInfo.deserialize(value);
    if (info.domain === "holdfast.v1") return info.reason;
  }
  return null;
}

export async function showErrors(address: string, connection: Connection): Promise<void> {
  // A connection of its own: a handshake that failed ends it.
  const wrong = new Connection(address);
  await show("wrong-authkey", wrong.authenticate("A".repeat(43)));
  wrong.close();

  const { dicts, manager, queues, values } = connection;
  await connection.open(DICT, KIND.dict);
  const queue = await connection.open(QUEUE, KIND.queue);

  const { token } = connection;
  connection.token = undefined;
  await show("no-token", connection.call(manager, manager.Status, {}));
  connection.token = token;
  const nobody = { name: "polyglot/nobody has made this" };
  await show("missing-object", connection.call(dicts, dicts.Len, {}, nobody));
  await show("wrong-kind", connection.call(values, values.Get, {}, { name: DICT }));

  // The deadline goes to the manager with the call, and the call is withdrawn there when it passes.
  await show("deadline", connection.call(queues, queues.Get, {}, queue, { deadline: Date.now() + 200 }));
  await untilWaiting(connection, queue, "0");

  const waiting = connection.start(queues, queues.Get, {}, queue);
  await untilWaiting(connection, queue, "1");
  waiting.cancel();
  await show("cancel", waiting.response);
  await untilWaiting(connection, queue, "0");

  for (const name of [DICT, QUEUE]) await connection.call(manager, manager.Delete, { name });
}

/** Asks until so many calls wait to take something out. */
async function untilWaiting(connection: Connection, queue: Thing, getters: string): Promise<void> {
  const { queues } = connection;
  while ((await connection.call(queues, queues.Size, {}, queue)).getters !== getters);
}

async function show(name: string, call: Promise<unknown>): Promise<void> {
  const error: unknown = await call.then(() => new Error(`${name}: this was to be refused`), (error: unknown) => error);
  if (!(error instanceof Error) || !("code" in error)) throw error;
  console.log(JSON.stringify({ case: name, code: grpc.status[Number(error.code)], reason: reasonOf(error), shown: String(error) }));
}
