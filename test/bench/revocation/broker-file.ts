/**
 * Who a broker elsewhere is, in a file of its data directory: as if it had enrolled.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BrokerCredential, BrokerIdentity } from "../../../broker/standalone.ts";

export type BrokerFile = Omit<BrokerIdentity, "current"> & BrokerCredential;

const name = "bench-broker.json";

export function writeBrokerFile(dataDir: string, broker: BrokerFile): void {
  writeFileSync(join(dataDir, name), JSON.stringify(broker), { mode: 0o600 });
}

export function readBrokerFile(dataDir: string): BrokerIdentity {
  const { cert, key, ...identity } = JSON.parse(readFileSync(join(dataDir, name), "utf8")) as BrokerFile;
  return { ...identity, current: () => ({ cert, key }) };
}
