// A connection: the handshake on it, and the metadata that each call on it carries.
import { randomBytes, timingSafeEqual } from "node:crypto";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import type { ProtoGrpcType } from "../generated/all.js";
import { prove } from "./handshake.js";

// The same options as in ./build, where the types are made. 64 bits do not fit a number: fences exceed 2^53 in time.
const loaded = loadSync("all.proto", {
  includeDirs: process.env.POLYGLOT_PROTOS!.split(":"), keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
});
export const protos = grpc.loadPackageDefinition(loaded) as unknown as ProtoGrpcType;
export const v1 = protos.holdfast.v1;

/** The numbers of kinds: the option (holdfast.v1.kind) of their services. */
export const KIND = { dict: 2, value: 3, lock: 8, barrier: 12, queue: 14 };

/** Says which object a call is about. */
export type Thing = { handle: number } | { name: string };

type Done<Response> = grpc.requestCallback<Response>;
/** A method of a stub. Of its overloads this is the last, which is the one that TypeScript infers types from. */
type Unary<Request, Response> = (request: Request, done: Done<Response>) => grpc.ClientUnaryCall;
/** The first of its overloads. */
type UnaryWith<Request, Response> =
  (request: Request, metadata: grpc.Metadata, options: grpc.CallOptions, done: Done<Response>) => grpc.ClientUnaryCall;

/** One channel, which is one connection, and so one session: its handles are good here alone. */
export class Connection {
  calls = 0;
  token: Buffer | undefined;
  readonly manager;
  readonly auth;
  readonly values;
  readonly dicts;
  readonly locks;
  readonly queues;
  readonly barriers;

  constructor(address: string) {
    const target = address.replace(/^http:\/\//, "");
    const insecure = grpc.credentials.createInsecure();
    this.manager = new v1.ManagerService(target, insecure, {
      // Channels to one address share a connection otherwise, and the token is that of a connection.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.default_authority": "localhost",
      // A connection that is made anew would have another session, and no token.
      "grpc.client_idle_timeout_ms": 2 ** 31 - 1,
      // A proxy that the environment names, for the web, does not lead to a manager.
      "grpc.enable_http_proxy": 0,
      // The library's own 4 MiB are less than a value may have.
      "grpc.max_receive_message_length": 64 << 20,
    });
    // Every stub would make a channel of its own.
    const same = { channelOverride: this.manager.getChannel() };
    this.auth = new v1.AuthService(target, insecure, same);
    this.values = new v1.ValueService(target, insecure, same);
    this.dicts = new v1.DictService(target, insecure, same);
    this.locks = new v1.LockService(target, insecure, same);
    this.queues = new v1.QueueService(target, insecure, same);
    this.barriers = new v1.BarrierService(target, insecure, same);
  }

  /** Proves to the manager that we hold the authkey, and has it prove the same. */
  async authenticate(authkey: string): Promise<void> {
    const clientFirst = `n,,n=manager,r=${randomBytes(18).toString("base64")}`;
    const begun = await this.call(this.auth, this.auth.Begin, { client_first: clientFirst });
    const { clientFinal, serverFinal } = prove(authkey, clientFirst, begun.server_first);
    const finished = await this.call(this.auth, this.auth.Finish, { client_final: clientFinal });
    const [shown, expected] = [Buffer.from(finished.server_final), Buffer.from(serverFinal)];
    if (shown.length !== expected.length || !timingSafeEqual(shown, expected)) {
      throw new Error("who answers at this address does not hold the authkey");
    }
    this.token = finished.token;
  }

  /** The object of this name, which is made unless it is there. The spec, an encoded message, says how. */
  async open(name: string, kind: number, spec: Buffer = Buffer.alloc(0)): Promise<Thing> {
    return { handle: (await this.call(this.manager, this.manager.Open, { name, kind, spec })).handle };
  }

  /** Makes a call, on a thing or on the manager itself. */
  call<Request, Response>(
    stub: grpc.Client, method: Unary<Request, Response>, request: Request, thing?: Thing, options: grpc.CallOptions = {},
  ): Promise<Response> {
    return this.start(stub, method, request, thing, options).response;
  }

  /** The same for who may want to cancel it. */
  start<Request, Response>(
    stub: grpc.Client, method: Unary<Request, Response>, request: Request, thing?: Thing, options: grpc.CallOptions = {},
  ): { response: Promise<Response>; cancel: () => void } {
    this.calls++;
    const metadata = new grpc.Metadata();
    if (this.token) metadata.set("holdfast-token-bin", this.token);
    if (thing && "handle" in thing) metadata.set("holdfast-handle", String(thing.handle));
    if (thing && "name" in thing) metadata.set("holdfast-object-bin", Buffer.from(thing.name));
    let cancel = () => {};
    const response = new Promise<Response>((resolve, reject) => {
      const done: Done<Response> = (error, response) => error ? reject(error) : resolve(response!);
      const call = (method as unknown as UnaryWith<Request, Response>).call(stub, request, metadata, options, done);
      cancel = () => call.cancel();
    });
    return { response, cancel };
  }

  close(): void {
    // Not manager.close(): the stub has a method for the RPC Close there, which hides the library's own.
    this.manager.getChannel().close();
  }
}
