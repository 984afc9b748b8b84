/** A broker that somebody else has set up: its address, and a file that says who is who. Nothing can be changed there. */
import { readFileSync } from "node:fs";
import { identities, type Identity, type Profile } from "./profile.ts";

interface GivenCredential {
  readonly username: string;
  readonly password: string;
  readonly clientId?: string;
}

/** Reads the file: JSON, by identity. Throws a TypeError when one is missing. */
export function useGiven(url: string, identitiesFile: string): Profile {
  const { hostname, port, protocol } = new URL(url);
  if (protocol !== "mqtt:" || !["127.0.0.1", "localhost"].includes(hostname)) {
    throw new TypeError("a replay is for a broker on this machine, over mqtt:");
  }
  const given = JSON.parse(readFileSync(identitiesFile, "utf8")) as Partial<Record<Identity, GivenCredential>>;
  const missing = Object.keys(identities).filter((name) => given[name as Identity] === undefined);
  if (missing.length > 0) throw new TypeError(`${identitiesFile} does not say who ${missing.join(", ")} is`);
  return {
    name: url,
    port: Number(port || 1883),
    credential(identity) {
      const { username, password, clientId = username } = given[identity]!;
      return { clientId, username, password: Buffer.from(password) };
    },
    stop: () => Promise.resolve(),
  };
}
