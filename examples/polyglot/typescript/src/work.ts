// The work that six programs in six languages do at the same time, on the same objects.
import type { Datum, Datum__Output } from "../generated/holdfast/v1/Datum.js";
import { type Connection, KIND, type Thing, v1 } from "./connection.js";
import { reasonOf } from "./errors.js";

export type Plan = {
  language: string; parties: number; adds: number; locks: number; items: number;
  /** What the totals must be, where they are not those of the parties. */
  expect: { counter?: string; entry?: string };
};

const integer = (integer: number): Datum => ({ integer });
const text = (text: string): Datum => ({ text });
const map = (entries: Record<string, Datum>): Datum =>
  ({ map: { entries: Object.entries(entries).map(([key, value]) => ({ key: text(key), value })) } });
const field = (datum: Datum__Output | null, name: string): Datum__Output | null | undefined =>
  datum?.map?.entries.find((entry) => entry.key?.text === name)?.value;

/** Prints how far a step is, twice a second and at its end. */
function progress(name: string, of: number): () => void {
  let [done, printed] = [0, Date.now()];
  return () => {
    if (++done === of || Date.now() - printed >= 500) {
      printed = Date.now();
      console.log(JSON.stringify({ progress: name, done }));
    }
  };
}

/** What came out of the queue. */
type Consumed = { from: Record<string, number>; redelivered: number };

export async function work(connection: Connection, plan: Plan): Promise<boolean> {
  const begin = performance.now();
  await addToCounter(connection, plan.adds);
  const abandoned = await changeEntryUnderLock(connection, plan.locks);
  const consumed = await produceAndConsume(connection, plan);
  await waitForTheOthers(connection, plan.parties);

  // Nobody changes anything any more.
  const { values, dicts } = connection;
  const counter = Number((await connection.call(values, values.Get, {}, { name: "polyglot/counter" })).value?.integer);
  const got = await connection.call(dicts, dicts.Get, { key: text("total") }, { name: "polyglot/dict" });
  const entry = Number(got.value?.integer);
  const size = await drain(connection, consumed);
  const ok = holds(plan.expect.counter ?? `${plan.parties * plan.adds}`, counter) &&
    holds(plan.expect.entry ?? `${plan.parties * plan.locks}`, entry) && size.size === "0" && size.unfinished === "0";
  console.log(JSON.stringify({
    language: plan.language, door: "unary", calls: connection.calls, seconds: (performance.now() - begin) / 1000, counter,
    entry, produced: plan.items, consumed_from: consumed.from, redelivered: consumed.redelivered, abandoned, ok,
  }));
  return ok;
}

/** Needs no lock: each add is one call, and each call is atomic. */
async function addToCounter(connection: Connection, adds: number): Promise<void> {
  const { values } = connection;
  const counter = await connection.open("polyglot/counter", KIND.value, v1.ValueSpec.serialize({ initial: integer(0) }));
  const step = progress("adds", adds);
  for (let n = 0; n < adds; n++) {
    await connection.call(values, values.Add, { delta: integer(1) }, counter);
    step();
  }
}

/**
 * Reads an entry and writes back one more: two calls, which only the lock makes one. Tells how often the lock came from
 * somebody who was lost with it.
 */
async function changeEntryUnderLock(connection: Connection, times: number): Promise<number> {
  const { dicts, locks } = connection;
  const lock = await connection.open("polyglot/lock", KIND.lock);
  const dict = await connection.open("polyglot/dict", KIND.dict);
  const step = progress("locks", times);
  let abandoned = 0;
  for (let n = 0; n < times; n++) {
    // Without a patience this waits as long as it takes, and the lock is ours then.
    const grant = await connection.call(locks, locks.Acquire, {}, lock);
    // Whoever died has written the entry or has not: it is whole in both cases.
    if (grant.abandoned) abandoned++;
    const { value } = await connection.call(dicts, dicts.Get, { key: text("total") }, dict);
    const more = integer(Number(value?.integer ?? 0) + 1);
    await connection.call(dicts, dicts.Set, { key: text("total"), value: more }, dict);
    await connection.call(locks, locks.Release, { fence: grant.fence }, lock);
    step();
  }
  return abandoned;
}

/** What is taken comes back if its consumer dies before it says that it is done. */
function openQueue(connection: Connection): Promise<Thing> {
  return connection.open("polyglot/queue", KIND.queue, v1.QueueSpec.serialize({ delivery: "QUEUE_DELIVERY_ON_DONE" }));
}

async function produceAndConsume(connection: Connection, plan: Plan): Promise<Consumed> {
  const { queues } = connection;
  const queue = await openQueue(connection);
  const produced = progress("produced", plan.items);
  for (let number = 0; number < plan.items; number++) {
    const item = map({ from: text(plan.language), number: integer(number) });
    await connection.call(queues, queues.Put, { items: [item] }, queue);
    produced();
  }
  const consumed: Consumed = { from: {}, redelivered: 0 };
  const step = progress("consumed", plan.items);
  for (let n = 0; n < plan.items; n++) {
    await consume(connection, queue, consumed, {});
    step();
  }
  return consumed;
}

/** Takes one item, whoever produced it, and says that it is done. */
async function consume(connection: Connection, queue: Thing, consumed: Consumed, request: { patience_ms?: number }): Promise<void> {
  const { queues } = connection;
  const { items } = await connection.call(queues, queues.Get, request, queue);
  for (const { item, delivery, redelivered } of items) {
    const from = field(item, "from")?.text ?? "?";
    consumed.from[from] = (consumed.from[from] ?? 0) + 1;
    if (redelivered) consumed.redelivered++;
    await connection.call(queues, queues.TaskDone, { deliveries: [delivery] }, queue);
  }
}

async function waitForTheOthers(connection: Connection, parties: number): Promise<void> {
  const { barriers } = connection;
  const barrier = await connection.open("polyglot/barrier", KIND.barrier, v1.BarrierSpec.serialize({ parties }));
  await connection.call(barriers, barriers.Wait, {}, barrier);
  console.log(JSON.stringify({ progress: "barrier", done: parties }));
}

/**
 * A program that was killed has put in more than it has taken out: whoever comes takes the rest. Then waits for what others
 * have taken and not done yet.
 */
async function drain(connection: Connection, consumed: Consumed) {
  const { queues } = connection;
  const queue = await openQueue(connection);
  try {
    for (;;) await consume(connection, queue, consumed, { patience_ms: 0 });
  } catch (error) {
    if (reasonOf(error) !== "REASON_EMPTY") throw error;
  }
  await connection.call(queues, queues.Join, {}, queue);
  return connection.call(queues, queues.Size, {}, queue);
}

/** A number with a + after it is a least one. */
function holds(expected: string, number: number): boolean {
  return expected.endsWith("+") ? number >= Number(expected.slice(0, -1)) : number === Number(expected);
}
