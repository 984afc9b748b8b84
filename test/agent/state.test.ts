/** The agent's folder: modes, atomic writes, damaged and missing files. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDir } from "../../agent/folder.ts";
import * as state from "../../agent/state.ts";

let base: string;
let dir: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "postern-state-"));
  dir = join(base, "agent");
});
afterEach(() => rmSync(base, { recursive: true }));

const enrolment: state.Enrolment = {
  authority: "https://localhost:8443",
  clientId: "acme.pump",
  issuer: "https://localhost:8443",
  brokers: { mqtts: "mqtts://localhost:8883", wss: null },
  apis: [{ name: "telemetry", audience: "acme.telemetry", kind: "mqtt" }],
};

function fill(): void {
  state.writeKey(dir, "key");
  state.writeCertificate(dir, "certificate");
  state.writeCa(dir, "ca");
  state.writeEnrolment(dir, enrolment);
}

const modeOf = (path: string): number => statSync(path).mode & 0o777;

describe("the agent's folder", () => {
  it("gives back what was written", () => {
    fill();
    expect(state.readIdentity(dir)).toEqual({ enrolment, keyPem: "key", certificatePem: "certificate", caPem: "ca" });
  });

  it("is closed to others, and so is every file in it", () => {
    fill();
    state.writeTokens(dir, { time: undefined, tokens: {} });
    expect(modeOf(dir)).toBe(0o700);
    expect(readdirSync(dir).map((name) => [name, modeOf(join(dir, name))])).toEqual([
      ["agent.json", 0o600],
      ["ca.pem", 0o600],
      ["certificate.pem", 0o600],
      ["key.pem", 0o600],
      ["tokens.json", 0o600],
    ]);
  });

  it("leaves the old file and no draft when a write fails", () => {
    fill();
    // a folder where the file should go makes the rename fail
    rmSync(join(dir, "ca.pem"));
    openDir(join(dir, "ca.pem", "taken"));
    expect(() => state.writeCa(dir, "new")).toThrow("EISDIR");
    expect(readdirSync(dir).filter((name) => name.startsWith("ca.pem."))).toEqual([]);
  });

  it.each(["key.pem", "certificate.pem", "ca.pem", "agent.json"])("is not enrolled without %s", (name) => {
    fill();
    rmSync(join(dir, name));
    expect(() => state.readIdentity(dir)).toThrow(expect.objectContaining({ kind: "not-enrolled" }));
  });

  it.each(["{", "null", '{"authority":1}', '{"authority":"https://a","clientId":"a.b"}'])(
    "refuses an agent.json that says %s",
    (text) => {
      fill();
      writeFileSync(join(dir, "agent.json"), text);
      expect(() => state.readIdentity(dir)).toThrow("is damaged");
    },
  );

  it.each(["", "{", "null", "[]", '{"tokens":{"a":{"token":5}}}', '{"tokens":null,"time":{}}'])(
    "takes a token cache that says %s for an empty one",
    (text) => {
      fill();
      writeFileSync(join(dir, "tokens.json"), text);
      expect(state.readTokens(dir)).toEqual({ time: undefined, tokens: {} });
    },
  );

  it("keeps tokens by audience", () => {
    const entry = { token: "0oRD", expiresAtSeconds: 5, lifetimeSeconds: 3 };
    const time = { offsetSeconds: 1, lastSeenSeconds: 2 };
    state.writeTokens(dir, { time, tokens: { "acme.telemetry": entry } });
    expect(state.readTokens(dir)).toEqual({ time, tokens: { "acme.telemetry": entry } });
  });
});

describe("the default folder", () => {
  it.each([
    [{ XDG_DATA_HOME: "/data" }, 0, "/var/lib/postern-agent"],
    [{ XDG_DATA_HOME: "/data" }, 1000, "/data/postern-agent"],
    [{ XDG_DATA_HOME: "relative" }, 1000, expect.stringMatching(/\/\.local\/share\/postern-agent$/)],
    [{}, 1000, expect.stringMatching(/\/\.local\/share\/postern-agent$/)],
  ])("with %j for user %i", (environment, userId, expected) => {
    expect(state.defaultAgentDir(environment, userId)).toEqual(expected);
  });
});
