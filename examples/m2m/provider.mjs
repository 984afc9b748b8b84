// The provider's own API: two routes, each protected by the scope that it demands.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createVerifier, protect } from "postern/verify";

const { ISSUER, AUDIENCE, API_ID, API_SECRET, CA_FILE, PORT = "8080" } = process.env;
const origin = `http://localhost:${PORT}`;
const credential = { id: API_ID, secret: API_SECRET };

// tokens are verified here, with the issuer's keys and the list of what was revoked; `scopes` says where that is not enough
const ca = readFileSync(CA_FILE, "utf8");
const options = { issuer: ISSUER, audience: AUDIENCE, ca, credential, origin, maxStalenessSeconds: 10 };
const verifier = await createVerifier({ ...options, scopes: { "orders.write": "introspect" } });

const orders = [{ id: 1, what: "apples" }];
const routes = {
  "GET /orders": protect(verifier, { scopes: ["orders.read"] }, (request, response, principal) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ orders, for: principal.client, verifiedBy: principal.verifiedBy }));
  }),
  "POST /orders": protect(verifier, { scopes: ["orders.write"] }, (request, response) => {
    orders.push({ id: orders.length + 1, what: "pears" });
    response.writeHead(201).end();
  }),
};

const server = createServer((request, response) => {
  const route = routes[`${request.method} ${request.url}`];
  if (route === undefined) response.writeHead(404).end();
  else route(request, response);
});
server.listen(Number(PORT), "localhost", () => console.log(`provider   listening on ${origin}`));
process.once("SIGTERM", () => {
  void verifier.close();
  server.close();
});
