// An Aedes of your own, guarded by Postern: clients connect with tokens of `issuer` and do what these allow.
import { readFileSync } from "node:fs";
import { createServer } from "node:tls";
import { Aedes } from "aedes";
import { createGate, durableStore, emitter, guard } from "postern";

const { ISSUER, AUDIENCE, KEYS_URL, CA_FILE, CERT_FILE, KEY_FILE, STORE_FILE = "mqtt.db", PORT = "8883" } = process.env;
const [ca, cert, key] = [CA_FILE, CERT_FILE, KEY_FILE].map((file) => readFileSync(file, "utf8"));

const issuer = { issuer: ISSUER, audience: AUDIENCE, keysUrl: KEYS_URL, ca, deviceAuthorities: ca };
const gate = await createGate({ ...issuer, emitter: emitter(), store: durableStore({ file: STORE_FILE }) });
const broker = await Aedes.createBroker(gate.options);
broker.on("error", (error) => console.error(error.message));
broker.on("clientError", (client, error) => console.error(client.id, error.message));

// client certificates are asked for and let in; it is the gate that verifies them
const door = guard(broker, gate);
const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: false }, door.handle);
door.watch(server);
server.listen(Number(PORT), () => console.log(`listening on ${server.address().port}`));
