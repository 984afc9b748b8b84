/** What an authority may make a command write to the terminal. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { runProgram } from "../../cli/program.ts";
import { makeAuthority } from "../gate/certificates.ts";

afterEach(() => void vi.restoreAllMocks());

describe("the words of an authority that says no", () => {
  it("reach the terminal without control characters, in one line of bounded length", async () => {
    const authority = await makeAuthority("terminal");
    const { key, cert } = await authority.server();
    const title = `no\u001b]0;owned\u0007\u001b[2J\u009b31m\rpostern: done${"x".repeat(100_000)}`;
    const server = createServer({ key, cert }, (_request, response) => {
      response.writeHead(403, { "content-type": "application/problem+json" }).end(JSON.stringify({ title }));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const folder = mkdtempSync(join(tmpdir(), "postern-attack-"));
    const ca = join(folder, "ca.pem");
    writeFileSync(ca, authority.cert);
    let written = "";
    vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      written += String(text);
      return true;
    });
    const url = `https://localhost:${(server.address() as AddressInfo).port}`;
    const exitCode = await runProgram(["project", "list", "--url", url, "--key", "k", "--ca", ca]);
    vi.restoreAllMocks();
    server.close();
    rmSync(folder, { recursive: true });
    expect(exitCode).toBe(1);
    // oxlint-disable-next-line no-control-regex
    expect(written.trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    expect(written.length).toBeLessThan(2000);
  });
});
