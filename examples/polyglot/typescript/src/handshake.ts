// The handshake: SCRAM-SHA-256 (RFC 5802, RFC 7677) as docs/protocol.md says in section 2.
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";

/**
 * Answers the manager's challenge: with what shows the manager that we hold the authkey, and with what the manager has to
 * show the same. The binding is empty in plain text.
 */
export function prove(authkey: string, clientFirst: string, serverFirst: string, binding = Buffer.alloc(0)) {
  const [, header, bare, ownNonce] = /^(.*),,(.*,r=(.*))$/.exec(clientFirst) ?? [];
  const [, nonce, saltText, iterations] = /^r=([^,]*),s=([^,]*),i=(\d{4,7})$/.exec(serverFirst) ?? [];
  const salt = Buffer.from(saltText ?? "", "base64");
  // What is weaker comes from nobody who means well.
  if (header === undefined || ownNonce === undefined || !nonce?.startsWith(ownNonce) ||
      nonce.length < ownNonce.length + 18 || salt.length < 16 || Number(iterations) < 4096 || Number(iterations) > 1_000_000) {
    throw new Error("the manager's challenge is none that a client may answer");
  }

  const mac = (key: Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const salted = pbkdf2Sync(authkey, salt, Number(iterations), 32, "sha256");
  const [clientKey, serverKey] = [mac(salted, "Client Key"), mac(salted, "Server Key")];
  const unproven = `c=${Buffer.concat([Buffer.from(`${header},,`), binding]).toString("base64")},r=${nonce}`;
  const transcript = `${bare},${serverFirst},${unproven}`;
  const signature = mac(createHash("sha256").update(clientKey).digest(), transcript);
  const proof = Buffer.from(clientKey.map((byte, at) => byte ^ signature[at]!));
  return {
    clientFinal: `${unproven},p=${proof.toString("base64")}`,
    serverFinal: `v=${mac(serverKey, transcript).toString("base64")}`,
  };
}
