// Checks the handshake against what other implementations have computed, and that it refuses what it must.
import { readFileSync } from "node:fs";

import { prove } from "./handshake.js";

type Challenge = { name: string; client_first: string; server_first: string };
type Vector = Challenge & { authkey: string; binding_hex: string; client_final: string; server_final: string };

export function checkVectors(path: string): boolean {
  const { vectors, refused }: { vectors: Vector[]; refused: Challenge[] } = JSON.parse(readFileSync(path, "utf8"));
  if (!vectors.length || !refused.length) throw new Error(`${path} has no vectors`);
  let good = true;
  for (const vector of vectors) {
    const made = prove(vector.authkey, vector.client_first, vector.server_first, Buffer.from(vector.binding_hex, "hex"));
    if (made.clientFinal !== vector.client_final || made.serverFinal !== vector.server_final) {
      console.log(`${vector.name}: made`, made);
      good = false;
    }
  }
  for (const challenge of refused) {
    try {
      prove("0123456789abcdef", challenge.client_first, challenge.server_first);
    } catch {
      continue;
    }
    console.log(`${challenge.name}: was answered`);
    good = false;
  }
  if (good) console.log(`${vectors.length} vectors hold, ${refused.length} challenges are refused`);
  return good;
}
