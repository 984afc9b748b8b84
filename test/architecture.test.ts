import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, test } from "vitest";

/** Who may import whom. A room not named here may be imported by nobody. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  agent: ["shared"],
  "broker/trust": ["broker/sqlite", "shared"],
  "broker/gate": ["broker/trust", "shared"],
  "broker/sqlite": ["shared"],
  "broker/registry": ["broker/sqlite", "broker/trust", "shared"],
  "broker/authority": ["broker/registry", "shared"],
  "broker/mqtt": ["broker/gate", "broker/sqlite", "shared"],
  // up.ts, standalone.ts, embed.ts and index.ts wire the rooms together
  broker: ["broker/authority", "broker/gate", "broker/mqtt", "broker/registry", "broker/trust", "shared"],
  // the resource server's side, which knows no registry
  verify: ["broker/trust", "shared"],
  cli: ["agent", "broker", "shared"],
  demo: ["agent", "cli", "shared"],
};

/** Which room, or which file, owns an npm package. */
const owners: Readonly<Record<string, readonly string[]>> = {
  "@noble/curves": ["shared/deterministic-signer.ts"],
  "@peculiar/asn1-cms": ["broker/authority"],
  "@peculiar/asn1-schema": ["broker/authority"],
  "@peculiar/x509": ["broker/authority", "agent/certificate-request.ts"],
  aedes: ["broker/mqtt"],
  "better-sqlite3": ["broker/sqlite/sqlite.ts"],
  "cbor-x": ["shared/cbor.ts"],
  commander: ["cli"],
  fastify: ["broker/authority"],
  jose: ["shared/jwt.ts"],
  mqtt: ["agent"],
  "mqtt-packet": ["broker/mqtt"],
  nodemailer: ["broker/authority/accounts/mail.ts"],
  pino: ["broker", "cli"],
  "prom-client": ["broker/metrics.ts"],
  "rate-limiter-flexible": ["broker/gate", "broker/mqtt"],
  "reflect-metadata": ["broker/authority", "agent/certificate-request.ts"],
  "smol-toml": ["cli"],
  ws: ["broker/mqtt"],
  zod: ["broker/authority", "cli"],
};

const root = new URL("..", import.meta.url).pathname;

interface Import {
  readonly from: string;
  readonly target: string;
  readonly typeOnly: boolean;
}

const files = ["shared", "agent", "broker", "verify", "cli", "demo"].flatMap((room) =>
  readdirSync(join(root, room), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join(room, file)),
);
const imports = files.flatMap(importsOf);

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), "utf8");
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^;"']*?from\s*["']([^"']+)["']|import\(\s*["']([^"']+)["']\s*\)|\nimport\s*["']([^"']+)["']/g;
  return [...text.matchAll(pattern)].map((match) => ({
    from: file,
    target: match[2] ?? match[3] ?? match[4] ?? "",
    typeOnly: match[1] !== undefined,
  }));
}

function roomOf(file: string): string {
  const names = Object.keys(rooms).toSorted((a, b) => b.length - a.length);
  return names.find((name) => file.startsWith(`${name}/`)) ?? "nowhere";
}

function packageOf(target: string): string {
  return target
    .split("/")
    .slice(0, target.startsWith("@") ? 2 : 1)
    .join("/");
}

describe("the house", () => {
  test("every file stands in a room and the test sees its imports", () => {
    expect(files.filter((file) => roomOf(file) === "nowhere")).toEqual([]);
    expect(imports.length).toBeGreaterThan(300);
  });

  test("a room imports only those it may", () => {
    const wrong = imports
      .filter(({ target }) => target.startsWith("."))
      .map(({ from, target }) => ({ from, to: normalize(join(dirname(from), target)) }))
      .filter(({ from, to }) => roomOf(from) !== roomOf(to) && !rooms[roomOf(from)]?.includes(roomOf(to)));
    expect(wrong).toEqual([]);
  });

  test("relative imports carry their extension", () => {
    expect(imports.filter(({ target }) => target.startsWith(".") && !target.endsWith(".ts"))).toEqual([]);
  });

  test("each npm package is imported by its owner alone; types travel freely", () => {
    const foreign = imports.filter(({ from, target, typeOnly }) => {
      if (target.startsWith(".") || target.startsWith("node:") || typeOnly) return false;
      return !owners[packageOf(target)]?.some((owner) => from === owner || from.startsWith(`${owner}/`));
    });
    expect(foreign).toEqual([]);
  });

  test("every dependency is used and owned", () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    expect(Object.keys(dependencies).toSorted()).toEqual(Object.keys(owners).toSorted());
    const used = new Set(imports.map(({ target }) => packageOf(target)));
    expect(Object.keys(owners).filter((name) => !used.has(name))).toEqual([]);
  });

  test("node's own modules are imported by their full name", () => {
    expect(imports.filter(({ target }) => builtinModules.includes(target))).toEqual([]);
  });

  test("keys are made in one place, where that cannot come to a standstill", () => {
    const making = files.filter((file) => readFileSync(join(root, file), "utf8").includes("generateKeyPair"));
    expect(making).toEqual(["shared/es256.ts"]);
  });

  test("shared reads no clock, no disk and no network", () => {
    const forbidden =
      /node:(fs|net|http|https|dns|child_process|os|timers)|Date\.now|new Date\(\)|performance\.now|fetch\(/;
    const reading = files
      .filter((file) => file.startsWith("shared/"))
      .filter((file) => forbidden.test(readFileSync(join(root, file), "utf8")));
    expect(reading).toEqual([]);
  });

  test("the two paths that carry the argument stay within 120 lines", () => {
    for (const [file, name] of [
      ["broker/authority/issue.ts", "issueToken"],
      ["broker/gate/admit.ts", "admit"],
    ] as const) {
      const text = readFileSync(join(root, file), "utf8");
      const start = text.indexOf(`export function ${name}(`);
      const length = text.slice(start, text.indexOf("\n}", start)).split("\n").length;
      expect([relative(root, join(root, file)), start >= 0 && length <= 120]).toEqual([file, true]);
    }
  });
});
