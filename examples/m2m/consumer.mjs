// The consumer: a key pair that never leaves its folder, and three requests made with it.
//
//   node consumer.mjs keys                        makes the key pair and prints the public key, a JWK
//   node consumer.mjs get AUDIENCE [SCOPE]        get-access-token: prints the answer
//   node consumer.mjs verify TOKEN                verify-token: whether the authority stands by it now
//   node consumer.mjs call METHOD URL TOKEN       calls the provider's API
//
// ISSUER, CLIENT_ID and KEY_FILE say who it is and whom it asks; NODE_EXTRA_CA_CERTS names the CA where it is Postern's own.
import { createPrivateKey, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createSigner, generatePrivateKey, mintDpopProof, mintJwtAssertion, toJwk } from "postern/shared";

const { ISSUER, CLIENT_ID, KEY_FILE = "consumer.key.pem" } = process.env;
const client_assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const nowSeconds = () => Math.floor(Date.now() / 1000);
const signer = () => createSigner("", createPrivateKey(readFileSync(KEY_FILE)));

/** Proves that this is the client, once. */
function assertion() {
  const claims = { iss: CLIENT_ID, sub: CLIENT_ID, aud: ISSUER, exp: nowSeconds() + 60, id: randomBytes(16) };
  return { client_assertion: mintJwtAssertion(claims, signer()), client_assertion_type };
}

/** Proves with one request that whoever makes it holds the key. */
function proof(method, url, accessToken) {
  return mintDpopProof({ method, url, accessToken, nowSeconds: nowSeconds(), id: randomBytes(16) }, signer());
}

const verbs = {
  keys() {
    const privateKey = generatePrivateKey();
    writeFileSync(KEY_FILE, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flag: "wx" });
    return toJwk(signer().publicKey);
  },
  async get(audience, scope) {
    const url = `${ISSUER}/get-access-token`;
    const fields = { grant_type: "client_credentials", audience, ...(scope && { scope }), ...assertion() };
    const headers = { dpop: proof("POST", url) };
    const answer = await fetch(url, { method: "POST", headers, body: new URLSearchParams(fields) });
    return { status: answer.status, ...(await answer.json()) };
  },
  async verify(token) {
    const body = new URLSearchParams({ token, ...assertion() });
    const answer = await fetch(`${ISSUER}/verify-token`, { method: "POST", body });
    return { status: answer.status, ...(await answer.json()) };
  },
  async call(method, url, token) {
    const headers = { authorization: `DPoP ${token}`, dpop: proof(method, url, token) };
    const answer = await fetch(url, { method, headers });
    return { status: answer.status, challenge: answer.headers.get("www-authenticate"), body: await answer.text() };
  },
};

const [verb, ...words] = process.argv.slice(2);
console.log(JSON.stringify(await verbs[verb](...words)));
