/** mosquitto as the replay sees it: a password file, an ACL file, and a signal after which it reads both anew. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { identities, type Identity, type Profile, type Rights } from "./profile.ts";

/** What has to be installed. */
export const programs = ["mosquitto", "mosquitto_passwd"];

export async function startMosquitto(): Promise<Profile> {
  const folder = mkdtempSync(join(tmpdir(), "replay-"));
  const file = (name: string): string => join(folder, name);
  const port = await findPort();
  const rightsOf = new Map<Identity, Rights>(Object.entries(identities) as [Identity, Rights][]);
  const passwordOf = (identity: Identity): string => `password of ${identity}`;

  const writeFiles = (): void => {
    writeFileSync(file("passwords"), "", { mode: 0o600 });
    for (const identity of rightsOf.keys()) {
      execFileSync("mosquitto_passwd", ["-b", file("passwords"), identity, passwordOf(identity)], { stdio: "ignore" });
    }
    const lines = [...rightsOf].flatMap(([identity, { pub, sub }]) => [
      `user ${identity}`,
      ...pub.map((filter) => `topic write ${filter}`),
      ...sub.map((filter) => `topic read ${filter}`),
    ]);
    writeFileSync(file("acl"), `${lines.join("\n")}\n`, { mode: 0o600 });
  };
  writeFiles();
  const settings = [
    `listener ${port} 127.0.0.1`,
    "allow_anonymous false",
    `password_file ${file("passwords")}`,
    `acl_file ${file("acl")}`,
    "persistence false",
    // as root it would become somebody who cannot read the files
    `user ${userInfo().username}`,
  ];
  writeFileSync(file("mosquitto.conf"), `${settings.join("\n")}\n`);
  const child = spawn("mosquitto", ["-c", file("mosquitto.conf"), "-v"], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "close");
  const log = createInterface({ input: child.stderr });
  const said = (what: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (line: string): void => {
        if (!what.test(line)) return;
        log.off("line", look);
        resolve();
      };
      log.on("line", look);
      log.once("close", () => reject(new Error("mosquitto has ended")));
    });
  await said(/running$/);

  /** What is read anew holds for every packet that comes after this line. */
  const readAnew = async (): Promise<void> => {
    writeFiles();
    const reading = said(/Reloading config/);
    child.kill("SIGHUP");
    await reading;
  };
  return {
    name: "mosquitto",
    port,
    credential: (identity) => {
      return { clientId: identity, username: identity, password: Buffer.from(passwordOf(identity)) };
    },
    async change(identity, rights) {
      rightsOf.set(identity, rights);
      await readAnew();
    },
    async disable(identity) {
      rightsOf.delete(identity);
      await readAnew();
    },
    async stop() {
      child.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function findPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
