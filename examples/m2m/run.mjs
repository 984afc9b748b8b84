// The whole flow on this machine, in a folder that is removed afterwards: `npm run build`, then `node examples/m2m/run.mjs`.
//
// An authority of its own is started; the provider registers, makes a project and protects an API; a consumer with a key
// pair gets a token, checks it and calls; and then every way to be refused. Each command is printed as one would type it.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "postern-m2m-"));
const data = join(dir, "data");
/** Long enough to be used, short enough to see it end; a machine with other work wants more. */
const lifeSeconds = Number(process.env.LIFE_SECONDS ?? 8);
const children = [];

function start(file, words, env) {
  const child = spawn(process.execPath, [file, ...words], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const errors = [];
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
  const line = once(createInterface({ input: child.stdout }), "line").then(([first]) => first);
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`${file} ended with ${code}: ${errors.at(-1) ?? ""}`);
  });
  ended.catch(() => undefined);
  return Promise.race([line, ended]);
}

try {
  const ready = JSON.parse(
    await start(here("../../dist/cli/main.js"), [
      "up",
      "--data",
      data,
      "--bind",
      "127.0.0.1",
      "--http-port",
      "0",
      "--mqtts-port",
      "0",
      "--wss-port",
      "0",
      "--json",
      "--log-level",
      "error",
    ]),
  );
  const { issuer, ca } = ready;
  console.log(`authority  ${issuer}`);

  // what a person would have in their own home
  const home = {
    XDG_CONFIG_HOME: join(dir, "config"),
    POSTERN_URL: issuer,
    POSTERN_CA: ca,
    POSTERN_PASSWORD: "correct horse battery staple",
  };
  const postern = async (line, input = "") => {
    console.log(`$ postern ${line}`);
    const words = [here("../../dist/cli/main.js"), ...line.split(" "), "--json"];
    const running = run(process.execPath, words, { env: { ...process.env, ...home } });
    running.child.stdin.end(input);
    return JSON.parse((await running).stdout);
  };

  console.log("\n-- the provider registers, with an invitation from whoever runs the authority");
  const { invitation } = await postern(`developer invite ada@example.com --data ${data}`);
  await postern(`developer register ada@example.com --invitation ${invitation}`);
  await postern("login ada@example.com");

  console.log("\n-- a project, an API with two scopes, a role that may use one of them");
  await postern("project create shop");
  await postern(`api create orders --project shop --kind http --scopes orders.read,orders.write --ttl ${lifeSeconds}s`);
  await postern("role create reader --project shop --api orders --scope orders.read");

  console.log("\n-- the provider's own program, with a credential that sees tokens for this API alone");
  const { secret } = await postern("secret create --api orders --project shop");
  const port = await freePort();
  const provider = {
    ISSUER: issuer,
    AUDIENCE: "shop.orders",
    API_ID: "shop/orders",
    API_SECRET: secret,
    CA_FILE: ca,
    PORT: String(port),
  };
  console.log(await start(here("provider.mjs"), [], provider));
  const orders = `http://localhost:${port}/orders`;

  console.log("\n-- a consumer makes a key pair; the provider is given the public half");
  const self = { ISSUER: issuer, CLIENT_ID: "shop.till", KEY_FILE: join(dir, "till.pem"), NODE_EXTRA_CA_CERTS: ca };
  const consumer = async (...words) => {
    const { stdout } = await run(process.execPath, [here("consumer.mjs"), ...words], {
      env: { ...process.env, ...self },
    });
    return JSON.parse(stdout);
  };
  const jwkFile = join(dir, "till.jwk");
  writeFileSync(jwkFile, JSON.stringify(await consumer("keys")));
  await postern(`client create till --project shop --kind service --role reader --jwk ${jwkFile}`);

  console.log("\n-- get-access-token, verify-token, and a call");
  const first = await consumer("get", "shop.orders");
  say("get-access-token", first.status, `${first.token_type}, ${first.expires_in} s, scope ${first.scope}`);
  const checked = await consumer("verify", first.access_token);
  say("verify-token", checked.status, `active ${checked.active}, for another ${checked.expires_in} s`);
  await call("GET", first.access_token, 200);

  console.log("\n-- refused: a scope that the role does not have, and no token at all");
  const more = await consumer("get", "shop.orders", "orders.write");
  say("get-access-token", more.status, more.error);
  await call("POST", first.access_token, 403);
  const none = await fetch(orders);
  say("GET /orders", none.status, none.headers.get("www-authenticate"));

  console.log("\n-- revoked: refused within a second");
  const second = await consumer("get", "shop.orders");
  await call("GET", second.access_token, 200);
  await postern("token revoke - --project shop", second.access_token);
  const revokedAt = Date.now();
  for (;;) {
    const { status } = await consumer("call", "GET", orders, second.access_token);
    if (status === 401) break;
    if (Date.now() - revokedAt > 10_000) throw new Error("the token was not refused");
  }
  await call("GET", second.access_token, 401);
  say("verify-token", 200, `active ${(await consumer("verify", second.access_token)).active}`);

  console.log("\n-- expired: refused");
  const third = await consumer("get", "shop.orders");
  await call("GET", third.access_token, 200);
  await new Promise((resolve) => setTimeout(resolve, (lifeSeconds + 1) * 1000));
  await call("GET", third.access_token, 401);

  console.log("\n-- and what the log says of it all");
  const rows = await postern("audit list --project shop");
  for (const { event, actor, subject } of rows.slice(0, 6)) console.log(`  ${event}: ${actor} on ${subject ?? "-"}`);
  const chain = await postern(`audit verify --data ${data}`);
  console.log(`  the chain of ${chain.rows} rows is whole: ${chain.ok}`);

  async function call(method, token, expected) {
    const { status, challenge, body } = await consumer("call", method, orders, token);
    say(`${method} /orders`, status, challenge ?? body);
    if (status !== expected) throw new Error(`${method} /orders answered ${status} and not ${expected}`);
  }
} finally {
  for (const child of children.toReversed()) {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
  }
  rmSync(dir, { recursive: true });
}

function say(what, status, more) {
  console.log(`  ${what}: ${status} ${more}`);
}

/** Of those that systems do not hand out by themselves, so that nobody else is given it before the provider listens. */
async function freePort() {
  for (let port = 10_000 + (process.pid % 9_000); ; port++) {
    const server = createServer().listen(port, "localhost");
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}
