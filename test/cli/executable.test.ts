/** The executable and what it writes to: readers that are gone, disks that are full. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHAIN_START, hashRow } from "../../shared/audit-chain.ts";
import { makeAuthority } from "../gate/certificates.ts";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), "postern-executable-"))));
afterAll(() => rmSync(dir, { recursive: true }));

/** Runs a line of a POSIX shell, in which `postern` is the executable; `isRead` is whether anybody reads its output. */
async function shell(line: string, isRead = true): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const script = `postern() { "${process.execPath}" "${program}" "$@"; }; ${line}`;
  const child = spawn("sh", ["-c", script], { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  if (!isRead) child.stdout.destroy();
  const [stdout, stderr, [exitCode]] = await Promise.all([
    isRead ? text(child.stdout) : "",
    text(child.stderr),
    once(child, "close") as Promise<[number]>,
  ]);
  return { stdout, stderr, exitCode };
}

it.each([
  ["", 2_500],
  // whoever runs it knows better
  ["--network-family-autoselection-attempt-timeout=9000", 9_000],
])("with NODE_OPTIONS=%s each address of a name has %i ms", async (options, milliseconds) => {
  writeFileSync(
    join(dir, "patience.mjs"),
    `import net from "node:net"; process.on("exit", () => console.log(net.getDefaultAutoSelectFamilyAttemptTimeout()));`,
  );
  const { stdout, exitCode } = await shell(
    `export NODE_OPTIONS="--import ./patience.mjs ${options}"; postern --version`,
  );
  expect([stdout.split("\n").at(-2), exitCode]).toEqual([`${milliseconds}`, 0]);
});

describe("whoever reads the output may stop", () => {
  it("and what was done is done", async () => {
    expect(await shell("postern --version", false)).toEqual({ stdout: "", stderr: "", exitCode: 0 });
  });

  it("and an answer that is a no is still one", async () => {
    writeFileSync(join(dir, "none.ndjson"), "no row\n");
    expect(await shell("postern audit verify none.ndjson", false)).toEqual({ stdout: "", stderr: "", exitCode: 1 });
  });
});

// where there is such a device
describe.runIf(existsSync("/dev/full"))("on a disk that is full", () => {
  it("output that is lost is a failure, in one line", async () => {
    expect(await shell("postern --help > /dev/full")).toEqual({
      stdout: "",
      stderr: "postern: stdout cannot be written (ENOSPC)\n",
      exitCode: 1,
    });
  });

  it("an error that nobody reads has its exit code", async () => {
    expect(await shell("postern frobnicate 2> /dev/full")).toEqual({ stdout: "", stderr: "", exitCode: 2 });
    expect((await shell("postern project list --data /nowhere 2> /dev/full")).exitCode).toBe(1);
  });
});

describe("an export", () => {
  let server: Server;
  let words: string[];
  /** Called with each request that is answered by nothing. */
  let hold: (() => void) | undefined;
  beforeAll(async () => {
    const authority = await makeAuthority();
    const { cert, key } = await authority.server();
    let previous: Uint8Array = CHAIN_START;
    const rows = Array.from({ length: 40 }, (_, index) => {
      const texts = { project: null, subject: null, reason: null, refusal_id: null, facts: null };
      const row = { seq: index + 1, at: 1_790_000_000, event: "thing.made", actor: "admin", ...texts };
      previous = hashRow(previous, row);
      return { ...row, hash: Buffer.from(previous).toString("hex") };
    });
    server = createServer({ cert, key }, ({ url = "" }, response) => {
      const after = Number(new URL(url, "https://localhost").searchParams.get("after"));
      if (after > 0 && hold !== undefined) return hold();
      const items = rows.slice(after, after + 20);
      response.end(JSON.stringify({ items, ...(after + 20 < rows.length && { next: String(after + 20) }) }));
      return undefined;
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    writeFileSync(join(dir, "ca.pem"), authority.cert);
    const { port } = server.address() as AddressInfo;
    words = ["audit", "export", "log", "--url", `https://localhost:${port}`, "--key", "k", "--ca", "ca.pem"];
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it("that does not fit fails in one line, also between two answers of the authority, and leaves nothing", async () => {
    const line = `postern ${words.join(" ")}`;
    // so many blocks of 512 or of 1024 bytes, and a page is more than either
    expect(await shell(`ulimit -f 2; ${line}`)).toEqual({
      stdout: "",
      stderr: "postern: audit export: log cannot be written (EFBIG)\n",
      exitCode: 1,
    });
    expect(readdirSync(dir)).not.toContain("log");
    expect((await shell(line)).stdout).toMatch(/^wrote 40 rows to log\n/);
    rmSync(join(dir, "log"));
  });

  it.each(["SIGINT", "SIGTERM"] as const)("that is broken off by %s leaves nothing", async (signal) => {
    const isHeld = new Promise<void>((resolve) => (hold = resolve));
    const child = spawn(process.execPath, [program, ...words], { cwd: dir, stdio: "ignore" });
    await isHeld;
    hold = undefined;
    expect(readdirSync(dir)).toContain("log");
    child.kill(signal);
    expect(await once(child, "close")).toEqual([1, null]);
    expect(readdirSync(dir)).not.toContain("log");
  });
});
