/** One HTTPS request, as the agent and the command line send it. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { sendHttps } from "../../agent/request.ts";
import { makeAuthority } from "../gate/certificates.ts";

function countTimers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
}

it("rejects an answer that breaks off, and leaves no timer that would hold the process", async () => {
  const authority = await makeAuthority();
  const { cert, key } = await authority.server();
  const server = createServer({ cert, key }, (_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half", () => response.destroy());
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  const url = new URL(`https://localhost:${(server.address() as AddressInfo).port}/`);
  const before = countTimers();
  await expect(sendHttps({ url, method: "GET", ca: authority.cert })).rejects.toMatchObject({ kind: "unreachable" });
  // others in this process may have ended meanwhile
  expect(countTimers()).toBeLessThanOrEqual(before);
  server.close();
});
