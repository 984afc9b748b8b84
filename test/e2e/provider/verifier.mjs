/**
 * A resource server in a process of its own: `node verifier.mjs`, with what it is to be as JSON on stdin. Says its port on
 * stdout; answers `POST /` with what it makes of the token in the body, and `GET /` with how it is.
 */
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { createVerifier } from "../../../dist/verify/index.js";

const log = (level) => (facts, msg) => process.stderr.write(`${JSON.stringify({ level, msg, ...facts })}\n`);
const options = JSON.parse(await text(process.stdin));
const verifier = await createVerifier({
  ...options,
  log: { info: log("info"), warn: log("warn"), error: log("error") },
});

async function decide(token) {
  try {
    const { client, verifiedBy } = await verifier.verify(token);
    return { client, verifiedBy };
  } catch (error) {
    return { reason: error.reason ?? String(error) };
  }
}

async function answer(request, response) {
  const told = request.method === "GET" ? verifier.status() : await decide(await text(request));
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(told));
}

const server = createServer((request, response) => void answer(request, response));
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ event: "ready", port: server.address().port })));
