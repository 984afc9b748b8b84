import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);
const example = fileURLToPath(new URL("../../examples/m2m/run.mjs", import.meta.url));

test("the example of the whole flow runs, and every step comes out as it must", async () => {
  const { stdout, stderr } = await run(process.execPath, [example], {
    // five processes of their own are started while a token lives
    env: { ...process.env, LIFE_SECONDS: "20" },
    timeout: 200_000,
  });
  expect(stderr).toBe("");
  const told = stdout
    .split("\n")
    .filter((line) => line.startsWith("  "))
    .map((line) => line.trim().replace(/\(id [\w-]{12}\)/, "(id)"));
  const challenge = 'Bearer realm="shop.orders", DPoP realm="shop.orders", algs="ES256"';
  const good = '{"orders":[{"id":1,"what":"apples"}],"for":"shop.till","verifiedBy":"feed"}';
  const notAccepted = `${challenge}, error="invalid_token", error_description="the token is not accepted (id)"`;
  expect(told.slice(0, 12)).toEqual([
    "get-access-token: 200 DPoP, 20 s, scope orders.read",
    expect.stringMatching(/^verify-token: 200 active true, for another \d+ s$/),
    `GET /orders: 200 ${good}`,
    "get-access-token: 400 invalid_scope",
    `POST /orders: 403 ${challenge}, error="insufficient_scope", error_description="the token does not allow this (id)", scope="orders.write"`,
    `GET /orders: 401 ${challenge}`,
    `GET /orders: 200 ${good}`,
    `GET /orders: 401 ${notAccepted}`,
    "verify-token: 200 active false",
    `GET /orders: 200 ${good}`,
    `GET /orders: 401 ${notAccepted}`,
    expect.stringMatching(/^token\.issued: shop\.till on shop\.till$/),
  ]);
  expect(stdout).toMatch(/\n {2}token\.revoked: developer:dev_[0-9a-f]{16} on shop\.till\n/);
  expect(stdout).toMatch(/\n {2}the chain of \d+ rows is whole: true\n$/);
  // a token or a key; three letters alone may stand in an id
  expect(stdout).not.toMatch(/eyJ[\w-]+\.eyJ|-----BEGIN/);
}, 220_000);
