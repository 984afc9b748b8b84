/** Authorities elsewhere from the command line, as transcripts against a real authority. They build on each other, top-down. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeCrlEntries, issueCrl } from "../../broker/authority/certificates/crl.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { makeAuthority } from "../authority/crl-maker.ts";
import { openInstallation, type Installation } from "./installation.ts";

let installation: Installation;
const now = Math.floor(Date.now() / 1000);
beforeAll(async () => {
  installation = await openInstallation();
  const { ca } = await makeAuthority();
  const write = (name: string, content: string | Uint8Array): void =>
    writeFileSync(join(installation.dir, name), content);
  const makeList = (number: number, nextUpdate: number): Promise<Uint8Array> => {
    const entries = encodeCrlEntries([{ serial: "1f", revokedAt: now - 60 }]);
    return issueCrl(ca, { number, thisUpdate: now - 60, nextUpdate, entries });
  };
  write("plant.pem", ca.caPem);
  write("old.crl", await makeList(1, now - 1));
  write("new.pem", toPem("X509 CRL", await makeList(2, now + 3600)));
  write("none.crl", "nothing");
});
afterAll(() => installation.close());

const time = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC";
/** A line in which `@` stands for the folder of the files. */
const run = (line: string) => installation.run(line.replaceAll("@", installation.dir));

describe("authorities elsewhere", () => {
  it.each<[line: string, stdout: string | RegExp]>([
    ["cert authority-list", "no other authorities\n"],
    ["cert authority-add plant @/plant.pem --needs-crl", "added authority plant: CN=Postern CA\n"],
    [
      "cert authority-list",
      "authority  subject        needs list  revoked  list\nplant      CN=Postern CA  yes         -        none\n",
    ],
    ["cert import-crl plant @/old.crl", new RegExp(`^imported the list of plant: 1 revoked, too old since ${time}\n$`)],
    ["cert import-crl plant @/new.pem", new RegExp(`^imported the list of plant: 1 revoked, good until ${time}\n$`)],
    ["cert authority-list", new RegExp(`plant +CN=Postern CA +yes +1 +good until ${time}\n$`)],
    ["cert authority-remove plant", "removed authority plant\n"],
    ["cert authority-list --json", "[]\n"],
    ["cert authority-add plant @/plant.pem", "added authority plant: CN=Postern CA\n"],
  ])("postern %s", async (line, stdout) => {
    const expected = typeof stdout === "string" ? stdout : expect.stringMatching(stdout);
    expect(await run(line)).toEqual({ stdout: expected, stderr: "", exitCode: 0 });
  });

  it.each<[line: string, why: RegExp]>([
    ["cert authority-add other @/plant.pem", /^postern: cert authority-add: it exists already or is in use: .*plant/],
    ["cert authority-add other @/none.crl", /^postern: cert authority-add: a field is not valid: ca: not one/],
    ["cert authority-add other @/nowhere", /^postern: cert authority-add: .*nowhere cannot be read \(ENOENT\)/],
    ["cert authority-add other @", /^postern: cert authority-add: .* cannot be read \(EISDIR\)/],
    ["cert authority-remove other", /^postern: cert authority-remove: not found: no device authority other/],
    ["cert import-crl other @/new.pem", /^postern: cert import-crl: not found: no device authority other/],
    ["cert import-crl plant @/none.crl", /^postern: cert import-crl: a field is not valid: crl: /],
    ["cert import-crl plant @/plant.pem", /^postern: cert import-crl: a field is not valid: crl: neither PEM nor/],
  ])("postern %s is refused in one line", async (line, why) => {
    const { stdout, stderr, exitCode } = await run(line);
    expect({ stdout, stderr, exitCode }).toEqual({ stdout: "", stderr: expect.stringMatching(why), exitCode: 1 });
    expect(stderr.trimEnd()).not.toContain("\n");
  });

  it("a list that was there before cannot come again", async () => {
    await run("cert import-crl plant @/new.pem");
    expect(await run("cert import-crl plant @/old.crl")).toMatchObject({
      exitCode: 1,
      stderr: "postern: cert import-crl: a field is not valid: crl: its number 1 is below 2, which is on record\n",
    });
  });
});
