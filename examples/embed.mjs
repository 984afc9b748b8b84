// An Aedes of your own, guarded by Postern: clients connect with tokens of `issuer` and do what these allow.
import { readFileSync } from "node:fs";
import { createServer } from "node:tls";
import { Aedes } from "aedes";
import { createGate } from "postern";

const { ISSUER, AUDIENCE, KEYS_URL, CA_FILE, CERT_FILE, KEY_FILE, PORT = "8883" } = process.env;
const [ca, cert, key] = [CA_FILE, CERT_FILE, KEY_FILE].map((file) => readFileSync(file, "utf8"));

const gate = await createGate({ issuer: ISSUER, audience: AUDIENCE, keysUrl: KEYS_URL, ca, deviceAuthorities: ca });
const broker = await Aedes.createBroker(gate.options);
broker.on("error", (error) => console.error(error.message));
broker.on("clientError", (client, error) => console.error(client.id, error.message));

// client certificates are asked for and let in; it is the gate that verifies them
const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: false }, broker.handle);
server.on("tlsClientError", (_error, socket) => socket.destroy());
server.listen(Number(PORT), () => console.log(`listening on ${server.address().port}`));
